"""Ledger of a batch: one line of `jobs.jsonl` per job, and locks on the output folder.

A job is complete once its output is fsynced and recorded in `jobs.jsonl`. A process may be
killed at any moment: the line is appended after the output, and an incomplete line is ignored.
The file may be damaged or written by others: lines that are not records are ignored.
"""

import contextlib
import hashlib
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from jaxstyle.batch.jobs import Job
from jaxstyle.batch.names import is_inside
from jaxstyle.errors import WriteError
from jaxstyle.io.atomic import file_sha256
from jaxstyle.io.provenance import FileId, InputIds

Record = dict[str, Any]
"""Outcome of a job: one line of the ledger."""


_LEDGER = re.compile(r"jobs(\.\d+-of-\d+)?\.jsonl")


@dataclass(frozen=True)
class Shard:
    """Part of a list of jobs.

    Attributes:
      index: number of the part, from 1.
      count: number of parts.
    """

    index: int = 1
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Parse a shard written as `i/n`.

        Raises:
          ValueError: `text` has another form, or i is not in 1 to n.

        Example:
          >>> from jaxstyle.batch.ledger import Shard
          >>> Shard.parse("2/3").of(["a", "b", "c", "d", "e"])
          ['b', 'c']
        """
        match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
        shard = cls(int(match[1]), int(match[2])) if match else cls(0, 0)
        if not 1 <= shard.index <= shard.count:
            raise ValueError(f"`--shard` is {text!r}; it must be i/n with i from 1 to n.")
        return shard

    def of(self, items: list[Any]) -> list[Any]:
        """Return the part of a list; it is contiguous, because neighbors often share a shape."""
        begin, end = ((len(items) * k) // self.count for k in (self.index - 1, self.index))
        return items[begin:end]


def job_hash(job: Job, inputs: InputIds, weights: FileId) -> str:
    """Return the SHA-256 of everything that determines a job's result.

    Args:
      job: the job; only its configuration is hashed.
      inputs: hashes of its input files by role.
      weights: hash of the weights file.
    """
    record = {
        "config": job.config.record,
        "inputs": {part: [item["sha256"] for item in items] for part, items in inputs.items()},
        "weights": weights["sha256"],
    }
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


class Ledger:
    """Records in the output folder of a batch.

    Args:
      folder: output folder.
      shard: part of the jobs that this process does; each shard has a file of its own.
    """

    def __init__(self, folder: Path, shard: Shard):
        part = "" if shard.count == 1 else f".{shard.index}-of-{shard.count}"
        self._folder, self._path = folder, folder / f"jobs{part}.jsonl"

    def read(self) -> dict[str, list[Record]]:
        """Return the records of all shards by output, in the order of each file."""
        records: dict[str, list[Record]] = {}
        for path in sorted(self._folder.glob("jobs*.jsonl")):
            if not _LEDGER.fullmatch(path.name) or not path.is_file():
                continue
            # A file that cannot be read has no finished jobs.
            with contextlib.suppress(OSError):
                for record in _parse_lines(path.read_bytes()):
                    records.setdefault(record["output"], []).append(record)
        return records

    def outputs(self) -> set[str]:
        """Return the resolved paths of all outputs that the records name."""
        return {
            os.path.realpath(self._folder / output) for output in self.read() if is_inside(output)
        }

    def announce(self, outputs: Iterable[str]) -> None:
        """Record outputs before they are written, unless they have a record.

        Where results lie among the inputs, a result whose process was killed before it was
        recorded could not be told from an input otherwise.

        Raises:
          WriteError: the file cannot be written.
        """
        known = self.read()
        self.append(*({"output": o, "status": "started"} for o in outputs if o not in known))

    def append(self, *records: Record) -> None:
        """Append records and fsync them.

        Raises:
          WriteError: the file cannot be written.
        """
        line = b"".join(json.dumps(record).encode() + b"\n" for record in records)
        if not records:
            return
        try:
            if self._path.exists() and not self._path.is_file():
                raise WriteError(f"cannot write {self._path}: it is not a regular file; remove it.")
            with self._path.open("ab+") as file:
                if file.seek(0, os.SEEK_END):
                    file.seek(-1, os.SEEK_END)
                    # Keep the record apart from an incomplete line.
                    if file.read(1) != b"\n":
                        line = b"\n" + line
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise WriteError(f"cannot write {self._path}: {error.strerror or error}.") from error


def _parse_lines(data: bytes) -> Iterator[Record]:
    for line in data.splitlines():
        # A killed process can leave an incomplete line; deep nesting exhausts the parser's stack.
        with contextlib.suppress(ValueError, RecursionError):
            record = json.loads(line)
            if isinstance(record, dict) and isinstance(record.get("output"), str):
                yield record


def _is_complete(record: Record) -> bool:
    """Return whether a record has everything that the report shows of a finished job."""
    terms, curve = record.get("terms"), record.get("curve")
    if not isinstance(terms, dict) or not isinstance(curve, list) or not curve:
        return False
    fields = (record.get(name) for name in ("width", "height", "steps", "seconds", "loss"))
    return all(map(_is_number, (*fields, *terms.values(), *curve)))


def _is_number(value: Any) -> bool:
    # Python's integers may be larger than any float; NaN compares as false.
    return isinstance(value, int | float) and abs(value) <= sys.float_info.max


def is_done(record: Record, job: str, folder: Path) -> bool:
    """Return whether a job is complete: its record says so and its output is unchanged.

    Args:
      record: record of the ledger.
      job: hash of the job, from `job_hash`.
      folder: output folder.
    """
    if record.get("status") != "done" or record.get("job") != job or not _is_complete(record):
        return False
    try:
        return file_sha256(folder / record["output"]) == record.get("output_sha256")
    except OSError:
        return False


@contextlib.contextmanager
def lock_output(folder: Path, shard: Shard) -> Iterator[None]:
    """Create the output folder and lock a shard of it.

    Raises:
      WriteError: another process holds the shard or uses another number of shards, or the
        folder cannot be written.
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
            f"another process is writing to {folder}; wait until it ends, or run each process "
            "with its own `--shard`: 1/2, 2/2, ..."
        ) from None
    except OSError as error:
        raise WriteError(f"cannot write to {folder}: {error.strerror or error}.") from error
    try:
        yield
    finally:
        lock.release()
