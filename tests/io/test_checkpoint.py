import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jaxstyle.cli import main

IMAGES = Path(__file__).parent.parent / "images"
FLAGS = [str(IMAGES / "coffee.jpg"), str(IMAGES / "cafe_terrace.jpg"), "--size", "48"]
FLAGS += ["--min-size", "24", "--content-layers", "relu2_1", "--style-layers", "relu1_1,relu2_1"]


def stylize(output, *more):
    return main(["stylize", *FLAGS, "-o", str(output), *more])


def kept(folder):
    return [int(path.name) for path in folder.iterdir() if path.name.isdecimal()]


@pytest.mark.parametrize("optimizer", ["pyramid_adam", "lbfgs"])
def test_killed_run_goes_on_to_the_same_picture(tmp_path, optimizer):
    flags = ["--steps", "100,200", "--optimizer", optimizer]
    assert stylize(tmp_path / "whole.png", *flags) == 0
    folder, more = tmp_path / "kept", ["--checkpoint", str(tmp_path / "kept")]
    command = [sys.executable, "-m", "jaxstyle.cli", "stylize", *FLAGS, *flags, *more]
    process = subprocess.Popen([*command, "--checkpoint-every", "0", "-o", str(tmp_path / "a.png")])
    while not (folder.exists() and kept(folder)):
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert not (tmp_path / "a.png").exists()
    assert 0 < max(kept(folder)) < 300
    assert stylize(tmp_path / "a.png", *flags, *more) == 0
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "whole.png").read_bytes()
    assert kept(folder) == [300]


def test_finished_run_gives_its_picture_again(tmp_path):
    more = ["--steps", "3", "--checkpoint", str(tmp_path / "kept")]
    report = tmp_path / "report.json"
    assert stylize(tmp_path / "a.png", *more) == 0
    assert stylize(tmp_path / "b.png", *more, "--report", str(report)) == 0
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert len(json.loads(report.read_text())["trace"]["loss"]) == 6


def test_a_checkpoint_is_made_at_the_end_of_every_level(tmp_path, monkeypatch):
    from jaxstyle.io.checkpoint import Checkpoints

    steps, save = [], Checkpoints._save
    monkeypatch.setattr(
        Checkpoints,
        "_save",
        lambda self, progress: (steps.append(progress.step), save(self, progress)),
    )
    assert stylize(tmp_path / "a.png", "--steps", "3", "--checkpoint", str(tmp_path / "kept")) == 0
    assert steps == [3, 6]


def test_checkpoint_of_another_run_is_refused(tmp_path, capsys):
    more = ["--checkpoint", str(tmp_path / "kept")]
    assert stylize(tmp_path / "a.png", "--steps", "2", *more) == 0
    assert stylize(tmp_path / "a.png", "--steps", "3", *more) == 2
    assert "is of another run (other config)" in capsys.readouterr().err


def test_a_picture_is_written_though_its_last_checkpoint_fails(tmp_path, monkeypatch, capsys):
    from orbax.checkpoint import CheckpointManager

    def full(self):
        raise RuntimeError("no space left")

    monkeypatch.setattr(CheckpointManager, "close", full)
    assert stylize(tmp_path / "a.png", "--steps", "1", "--checkpoint", str(tmp_path / "kept")) == 6
    assert "cannot write a checkpoint: no space left." in capsys.readouterr().err
    assert (tmp_path / "a.png").exists()


def test_a_folder_that_cannot_be_made_is_an_error_in_one_line(tmp_path, capsys):
    (tmp_path / "file").write_bytes(b"")
    assert stylize(tmp_path / "a.png", "--checkpoint", str(tmp_path / "file")) == 6
    assert len(capsys.readouterr().err.splitlines()) == 1
