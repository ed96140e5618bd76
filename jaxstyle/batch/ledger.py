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
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from jaxstyle.batch.names import is_inside
from jaxstyle.errors import WriteError
from jaxstyle.io.atomic import RealPaths

Record = dict[str, Any]
"""Outcome of a job: one line of the ledger."""


_LEDGER = re.compile(r"jobs(\.\d+-of-\d+|\.worker-\d+)?\.jsonl")
_WORKER_LOCK = ".jaxstyle-worker-{}.lock"


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

    @classmethod
    def of_process(cls, environ: Mapping[str, str] = os.environ) -> "Shard":
        """Return the shard of this process, if a launcher says that it is one of several.

        SLURM sets `SLURM_PROCID` and `SLURM_NTASKS` for the tasks of `srun`, and
        `SLURM_ARRAY_TASK_ID` and so on for the tasks of a job array. A process that runs alone
        does all jobs.

        Args:
          environ: environment variables.

        Example:
          >>> from jaxstyle.batch.ledger import Shard
          >>> Shard.of_process({"SLURM_PROCID": "1", "SLURM_NTASKS": "4", "SLURM_STEP_ID": "0"})
          Shard(index=2, count=4)
        """

        def read(name: str) -> int:
            text = environ.get(name, "")
            return int(text) if text.isdecimal() else -1

        # Inside a batch script, but outside of srun, there is one process for all tasks.
        is_step = environ.get("SLURM_STEP_ID", "").isdecimal()
        steps, step = (read("SLURM_NTASKS"), read("SLURM_PROCID")) if is_step else (1, 0)
        tasks, task, step_size = 1, 0, read("SLURM_ARRAY_TASK_STEP")
        if read("SLURM_ARRAY_TASK_COUNT") > 1 and step_size > 0:
            tasks = read("SLURM_ARRAY_TASK_COUNT")
            task = (read("SLURM_ARRAY_TASK_ID") - read("SLURM_ARRAY_TASK_MIN")) // step_size
        if not (0 <= step < steps and 0 <= task < tasks):
            return cls()
        return cls(task * steps + step + 1, tasks * steps)

    def of(self, items: list[Any]) -> list[Any]:
        """Return the part of a list; it is contiguous, because neighbors often share a shape."""
        begin, end = ((len(items) * k) // self.count for k in (self.index - 1, self.index))
        return items[begin:end]


class Ledger:
    """Records in the output folder of a batch.

    Args:
      folder: output folder.
      shard: part of the jobs that this process does; each shard has a file of its own.
      worker: number of a process of a cluster, which has a file of its own.
    """

    def __init__(self, folder: Path, shard: Shard, *, worker: int | None = None):
        part = "" if shard.count == 1 else f".{shard.index}-of-{shard.count}"
        part = part if worker is None else f".worker-{worker}"
        self._folder, self._path = folder, folder / f"jobs{part}.jsonl"

    def read(self) -> Iterator[Record]:
        """Yield the records of all shards and workers, in the order of each file."""
        for path in sorted(self._folder.glob("jobs*.jsonl")):
            if _LEDGER.fullmatch(path.name) and path.is_file():
                yield from _read_records(path)

    def read_own(self) -> Iterator[Record]:
        """Yield the records of the file of this ledger."""
        return _read_records(self._path)

    def remove_outputs(self, paths: Iterable[Path]) -> list[Path]:
        """Return the paths that are no outputs of the batch, by its records.

        A link to an output counts as the output.
        """
        paths, real_path = list(paths), RealPaths()
        folder = os.path.realpath(self._folder) + os.sep
        inside = [path for path in paths if real_path(path).startswith(folder)]
        if not inside:
            return paths
        names = (record["output"] for record in self.read())
        outputs = {real_path(self._folder / name) for name in names if is_inside(name)}
        return [path for path in paths if real_path(path) not in outputs]

    def announce(self, outputs: Iterable[str]) -> None:
        """Record outputs before they are written, unless they have a record.

        Where results lie among the inputs, a result whose process was killed before it was
        recorded could not be told from an input otherwise.

        Raises:
          WriteError: the file cannot be written.
        """
        known = {record["output"] for record in self.read()}
        self.append(*({"output": o, "status": "started"} for o in outputs if o not in known))

    def append(self, *records: Record) -> None:
        """Append records and fsync them.

        Raises:
          WriteError: the file cannot be written.
        """
        if records:
            self._append_lines(json.dumps(record).encode() + b"\n" for record in records)

    def _append_lines(self, lines: Iterable[bytes]) -> None:
        try:
            if self._path.exists() and not self._path.is_file():
                raise WriteError(f"cannot write {self._path}: it is not a regular file; remove it.")
            with self._path.open("ab+") as file:
                if file.seek(0, os.SEEK_END):
                    file.seek(-1, os.SEEK_END)
                    # Keep the record apart from an incomplete line.
                    if file.read(1) != b"\n":
                        file.write(b"\n")
                file.writelines(lines)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise WriteError(f"cannot write {self._path}: {error.strerror or error}.") from error

    def merge(self) -> None:
        """Move the records of all workers of a cluster to the file of this ledger.

        A process that is killed meanwhile leaves records in both, and the next call drops those
        of the workers.

        Raises:
          WriteError: a file cannot be written.
        """
        paths = sorted(self._folder.glob("jobs.worker-*.jsonl"))
        paths = [path for path in paths if _LEDGER.fullmatch(path.name) and path.is_file()]
        known = {_digest(line) for line in _read_lines(self._path)} if paths else set()
        for path in paths:
            lines = (line for line in _read_lines(path) if line.endswith(b"\n"))
            self._append_lines(line for line in lines if _digest(line) not in known)
            try:
                path.unlink()
            except OSError as error:
                raise WriteError(f"cannot remove {path}: {error.strerror or error}.") from error


def _digest(line: bytes) -> bytes:
    return hashlib.blake2b(line, digest_size=16).digest()


def _read_lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file; one that cannot be read has none."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        yield from file


def _read_records(path: Path) -> Iterator[Record]:
    for line in _read_lines(path):
        # A killed process can leave an incomplete line; deep nesting exhausts the parser's stack.
        with contextlib.suppress(ValueError, RecursionError):
            record = json.loads(line)
            if isinstance(record, dict) and isinstance(record.get("output"), str):
                yield record


def lock_worker(folder: Path, number: int, seconds: float) -> FileLock:
    """Lock the ledger file of a worker of a cluster, as long as its process lives.

    Args:
      folder: output folder.
      number: number of the worker.
      seconds: time to wait for an earlier process to end.

    Raises:
      WriteError: another process holds the lock.
    """
    lock = FileLock(folder / _WORKER_LOCK.format(number), thread_local=False)
    try:
        lock.acquire(timeout=seconds)
    except Timeout:
        raise WriteError(
            f"a worker of another run is still writing to {folder}; wait until it ends."
        ) from None
    except OSError as error:
        raise WriteError(f"cannot write to {folder}: {error.strerror or error}.") from error
    return lock


def wait_for_workers(folder: Path, seconds: float) -> None:
    """Wait until the workers of an earlier run, whose driver may have been killed, have ended.

    Raises:
      WriteError: one of them is still alive after that time.
    """
    for path in folder.glob(_WORKER_LOCK.format("*")):
        number = path.name.split("-")[-1].removesuffix(".lock")
        if number.isdecimal():
            lock_worker(folder, int(number), seconds).release()


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
