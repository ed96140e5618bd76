"""Which jobs are done: a record says so, and neither its inputs nor its output have changed.

A file whose size and times are those of the record is not read again.
"""

import hashlib
import json
import math
from functools import lru_cache
from typing import Any

from jaxstyle.batch.jobs import Job
from jaxstyle.batch.ledger import Record
from jaxstyle.config import StyleConfig
from jaxstyle.io.atomic import Stamp, file_sha256, file_stamp
from jaxstyle.io.provenance import FileId, FileIds, InputIds
from jaxstyle.io.remote import FilePath, is_remote

_encode = json.JSONEncoder(sort_keys=True).encode

Stamps = dict[str, list[Stamp]]
"""Sizes and times of the input files by role: content, style, mask, start."""


def job_hash(job: Job, inputs: InputIds, weights: FileId) -> str:
    """Return the SHA-256 of everything that determines a job's result.

    Args:
      job: the job; only its configuration is hashed.
      inputs: hashes of its input files by role.
      weights: hash of the weights file.
    """
    hashes = {role: [item["sha256"] for item in items] for role, items in inputs.items()}
    fields = (
        ("config", _to_json(job.config)),
        ("inputs", _encode(hashes)),
        ("weights", json.dumps(weights["sha256"])),
    )
    text = ", ".join(f'"{name}": {value}' for name, value in fields)
    return hashlib.sha256(f"{{{text}}}".encode()).hexdigest()


@lru_cache(maxsize=64)
def _to_json(config: StyleConfig) -> str:
    return _encode(config.record)


class DoneCheck:
    """Tells whether a record shows that a job is done.

    Args:
      folder: output folder of the batch.
      weights: name and hash of the weights file.
    """

    def __init__(self, folder: FilePath, weights: FileId):
        self._folder, self._weights = folder, weights
        self._file_ids = FileIds()

    def __call__(self, record: Record, job: Job) -> bool:
        """Return whether the job is done, by a record of its output."""
        if record.get("status") != "done" or not _is_complete(record):
            return False
        try:
            if record.get("job") != job_hash(job, self._input_ids(record, job), self._weights):
                return False
            if record.get("output_stamp") == self._output_stamp(job):
                return True
            return file_sha256(self._folder / job.output) == record.get("output_sha256")
        except OSError:
            return False

    def _output_stamp(self, job: Job) -> Stamp:
        # Not `/` for each of a million paths.
        text = f"{self._folder}/{job.output}"
        return file_stamp(self._folder / job.output if is_remote(self._folder) else text)

    def _input_ids(self, record: Record, job: Job) -> InputIds:
        """Return the hashes of the input files, from the record where they have not changed."""
        return {
            role: [self._file_id(path, record, role, i) for i, path in enumerate(paths)]
            for role, paths in job.inputs.items()
            if paths
        }

    def _file_id(self, path: FilePath, record: Record, role: str, i: int) -> FileId:
        stamp = file_stamp(path)
        recorded = _recorded_hash(record, role, i, stamp)
        return {"file": path.name, "sha256": recorded} if recorded else self._file_ids(path, stamp)


def _recorded_hash(record: Record, role: str, i: int, stamp: Stamp) -> str | None:
    """Return the hash of an input in a record, unless its size or times have changed."""
    try:
        is_same = record["stamps"][role][i] == stamp
        hash_ = record["inputs"][role][i]["sha256"] if is_same else None
    except (KeyError, IndexError, TypeError):
        # The record may be damaged, or of an earlier version.
        return None
    return hash_ if isinstance(hash_, str) else None


def _is_complete(record: Record) -> bool:
    """Return whether a record has everything that the report shows of a finished job."""
    terms, curve = record.get("terms"), record.get("curve")
    if not isinstance(terms, dict) or not isinstance(curve, list) or not curve:
        return False
    numbers: list[Any] = [record.get(n) for n in ("width", "height", "steps", "seconds", "loss")]
    try:
        return all(map(math.isfinite, (*numbers, *terms.values(), *curve)))
    except (TypeError, OverflowError):
        # No number, or an integer that is larger than any float.
        return False
