"""Timelapses and comparison sheets of the commands."""

import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from cli.quick import PAINTING, PHOTO, SIZE, STYLE_LAYERS, run, stylize
from cli.test_run_job import metadata_of
from PIL import Image

from jaxstyle import read_image, transfer, write_image
from jaxstyle.loop.driver import Progress, Result
from jaxstyle.optimize import Info

TINY = ["--size", "32", "--steps", "3", *STYLE_LAYERS, "--content-layers", "relu1_1"]


def read_frames(path):
    with Image.open(path) as image:
        for index in range(image.n_frames):
            image.seek(index)
            yield np.asarray(image.convert("RGB"), np.float32) / 255


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Output, timelapse, sheet, and an output of the same command without the others."""
    folder = tmp_path_factory.mktemp("companions")
    out, lapse, sheet, alone = (folder / n for n in ("o.png", "t.gif", "c.png", "alone.png"))
    assert stylize("-o", out, "--timelapse", lapse, "--compare", sheet) == 0
    assert stylize("-o", alone) == 0
    return out, lapse, sheet, alone


def test_timelapse_goes_from_the_content_image_to_the_result(written):
    out, lapse, *_ = written
    frames = list(read_frames(lapse))
    assert len(frames) == 4
    for frame, expected in ((frames[0], read_image(PHOTO, 48)), (frames[-1], read_image(out))):
        assert frame.shape == (32, 48, 3)
        assert np.abs(frame - expected).mean() < 0.04


def test_sheet_shows_content_style_and_result(written):
    out, _, sheet, _ = written
    pixels, result = read_image(sheet), read_image(out)
    style = read_image(PAINTING, 48)
    width = round(32 * style.shape[1] / style.shape[0])
    assert pixels.shape == (34, 48 + width + 48 + 4, 3)
    np.testing.assert_allclose(pixels[1:-1, -49:-1], result, atol=1 / 255)
    np.testing.assert_allclose(pixels[1:-1, 1:49], read_image(PHOTO, 48), atol=1 / 255)


def test_sheet_has_the_metadata_of_the_result(written):
    out, _, sheet, _ = written
    assert metadata_of(sheet) == metadata_of(out)


def test_result_is_the_same_without_them(written):
    out, *_, alone = written
    assert out.read_bytes() == alone.read_bytes()


@pytest.fixture
def instant(monkeypatch):
    """Replace the computation: a gray image, and the callback after each of its steps."""

    def compute(*_, callback, callback_steps, shape=(32, 48), **__):
        image = np.full((*shape, 3), 0.5, np.float32)
        for step in callback_steps:
            gray = image * step / max(callback_steps)
            info = Info(np.ones(step), {}, np.ones(step, bool))
            callback(Progress(step, 3, 0, 1, np.float32(1), gray, None, info))
        return Result(image, Info(np.ones(3), {}, np.ones(3, bool)))

    for name in ("stylize", "synthesize_texture", "reconstruct"):
        monkeypatch.setattr(transfer, name, compute)


def test_sheet_has_the_regions_of_masks(tmp_path, instant):
    mask = np.zeros((32, 48, 3))
    mask[:, :24] = 1
    write_image(tmp_path / "left.png", mask)
    plain, sheet = tmp_path / "plain.png", tmp_path / "c.png"
    assert stylize("-o", tmp_path / "o.png", "--compare", plain) == 0
    arguments = ["--mask", tmp_path / "left.png", "--compare", sheet]
    assert stylize("-o", tmp_path / "o.png", *arguments) == 0
    assert read_image(sheet).shape[1] < read_image(plain).shape[1]


def test_transparency_is_put_on_a_background(tmp_path, instant):
    content = np.concatenate([read_image(PHOTO, 48), np.zeros((32, 48, 1))], axis=-1)
    content[:, 30:, 3] = 1
    write_image(tmp_path / "clear.png", content)
    lapse, sheet = tmp_path / "t.gif", tmp_path / "c.png"
    outputs = ["-o", tmp_path / "o.png", "--timelapse", lapse, "--compare", sheet]
    assert run("stylize", tmp_path / "clear.png", PAINTING, *TINY, *SIZE, *outputs).code == 0
    assert all(frame[:, :28].min() > 0.98 for frame in read_frames(lapse))
    pixels = read_image(sheet)
    assert np.abs(pixels[:, :28] - pixels[0, 0]).max() < 0.01


@pytest.mark.parametrize(
    "command",
    [("texture", PAINTING, *STYLE_LAYERS), ("reconstruct", PHOTO, "--layers", "relu1_1")],
    ids=lambda command: command[0],
)
def test_timelapse_without_a_content_image_starts_with_the_first_step(tmp_path, instant, command):
    lapse = tmp_path / "t.gif"
    assert run(*command, *SIZE, "-o", tmp_path / "o.png", "--timelapse", lapse).code == 0
    grays = [frame.mean() for frame in read_frames(lapse)]
    np.testing.assert_allclose(grays, [0.5 / 3, 1 / 3, 0.5], atol=0.02)


MISTAKES = {
    "unknown animation": (["--timelapse", "t.avi"], 6, "must end in .gif, .webp, .mp4"),
    "unknown image": (["--compare", "c.gif"], 6, "must end in .png"),
    "missing folder": (["--timelapse", "no/t.gif"], 6, "does not exist; create"),
    "folder as a sheet": (["--compare", "folder.png"], 6, "is a folder"),
    "the same file twice": (["--compare", "o.png"], 2, "also an input or another output"),
    "animation over an input": (["--timelapse", "p.gif"], 2, "also an input or another output"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_found_before_any_work(tmp_path, monkeypatch, mistake):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("jaxstyle.cli.commands.run_job", lambda *_, **__: pytest.fail("it ran"))
    arguments, code, message = MISTAKES[mistake]
    (tmp_path / "folder.png").mkdir()
    with Image.open(PHOTO) as photo:
        photo.save("p.gif")
    result = run("stylize", "p.gif", PAINTING, *TINY, "-o", "o.png", *arguments)
    assert (result.code, result.err.count("\n")) == (code, 1)
    assert message in result.err


def test_missing_extra_is_named_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr("jaxstyle.io.formats.find_spec", lambda name: None)
    result = run(
        "stylize", PHOTO, PAINTING, *TINY, "-o", tmp_path / "o.png", "--timelapse", "t.mp4"
    )
    assert result.code == 6
    assert "`pip install 'jaxstyle[video]'`" in result.err
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_interrupted_run_writes_both_so_far(tmp_path):
    out, lapse, sheet = tmp_path / "o.png", tmp_path / "t.webp", tmp_path / "c.jpg"
    command = [sys.executable, "-m", "jaxstyle.cli", "stylize", PHOTO, PAINTING, *TINY]
    command += ["--steps", "100000", "--preview-every", "0", "-o", out]
    command += ["--timelapse", lapse, "--compare", sheet]
    process = subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not out.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert len(list(read_frames(lapse))) >= 2
    assert read_image(sheet).shape[0] > 20
    assert set(tmp_path.iterdir()) == {out, lapse, sheet}
