"""The page in a real browser, from a process of the command line to its end."""

import asyncio
import contextlib
import re
import subprocess
import sys

import pytest

pytest.importorskip("aiohttp", reason="the extra `live` is not installed")

from cli.quick import PAINTING, PHOTO, QUICK
from live.browser import BINARY, open_tab

from jaxstyle.io import images

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(BINARY is None, reason="there is no Chromium on this machine"),
]
SHOWN = "document.querySelector('#result img:last-child')?.src"
PHASE = "document.documentElement.dataset.phase"


@contextlib.contextmanager
def start(*arguments):
    """Start a command with `--live`; yield the process and the address of its page."""
    command = [sys.executable, "-m", "jaxstyle.cli", *map(str, arguments), "--live"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process, re.search(r"http://\S+", process.stderr.readline())[0]
        finally:
            process.kill()


def test_a_browser_sees_the_picture_change_saves_it_and_stops_the_run(tmp_path):
    out = tmp_path / "<b>o.png"
    steps = ["--steps", "1000000"]

    async def use(url):
        async with open_tab() as tab:
            await tab.open(url)
            first = await tab.wait(SHOWN)
            second = await tab.wait(f"({SHOWN}) !== {first!r} && ({SHOWN})")
            title = await tab.evaluate("document.getElementById('title').textContent")
            await tab.wait("!document.getElementById('split').hidden")
            await tab.evaluate("document.getElementById('save').click()")
            await tab.wait("document.getElementById('message').textContent === 'Saved.'")
            saved = images.read_shape(out)
            # The second press confirms.
            for _ in range(2):
                await tab.evaluate("document.getElementById('stop').click()")
            await tab.wait(f"{PHASE} === 'stopped'")
            # The page keeps the last picture when the server has ended.
            await asyncio.to_thread(process.wait, 60)
            natural = "document.querySelector('#result img:last-child').naturalWidth"
            return first, second, title, saved, await tab.evaluate(natural), tab.errors

    with start("stylize", PHOTO, PAINTING, *QUICK, *steps, "-o", out) as (process, url):
        first, second, title, saved, width, errors = asyncio.run(use(url))
    assert first.startswith("blob:")
    assert first != second
    assert title == "<b>o.png"
    assert saved == images.read_shape(out) == (32, 48)
    assert width == 48
    assert process.returncode == 130
    assert errors == []


def test_a_browser_sees_the_images_of_a_batch(tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "good.jpg").symlink_to(PHOTO)
    (photos / "<img src=x>.png").write_bytes(b"no image")

    async def use(url):
        async with open_tab() as tab:
            await tab.open(url)
            await tab.wait(f"{PHASE} === 'done'")
            widths = "[...document.querySelectorAll('.wall img')].map(i => i.naturalWidth).join()"
            # The server waits until the page has the thumbnail.
            await tab.wait(f"({widths}) === '320'")
            failure = await tab.evaluate("document.querySelector('#failures b').textContent")
            return failure, tab.errors

    command = ["batch", photos, PAINTING, *QUICK, "-o", tmp_path / "out"]
    with start(*command) as (process, url):
        failure, errors = asyncio.run(use(url))
        assert process.wait(60) == 7
    assert failure == "<img src=x>_cafe_terrace.png"
    assert errors == []
