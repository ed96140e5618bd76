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


def stylize(output, *flags):
    return main(["stylize", *FLAGS, "-o", str(output), *flags])


def checkpoint_steps(folder):
    return [int(path.name) for path in folder.iterdir() if path.name.isdecimal()]


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["pyramid_adam", "lbfgs"])
def test_killed_run_resumes_to_the_same_result(tmp_path, optimizer):
    flags = ["--steps", "100,200", "--optimizer", optimizer]
    assert stylize(tmp_path / "whole.png", *flags) == 0
    folder = tmp_path / "checkpoints"
    flags += ["--checkpoint", str(folder)]
    command = [sys.executable, "-m", "jaxstyle.cli", "stylize", *FLAGS, *flags]
    process = subprocess.Popen([*command, "--checkpoint-every", "0", "-o", str(tmp_path / "a.png")])
    while not (folder.exists() and checkpoint_steps(folder)):
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert not (tmp_path / "a.png").exists()
    assert 0 < max(checkpoint_steps(folder)) < 300
    assert stylize(tmp_path / "a.png", *flags) == 0
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "whole.png").read_bytes()
    assert checkpoint_steps(folder) == [300]


@pytest.mark.slow
def test_finished_run_gives_the_same_result_again(tmp_path):
    flags = ["--steps", "3", "--checkpoint", str(tmp_path / "checkpoints")]
    report = tmp_path / "report.json"
    assert stylize(tmp_path / "a.png", *flags) == 0
    assert stylize(tmp_path / "b.png", *flags, "--report", str(report)) == 0
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert len(json.loads(report.read_text())["trace"]["loss"]) == 6


@pytest.mark.slow
def test_a_checkpoint_is_saved_at_the_end_of_every_level(tmp_path, monkeypatch):
    from jaxstyle.io.checkpoint import Checkpoints

    steps, save = [], Checkpoints._save
    monkeypatch.setattr(
        Checkpoints,
        "_save",
        lambda self, progress: (steps.append(progress.step), save(self, progress)),
    )
    folder = tmp_path / "checkpoints"
    assert stylize(tmp_path / "a.png", "--steps", "3", "--checkpoint", str(folder)) == 0
    assert steps == [3, 6]


@pytest.mark.slow
def test_checkpoint_of_another_run_is_rejected(tmp_path, capsys):
    flags = ["--checkpoint", str(tmp_path / "checkpoints")]
    assert stylize(tmp_path / "a.png", "--steps", "2", *flags) == 0
    assert stylize(tmp_path / "a.png", "--steps", "3", *flags) == 2
    assert "belongs to another run (different config)" in capsys.readouterr().err


def test_the_result_is_written_if_the_last_checkpoint_fails(tmp_path, monkeypatch, capsys):
    from orbax.checkpoint import CheckpointManager

    def fail(self):
        raise RuntimeError("no space left")

    monkeypatch.setattr(CheckpointManager, "close", fail)
    folder = tmp_path / "checkpoints"
    assert stylize(tmp_path / "a.png", "--steps", "1", "--checkpoint", str(folder)) == 6
    assert "cannot write a checkpoint: no space left." in capsys.readouterr().err
    assert (tmp_path / "a.png").exists()


def test_a_folder_that_cannot_be_created_is_a_one_line_error(tmp_path, capsys):
    (tmp_path / "file").write_bytes(b"")
    assert stylize(tmp_path / "a.png", "--checkpoint", str(tmp_path / "file")) == 6
    assert len(capsys.readouterr().err.splitlines()) == 1
