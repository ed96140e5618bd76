import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxstyle.cli import main
from jaxstyle.config import StyleConfig
from jaxstyle.io.checkpoint import Checkpoints
from jaxstyle.loop.driver import Progress
from jaxstyle.optimize import Info, init, make_optimizer

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


PLAN = [((16, 24), 9), ((32, 48), 3)]
IDENTITY = {"config": {"size": 48}, "versions": {"jax": "1"}}


def checkpoints(folder, identity=IDENTITY, warn=pytest.fail):
    return Checkpoints(Path(folder), identity, StyleConfig(), PLAN, 0.0, warn)


def progress(step=3, height=16):
    image = jnp.asarray(np.random.default_rng(step).random((height, 24, 3)), jnp.float32)
    trace = Info(jnp.ones(step), {"content": jnp.ones(step)}, jnp.ones(step, bool))
    state = init(image, make_optimizer("pyramid_adam", 1.0, line_search=False))
    return Progress(step, 6, 0, 0, 1.0, state.image, state, trace)


def assert_equal(resumed, expected):
    assert resumed.step == expected.step
    actual, wanted = (jax.tree.flatten((p.state, p.trace)) for p in (resumed, expected))
    assert actual[1] == wanted[1]
    for a, b in zip(actual[0], wanted[0], strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A folder with the checkpoint of step 3."""
    folder = tmp_path_factory.mktemp("saved")
    store = checkpoints(folder)
    store.watch(lambda _: False)(progress())
    store.close()
    return folder


def files_of(folder):
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


def refused(folder):
    """Return the error of opening damaged checkpoints, or None if nothing was lost."""
    try:
        store = checkpoints(folder)
    except ValueError as error:
        return str(error)
    store.close()
    assert_equal(store.resume, progress())
    return None


def assert_advice(errors, at_least):
    errors = [error for error in errors if error]
    assert len(errors) >= at_least
    for error in errors:
        # The damage can be in the record of the run.
        pattern = (
            "the checkpoint in .* (is damaged|belongs to another run) .*; delete it, or name .*"
        )
        assert re.fullmatch(pattern, error)


def test_a_checkpoint_holds_the_whole_state(saved):
    store = checkpoints(saved)
    assert_equal(store.resume, progress())
    store.close()


@pytest.mark.parametrize("damage", ["remove", "empty", "cut", "overwrite", "folder"])
def test_a_damaged_file_is_noticed_or_not_needed(tmp_path, saved, random, capfd, caplog, damage):
    errors = []
    for name in files_of(saved):
        folder = tmp_path / str(name).replace("/", "-")
        shutil.copytree(saved, folder)
        path = folder / name
        data = path.read_bytes()
        path.unlink()
        if damage == "folder":
            path.mkdir()
        elif damage != "remove":
            new = {
                "empty": b"",
                "cut": data[: len(data) // 2],
                "overwrite": random.bytes(len(data)),
            }
            path.write_bytes(new[damage])
        errors.append(refused(folder))
    assert_advice(errors, at_least=3)
    assert capfd.readouterr() == ("", "")
    # pytest catches what would reach the terminal through Python's loggers.
    assert caplog.records == []


def test_a_changed_byte_is_noticed_or_not_needed(tmp_path, saved, random, capfd):
    errors, names = [], files_of(saved)
    for i in range(40):
        path = shutil.copytree(saved, tmp_path / str(i)) / names[i % len(names)]
        data = bytearray(path.read_bytes())
        if data:
            data[random.integers(len(data))] ^= 1 << random.integers(8)
            path.write_bytes(data)
        errors.append(refused(tmp_path / str(i)))
    assert_advice(errors, at_least=8)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.write_bytes(b""), "cannot read .*: Not a directory; name another one"),
        (lambda path: path.symlink_to(path), "cannot read .*: Too many levels"),
        (lambda path: (path / "3").mkdir(parents=True), "is damaged"),
        (lambda path: (path / "3").symlink_to("3") if path.mkdir() is None else 0, "is damaged"),
        (lambda path: (path / "2024").mkdir(parents=True), "is damaged or was not written by"),
        (
            lambda path: (path / "a\x1b.jpg").mkdir(parents=True),
            r"contains a\\x1b.jpg, which is no",
        ),
    ],
)
def test_another_folder_is_refused_and_left_as_it_is(tmp_path, capfd, make, message):
    make(tmp_path / "c")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match=message):
        checkpoints(tmp_path / "c")
    assert sorted(tmp_path.rglob("*")) == before
    assert capfd.readouterr() == ("", "")


def test_a_folder_that_cannot_be_read_is_refused(tmp_path, monkeypatch):
    def refuse(_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(ValueError, match="Permission denied; name another one"):
        checkpoints(tmp_path)


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (PermissionError(13, "Permission denied"), ValueError, "Permission denied; name another"),
        (ValueError("absl: x: Input/output error [5]"), ValueError, "Input/output error; name"),
        (MemoryError(), MemoryError, "^$"),
    ],
)
def test_what_is_no_damage_gives_no_advice_to_delete(saved, monkeypatch, error, kind, message):
    from orbax.checkpoint import CheckpointManager

    def refuse(*_, **__):
        raise error

    monkeypatch.setattr(CheckpointManager, "restore", refuse)
    with pytest.raises(kind, match=message) as caught:
        checkpoints(saved)
    assert "delete" not in str(caught.value)


@pytest.mark.parametrize("key", sorted(IDENTITY))
def test_what_differs_from_another_run_is_named(saved, key):
    with pytest.raises(ValueError, match=rf"another run \(different {key}\); delete it, or name"):
        checkpoints(saved, IDENTITY | {key: {}})


@pytest.mark.parametrize(
    ("key", "value"), [("step", 4), ("sha256", "0" * 64), ("terms", ["x" * 9, "tv"])]
)
def test_a_changed_record_is_noticed(tmp_path, saved, key, value):
    path = shutil.copytree(saved, tmp_path / "c") / "3" / "meta" / "metadata"
    meta = json.loads(path.read_text())
    assert meta[key] != value
    path.write_text(json.dumps(meta | {key: value}))
    assert_advice([refused(tmp_path / "c")], at_least=1)


@pytest.mark.parametrize("height", [8, 20_000])
def test_a_state_of_another_size_is_not_read(tmp_path, height):
    store = checkpoints(tmp_path)
    store.watch(lambda _: False)(progress(3, height))
    store.close()
    with pytest.raises(ValueError, match="is damaged") as caught:
        checkpoints(tmp_path)
    assert "another size" in str(caught.value.__cause__)


def test_the_rest_of_a_killed_save_is_ignored(tmp_path, saved):
    shutil.copytree(saved, tmp_path, dirs_exist_ok=True)
    (tmp_path / "6.orbax-checkpoint-tmp" / "leaves").mkdir(parents=True)
    (tmp_path / ".DS_Store").touch()
    store = checkpoints(tmp_path)
    assert store.resume.step == 3
    store.watch(lambda _: False)(progress(6))
    store.close()
    store = checkpoints(tmp_path)
    assert_equal(store.resume, progress(6))
    store.close()


def test_an_empty_folder_is_used(tmp_path):
    store = checkpoints(tmp_path)
    assert store.resume is None
    store.close()


def fail_to_save(monkeypatch, error):
    from orbax.checkpoint import CheckpointManager

    def save(*_, **__):
        raise error

    monkeypatch.setattr(CheckpointManager, "save", save)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(28, "No space left on device"), "No space left on device"),
        (
            ValueError('RESOURCE_EXHAUSTED: Error writing "x": No space left on device [28]\nabsl'),
            "No space left on device",
        ),
        (ValueError("INTERNAL: tensorstore"), "ValueError"),
    ],
)
def test_a_run_goes_on_without_checkpoints(tmp_path, monkeypatch, error, reason):
    fail_to_save(monkeypatch, error)
    warnings = []
    store = checkpoints(tmp_path, warn=warnings.append)
    callback = store.watch(lambda p: p.step == 2)
    assert [callback(progress(step)) for step in (1, 2, 3)] == [False, True, False]
    store.close()
    assert warnings == [
        f"cannot write a checkpoint to {tmp_path}: {reason}; the run goes on without it."
    ]


@pytest.mark.slow
def test_the_result_is_written_if_no_checkpoint_can_be(tmp_path, monkeypatch, capfd):
    fail_to_save(monkeypatch, OSError(28, "No space left on device"))
    folder = tmp_path / "checkpoints"
    assert stylize(tmp_path / "a.png", "--steps", "1", "--checkpoint", str(folder)) == 0
    out, err = capfd.readouterr()
    assert (out, err.count("cannot write a checkpoint")) == ("", 1)
    assert len(err.splitlines()) == 2
    assert (tmp_path / "a.png").exists()


def mounted(folder, size):
    """Return whether a file system of a given size could be mounted at a folder."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    return shutil.which("mount") and subprocess.run(command, capture_output=True).returncode == 0


def test_a_full_disk_prints_nothing_and_leaves_nothing(tmp_path, capfd):
    disk = tmp_path / "disk"
    if not mounted(disk, "128k"):
        pytest.skip("requires the right to mount")
    try:
        warnings = []
        store = checkpoints(disk, warn=warnings.append)
        callback = store.watch(lambda _: False)
        for step, height in ((3, 16), (4, 500), (5, 500)):
            callback(progress(step, height))
        store.close()
        assert warnings == [
            f"cannot write a checkpoint to {disk}: No space left on device; "
            "the run goes on without it."
        ]
        assert capfd.readouterr() == ("", "")
        # The last complete checkpoint is still there.
        assert [path.name for path in disk.iterdir()] == ["3"]
        store = checkpoints(disk)
        assert_equal(store.resume, progress())
        callback = store.watch(lambda _: False)
        callback(progress(4))
        store.close()
        assert [path.name for path in disk.iterdir()] == ["4"]
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("make", [Path.touch, lambda path: path.symlink_to(path)])
def test_a_folder_that_is_none_is_a_one_line_error(tmp_path, capsys, make):
    make(tmp_path / "file")
    assert stylize(tmp_path / "a.png", "--checkpoint", str(tmp_path / "file")) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_folder_that_cannot_be_created_is_a_one_line_error(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert stylize(tmp_path / "a.png", "--checkpoint", str(tmp_path / "file" / "c")) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.slow
def test_a_run_in_float64_resumes(tmp_path):
    flags = ["--steps", "3", "--dtype", "float64", "--checkpoint", str(tmp_path / "checkpoints")]
    command = [sys.executable, "-m", "jaxstyle.cli", "stylize", *FLAGS, *flags, "-o"]
    for name in ("a.png", "b.png"):
        env = {**os.environ, "JAX_ENABLE_X64": "1"}
        subprocess.run([*command, str(tmp_path / name)], env=env, check=True)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
