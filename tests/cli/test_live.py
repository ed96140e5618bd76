"""`--live`: the page of a run, from the command line."""

import argparse
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest

pytest.importorskip("aiohttp", reason="the extra `live` is not installed")

from cli.quick import PAINTING, PHOTO, QUICK, SIZE, STYLE_LAYERS, run, stylize

from jaxstyle.cli import live, run_job
from jaxstyle.io import images

BATCH = ["batch", PHOTO, PAINTING, *QUICK, "--no-report"]
ADDRESS = r"watch at http://127\.0\.0\.1:\d+/[\w-]{20,}/\n"


@pytest.fixture
def views(monkeypatch):
    """What the runs of a test show."""
    shown, show = [], live.show

    def keep(page, view, reporter):
        shown.append(view)
        show(page, view, reporter)

    monkeypatch.setattr(live, "show", keep)
    monkeypatch.setattr(run_job, "show", keep)
    return shown


def test_the_result_is_that_of_a_run_without_a_page(tmp_path, views):
    assert stylize("-o", tmp_path / "a.png") == 0
    with_page = run("stylize", PHOTO, PAINTING, *QUICK, "-o", tmp_path / "b.png", "--live")
    assert with_page.code == 0
    assert re.match(ADDRESS, with_page.err)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    (view,) = views
    fields = view.fields()
    assert (fields["phase"], fields["step"]) == ("done", 3)
    assert fields["message"] in with_page.err
    assert [item["role"] for item in fields["inputs"]] == ["content", "style"]


@pytest.mark.slow
def test_texture_and_reconstruct_have_a_page(tmp_path, views):
    texture = ["texture", PAINTING, *SIZE, *STYLE_LAYERS]
    reconstruct = ["reconstruct", PHOTO, *SIZE, "--layers", "relu1_1"]
    for command in (texture, reconstruct):
        assert run(*command, "-o", tmp_path / "o.png", "--live").code == 0
    assert [view.phase for view in views] == ["done", "done"]


def test_json_events_have_the_address(tmp_path):
    result = run(*BATCH, "-o", tmp_path / "out", "--live", "--log-format", "json")
    events = [json.loads(line) for line in result.out.splitlines()]
    assert re.fullmatch(ADDRESS, f"watch at {events[0]['url']}\n")


def test_stdout_has_the_image_alone_and_the_page_cannot_save(capfdbinary, views):
    assert stylize("-o", "-", "--live") == 0
    assert capfdbinary.readouterr().out.startswith(b"\x89PNG")
    assert not views[0].fields()["can_save"]


def test_stop_writes_the_picture_so_far(tmp_path, views, monkeypatch):
    out, update = tmp_path / "o.png", run_job.PictureView.update

    def stop_after_the_first_step(view, progress):
        update(view, progress)
        view.stop()

    monkeypatch.setattr(run_job.PictureView, "update", stop_after_the_first_step)
    result = run("stylize", PHOTO, PAINTING, *QUICK, "-o", out, "--live")
    assert result.code == 130
    assert "1 steps, " in result.err
    assert images.read_shape(out) == (32, 48)
    assert views[0].phase == "stopped"


def test_a_batch_shows_its_images(tmp_path, views):
    broken = tmp_path / "photos" / "broken.png"
    broken.parent.mkdir()
    broken.write_bytes(b"no image")
    (tmp_path / "photos" / "good.jpg").symlink_to(PHOTO)
    flags = [*QUICK, "--no-report", "--live"]
    result = run("batch", tmp_path / "photos", PAINTING, *flags, "-o", tmp_path / "out")
    assert result.code == 7
    fields = views[0].fields()
    assert (fields["phase"], fields["done"], fields["failed"]) == ("done", 1, 1)
    assert fields["failures"][0]["name"] == "broken_cafe_terrace.png"
    (tile,) = fields["tiles"]
    assert images.read_shape(views[0].file(tile["number"])) == (32, 48)


@pytest.mark.parametrize("early", [True, False])
def test_stop_ends_a_batch(tmp_path, views, monkeypatch, early):
    moment = "plan" if early else "progress"
    method = getattr(live.LiveReporter, moment)

    def stop(reporter, *args, **fields):
        method(reporter, *args, **fields)
        reporter.view.stop()

    monkeypatch.setattr(live.LiveReporter, moment, stop)
    assert run(*BATCH, "-o", tmp_path / "out", "--live").code == 130
    assert not list((tmp_path / "out").glob("*.png"))
    assert views[0].phase == "stopped"


def test_without_the_library_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(live, "find_spec", lambda _: None)
    result = run(*BATCH, "-o", tmp_path / "out", "--live")
    assert result.code == 2
    assert result.err.endswith("`--live` needs aiohttp; pip install 'jaxstyle[live]'.\n")


def test_a_port_in_use_is_an_error_before_any_work(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        result = run(*BATCH, "-o", tmp_path / "out", "--live", port)
    assert result.code == 2
    assert f"`--live` cannot use port {port} (Address already in use)" in result.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--live", "0"], "'0' is not a port from 1 to 65535"),
        (["--live", "x.png"], "without a port, give the flag last"),
        (["--quiet", "--live"], "leave `--quiet` out"),
        (["--dry-run", "--live"], "leave `--live` out"),
    ],
)
def test_wrong_uses_are_errors(tmp_path, arguments, message):
    result = run(*BATCH, "-o", tmp_path / "out", *arguments)
    assert result.code == 2
    assert message in result.err


@pytest.mark.parametrize(
    ("fields", "first"),
    [
        ({"command": "batch", "shard": None, "engine": "local"}, False),
        ({"command": "batch", "shard": "2/4", "engine": "local"}, True),
        ({"command": "stylize", "distributed": None}, True),
    ],
)
def test_one_process_of_a_launcher_serves(monkeypatch, fields, first):
    for name, value in (("STEP_ID", "0"), ("NTASKS", "4"), ("PROCID", "1")):
        monkeypatch.setenv(f"SLURM_{name}", value)
    assert live._is_first(argparse.Namespace(**fields)) == first


@pytest.mark.parametrize(("index", "first"), [(0, True), (1, False)])
def test_the_first_distributed_process_serves(monkeypatch, index, first):
    monkeypatch.setattr("jax.process_index", lambda: index)
    args = argparse.Namespace(command="stylize", distributed="auto")
    assert live._is_first(args) == first


@pytest.mark.slow
def test_ctrl_c_still_ends_a_run_with_a_page(tmp_path):
    command = ["-m", "jaxstyle.cli", "stylize", PHOTO, PAINTING, *QUICK, "--steps", "100000"]
    out = tmp_path / "o.png"
    options = ["-o", str(out), "--preview-every", "0", "--live"]
    with subprocess.Popen(
        [sys.executable, *command, *options], stderr=subprocess.PIPE, text=True, env=os.environ
    ) as process:
        try:
            while not out.exists():
                assert process.poll() is None
                time.sleep(0.1)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 130
    assert "interrupted: this is the result so far" in err
