"""When a record shows that its job is done, and which files are read to find out."""

import os
from pathlib import Path

import pytest

import jaxstyle.batch.done
import jaxstyle.io.provenance
from jaxstyle import StyleConfig
from jaxstyle.batch.done import DoneCheck, job_hash
from jaxstyle.batch.jobs import Job
from jaxstyle.io.atomic import file_sha256, file_stamp
from jaxstyle.io.provenance import input_ids

WEIGHTS = {"file": "vgg19.h5", "sha256": "0"}
FACTS = {"width": 3, "height": 2, "steps": 1, "seconds": 0.1, "loss": 1.0}
FACTS |= {"terms": {"tv": 0.5}, "curve": [1.0]}
DAMAGE = [
    ("curve", []),
    ("curve", ["x"]),
    ("curve", None),
    ("terms", [1]),
    ("terms", {"tv": None}),
    ("loss", 10**400),
    ("loss", float("nan")),
    ("seconds", "1"),
    ("steps", {}),
    ("job", {}),
    ("status", []),
]


@pytest.fixture
def job(tmp_path):
    for name in ("content.png", "style.png", "out.png"):
        (tmp_path / name).write_bytes(name.encode())
    return Job(tmp_path / "content.png", (tmp_path / "style.png",), "out.png", StyleConfig())


@pytest.fixture
def record(job, tmp_path):
    ids, output = input_ids(job.inputs), tmp_path / "out.png"
    return {
        "output": "out.png",
        "job": job_hash(job, ids, WEIGHTS),
        "status": "done",
        "inputs": ids,
        "stamps": {role: [file_stamp(p) for p in paths] for role, paths in job.inputs.items()},
        "output_sha256": file_sha256(output),
        "output_stamp": file_stamp(output),
        **FACTS,
    }


@pytest.fixture
def files_read(monkeypatch):
    """Names of the files that are read."""
    read = []

    def observe(path: Path):
        read.append(path.name)
        return file_sha256(path)

    # Inputs and outputs.
    monkeypatch.setattr(jaxstyle.io.provenance, "file_sha256", observe)
    monkeypatch.setattr(jaxstyle.batch.done, "file_sha256", observe)
    return read


def change(path):
    """Change a file, but neither its size nor the time that programs can set."""
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    path.write_bytes(path.read_bytes()[::-1])
    os.utime(path, ns=times)


def test_unchanged_files_are_not_read(job, record, tmp_path, files_read):
    assert DoneCheck(tmp_path, WEIGHTS)(record, job)
    assert files_read == []


def test_files_with_other_times_are_read(job, record, tmp_path, files_read):
    for name in ("content.png", "out.png"):
        os.utime(tmp_path / name)
    assert DoneCheck(tmp_path, WEIGHTS)(record, job)
    assert files_read == ["content.png", "out.png"]


@pytest.mark.parametrize("stamps", [None, {}, {"content": 3}, {"content": [[1, 2, 3]]}, []])
def test_files_without_usable_stamps_are_read(job, record, tmp_path, files_read, stamps):
    assert DoneCheck(tmp_path, WEIGHTS)({**record, "stamps": stamps}, job)
    assert "content.png" in files_read


@pytest.mark.parametrize("name", ["content.png", "style.png", "out.png"])
def test_a_changed_file_is_noticed(job, record, tmp_path, name):
    is_done = DoneCheck(tmp_path, WEIGHTS)
    assert is_done(record, job)
    change(tmp_path / name)
    assert not is_done(record, job)


@pytest.mark.parametrize("name", ["content.png", "out.png"])
def test_a_missing_file_is_noticed(job, record, tmp_path, name):
    (tmp_path / name).unlink()
    assert not DoneCheck(tmp_path, WEIGHTS)(record, job)


@pytest.mark.parametrize(("name", "value"), DAMAGE)
def test_a_damaged_record_shows_nothing(job, record, tmp_path, name, value):
    assert not DoneCheck(tmp_path, WEIGHTS)({**record, name: value}, job)


def test_a_style_image_is_read_once_for_all_jobs(job, record, tmp_path, files_read):
    os.utime(tmp_path / "style.png")
    is_done = DoneCheck(tmp_path, WEIGHTS)
    assert is_done(record, job)
    assert is_done(record, job)
    assert files_read == ["style.png"]
