"""How commands find, bound and name their input images."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cli.quick import PAINTING, PHOTO, QUICK, run

from jaxstyle import read_image, write_image
from jaxstyle.io.formats import MAX_PIXELS
from jaxstyle.io.pillow import max_pixels

IMAGE_COMMANDS = {
    "stylize": ["stylize", PHOTO, PAINTING, "-o", "o.png"],
    "preview": ["preview", PHOTO, PAINTING, "-o", "o.png"],
    "texture": ["texture", PAINTING, "-o", "o.png"],
    "reconstruct": ["reconstruct", PHOTO, "--layers", "relu1_1", "-o", "o.png"],
    "layers": ["layers", PHOTO, PAINTING, "-o", "o.png"],
    "score": ["score", PHOTO, PAINTING, PHOTO],
}


@pytest.mark.parametrize("command", IMAGE_COMMANDS)
def test_max_pixels_bounds_what_is_read_in_this_run_only(tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    result = run(*IMAGE_COMMANDS[command], "--max-pixels", "1000")
    assert result.code == 3
    assert "more than 0.001 million pixels" in result.err
    assert "set `--max-pixels` to" in result.err
    assert len(result.err.splitlines()) == 1
    assert max_pixels() == MAX_PIXELS


@pytest.mark.parametrize("command", [*IMAGE_COMMANDS, "batch", "weights convert"])
def test_help_says_what_is_read_and_written(command):
    text = " ".join(run(*command.split(), "--help").out.split())
    assert "Images read: PNG, JPEG, WebP, TIFF" in text
    assert "written: .png" in text


@pytest.mark.slow
def test_the_content_image_may_come_from_stdin(tmp_path):
    command = [sys.executable, "-m", "jaxstyle.cli", "stylize", "-", PAINTING, *QUICK]
    with Path(PHOTO).open("rb") as photo:
        done = subprocess.run(
            [*command, "-o", tmp_path / "a.png"], stdin=photo, capture_output=True, text=True
        )
    assert done.returncode == 0, done.stderr
    assert read_image(tmp_path / "a.png").shape == (32, 48, 3)
    failed = subprocess.run(
        [*command, "-o", tmp_path / "b.png"], input="text", capture_output=True, text=True
    )
    assert failed.returncode == 3
    assert failed.stderr.startswith("jaxstyle: stdin is not an image that can be read")


@pytest.mark.slow
def test_a_batch_names_the_files_that_it_skips(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    write_image(folder / "a.png", np.full((48, 48, 3), 0.5))
    for name in ("1.txt", "2.psd", "3.doc", "4.xcf", "5.raw"):
        (folder / name).write_bytes(b"x")
    result = run("batch", folder, PAINTING, *QUICK, "-o", tmp_path / "out", "--dry-run")
    assert result.code == 0
    assert "5 files skipped: 1.txt, 2.psd, 3.doc, 4.xcf, ... (no suffix of an image)" in result.err
    quiet = run("batch", folder, PAINTING, *QUICK, "-o", tmp_path / "out", "--dry-run", "-q")
    assert quiet.err == ""
