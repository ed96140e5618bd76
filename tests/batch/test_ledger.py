"""What a job's hash depends on, and that its record is on the disk."""

import dataclasses
import errno
import os
from pathlib import Path

import pytest

from jaxstyle import StyleConfig
from jaxstyle.batch.done import job_hash
from jaxstyle.batch.jobs import Job
from jaxstyle.batch.ledger import Ledger, Shard
from jaxstyle.errors import WriteError

JOB = Job(Path("a.png"), (Path("s.png"),), "a_s.png", StyleConfig(size=64))
INPUTS = {
    "content": [{"file": "a.png", "sha256": "1"}],
    "style": [{"file": "s.png", "sha256": "2"}],
}
WEIGHTS = {"file": "vgg19.h5", "sha256": "3"}


def with_hash(role):
    return {**INPUTS, role: [{"file": "x.png", "sha256": "other"}]}


@pytest.mark.parametrize(
    ("job", "inputs", "weights"),
    [
        (dataclasses.replace(JOB, config=StyleConfig(size=65)), INPUTS, WEIGHTS),
        (dataclasses.replace(JOB, config=StyleConfig(size=64, seed=1)), INPUTS, WEIGHTS),
        (JOB, with_hash("content"), WEIGHTS),
        (JOB, with_hash("style"), WEIGHTS),
        (JOB, with_hash("mask"), WEIGHTS),
        (JOB, INPUTS, {"file": "vgg19.h5", "sha256": "other"}),
    ],
    ids=["size", "seed", "content", "style", "mask", "weights"],
)
def test_options_inputs_and_weights_change_the_hash_of_a_job(job, inputs, weights):
    assert job_hash(job, inputs, weights) != job_hash(JOB, INPUTS, WEIGHTS)


def test_names_of_files_do_not_change_the_hash_of_a_job():
    renamed = {
        role: [{**item, "file": "b.png"} for item in items] for role, items in INPUTS.items()
    }
    moved = dataclasses.replace(JOB, content=Path("b.png"), output="b.png")
    weights = {**WEIGHTS, "file": "other.h5"}
    assert job_hash(moved, renamed, weights) == job_hash(JOB, INPUTS, WEIGHTS)


def test_records_are_fsynced(tmp_path, monkeypatch):
    synced, fsync = [], os.fsync

    def observe(number):
        synced.append((tmp_path / "jobs.jsonl").read_bytes())
        fsync(number)

    monkeypatch.setattr(os, "fsync", observe)
    Ledger(tmp_path, Shard()).append({"output": "a.png"})
    assert synced == [b'{"output": "a.png"}\n']


@pytest.mark.parametrize("output", ["a\ud800.png", "a\0.png", "/a.png", "../a.png", ""])
def test_records_of_outputs_that_no_file_can_have_are_ignored(tmp_path, output):
    ledger = Ledger(tmp_path, Shard())
    ledger.append({"output": "b.png", "status": "done"}, {"output": output, "status": "done"})
    paths = [tmp_path / "b.png", tmp_path / "c.png"]
    assert ledger.remove_outputs(paths) == paths[1:]


STEP = {"SLURM_STEP_ID": "0", "SLURM_NTASKS": "4", "SLURM_PROCID": "2"}
ARRAY = {"SLURM_ARRAY_TASK_COUNT": "3", "SLURM_ARRAY_TASK_MIN": "0", "SLURM_ARRAY_TASK_ID": "1"}


@pytest.mark.parametrize(
    ("environ", "shard"),
    [
        ({}, Shard()),
        (STEP, Shard(3, 4)),
        (ARRAY, Shard()),
        (STEP | ARRAY, Shard(3, 4)),
        # In a batch script, outside of srun.
        ({**STEP, "SLURM_STEP_ID": "batch"}, Shard()),
        ({**STEP, "SLURM_PROCID": "4"}, Shard()),
        ({**STEP, "SLURM_NTASKS": "many"}, Shard()),
    ],
)
def test_shard_follows_the_launcher(environ, shard):
    assert Shard.of_process(environ) == shard


def test_records_that_cannot_be_read_are_not_removed(tmp_path, monkeypatch):
    ledger, worker = Ledger(tmp_path, Shard()), Ledger(tmp_path, Shard(), worker=0)
    worker.append({"output": "a.png"})
    path_open = Path.open

    def fail(path, mode="r", **kwargs):
        if "worker" in path.name:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return path_open(path, mode, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", fail)
        with pytest.raises(WriteError, match=r"cannot read .*worker-0"):
            ledger.merge()
    ledger.merge()
    assert [record["output"] for record in ledger.read_own()] == ["a.png"]


def test_records_of_workers_are_merged_once(tmp_path):
    ledger, workers = (
        Ledger(tmp_path, Shard()),
        [Ledger(tmp_path, Shard(), worker=k) for k in (0, 3)],
    )
    first, second, third = ({"output": f"{i}.png", "status": "done"} for i in range(3))
    ledger.append(first)
    workers[0].append(second)
    workers[1].append(third)
    # As if an earlier merge had been killed before it removed the file.
    workers[1].append(first)
    assert {record["output"] for record in ledger.read()} == {"0.png", "1.png", "2.png"}
    ledger.merge()
    assert list(ledger.read_own()) == [first, second, third]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["jobs.jsonl"]
    ledger.merge()
    assert len(list(ledger.read_own())) == 3
