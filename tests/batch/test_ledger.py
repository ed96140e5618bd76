"""What a job's hash depends on, and that its record is on the disk."""

import dataclasses
import os
from pathlib import Path

import pytest

from jaxstyle import StyleConfig
from jaxstyle.batch.jobs import Job
from jaxstyle.batch.ledger import Ledger, Shard, job_hash

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
    assert ledger.outputs() == {os.path.realpath(tmp_path / "b.png")}
