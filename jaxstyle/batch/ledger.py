"""What a batch has done: one line of `jobs.jsonl` per finished job, and who is at work.

A job is done when a line and the file it names agree. Lines are appended after the file is
safe, so that a process may be killed at any moment; a line cut short is passed over.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from jaxstyle.batch.jobs import Job
from jaxstyle.errors import WriteError
from jaxstyle.io.atomic import file_sha256
from jaxstyle.io.provenance import FileId, InputIds

Record = dict[str, Any]
"""What became of a job: one line of the ledger."""


@dataclass(frozen=True)
class Shard:
    """Part `index` of `count` of a list of jobs, counted from 1."""

    index: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Shard written as `i/n`.

        Raises:
          ValueError: it is not, or i is not within 1 and n.
        """
        match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
        shard = cls(int(match[1]), int(match[2])) if match else cls(0, 0)
        if not 1 <= shard.index <= shard.count:
            raise ValueError(f"`--shard` is {text!r}; it must be i/n with i from 1 to n.")
        return shard

    def of(self, items: list[Any]) -> list[Any]:
        """Its part of a list: a run of neighbors, so that they have shapes in common."""
        begin, end = ((len(items) * k) // self.count for k in (self.index - 1, self.index))
        return items[begin:end]


def job_hash(job: Job, inputs: InputIds, weights: FileId) -> str:
    """Hash of all that decides what a job's picture is: inputs' bytes, options, weights."""
    record = {
        "config": dataclasses.asdict(job.config),
        "inputs": {part: [item["sha256"] for item in items] for part, items in inputs.items()},
        "weights": weights["sha256"],
    }
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


class Ledger:
    """The records in a batch's folder; each process appends to a file of its shard."""

    def __init__(self, folder: Path, shard: Shard):
        part = "" if shard.count == 1 else f".{shard.index}-of-{shard.count}"
        self._folder, self._path = folder, folder / f"jobs{part}.jsonl"

    def read(self) -> dict[str, list[Record]]:
        """Records of all shards by output, oldest first."""
        records: dict[str, list[Record]] = {}
        for path in sorted(self._folder.glob("jobs*.jsonl")):
            for line in path.read_bytes().splitlines():
                # A killed process may have left half a line.
                with contextlib.suppress(ValueError, KeyError, TypeError):
                    record = json.loads(line)
                    records.setdefault(record["output"], []).append(record)
        return records

    def append(self, record: Record) -> None:
        """Add a record and flush it to the disk.

        Raises:
          WriteError: the disk is full, the folder read-only, ...
        """
        line = json.dumps(record).encode() + b"\n"
        try:
            with self._path.open("ab+") as file:
                if file.seek(0, os.SEEK_END):
                    file.seek(-1, os.SEEK_END)
                    if file.read(1) != b"\n":
                        line = b"\n" + line
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise WriteError(f"cannot write {self._path}: {error.strerror or error}.") from error


def is_done(record: Record, job: str, folder: Path) -> bool:
    """Whether a record says that the job of this hash is done, and its file agrees."""
    if record.get("status") != "done" or record.get("job") != job:
        return False
    try:
        return file_sha256(folder / record["output"]) == record.get("output_sha256")
    except OSError:
        return False


@contextlib.contextmanager
def lock_output(folder: Path, shard: Shard) -> Iterator[None]:
    """Make the folder, and keep other processes off the shard while the block runs.

    Raises:
      WriteError: another process is at work on it, or divides the jobs otherwise.
    """
    lock = FileLock(folder / f".jaxstyle-{shard.index}-of-{shard.count}.lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".jaxstyle.lock", timeout=60):
            for path in folder.glob(".jaxstyle-*-of-*.lock"):
                other = FileLock(path)
                if path.name.endswith(f"-of-{shard.count}.lock") and path != Path(lock.lock_file):
                    continue
                with other.acquire(blocking=False):
                    pass
            lock.acquire(blocking=False)
    except Timeout:
        raise WriteError(
            f"another process is at work on {folder}; wait for it, or give each process its "
            "part with --shard 1/2, --shard 2/2, ..."
        ) from None
    except OSError as error:
        raise WriteError(f"cannot write to {folder}: {error.strerror or error}.") from error
    try:
        if shard.count == 1:
            # Nobody else is at work: what is unfinished was left by a process that was killed.
            for path in folder.rglob(".*.partial"):
                path.unlink(missing_ok=True)
        yield
    finally:
        lock.release()
