"""Ledger of a batch: one line of `jobs.jsonl` per job.

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
from typing import Any

from jaxstyle.batch.lines import LocalLines, RemoteLines
from jaxstyle.batch.names import is_inside
from jaxstyle.io.atomic import RealPaths
from jaxstyle.io.remote import FilePath, is_remote

Record = dict[str, Any]
"""Outcome of a job: one line of the ledger."""


_LEDGER = re.compile(
    r"(?P<stem>jobs(\.\d+-of-\d+|(?P<worker>\.worker-\d+))?)(\.part-[0-9a-f]+-\d+)?\.jsonl"
)


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

        SLURM sets `SLURM_PROCID` and `SLURM_NTASKS` for the tasks of `srun`. A job array may as
        well give each of its tasks a folder, so its variables choose no part.

        Args:
          environ: environment variables.

        Example:
          >>> from jaxstyle.batch.ledger import Shard
          >>> Shard.of_process({"SLURM_PROCID": "1", "SLURM_NTASKS": "4", "SLURM_STEP_ID": "0"})
          Shard(index=2, count=4)
        """
        # Inside a batch script, but outside of srun, there is one process for all tasks.
        names = ("SLURM_STEP_ID", "SLURM_NTASKS", "SLURM_PROCID")
        texts = [environ.get(name, "") for name in names]
        if not all(text.isdecimal() for text in texts):
            return cls()
        _, count, index = map(int, texts)
        return cls(index + 1, count) if index < count else cls()

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

    def __init__(self, folder: FilePath, shard: Shard, *, worker: int | None = None):
        part = "" if shard.count == 1 else f".{shard.index}-of-{shard.count}"
        part = part if worker is None else f".worker-{worker}"
        self._folder, self._stem = folder, f"jobs{part}"
        if is_remote(folder):
            self._files = RemoteLines(folder, self._stem)
        else:
            self._files = LocalLines(folder, self._stem)

    def read(self) -> Iterator[Record]:
        """Yield the records of all shards and workers, in the order of each file.

        Raises:
          WriteError: a file cannot be read; its jobs would be done again.
        """
        return _parse(self._files.read([match[0] for match in self._list()]))

    def read_own(self) -> Iterator[Record]:
        """Yield the records of this ledger's own file."""
        return _parse(self._files.read(self._own_files()))

    def _list(self) -> Iterator[re.Match[str]]:
        return (match for name in self._files.list() if (match := _LEDGER.fullmatch(name)))

    def remove_outputs(self, paths: Iterable[FilePath]) -> list[FilePath]:
        """Return the paths that are no outputs of the batch, by its records.

        A link to an output counts as the output.
        """
        paths, real_path = list(paths), RealPaths()
        folder = real_path.of_folder(self._folder)
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
            lines = (json.dumps(record).encode() + b"\n" for record in records)
            self._files.append(lines)

    def merge(self) -> None:
        """Move the records of all workers of a cluster to the file of this ledger.

        A process that is killed meanwhile leaves records in both, and the next call drops those
        of the workers.

        Raises:
          WriteError: a file cannot be read or written.
        """
        names = [match[0] for match in self._list() if match["worker"]]
        own = self._own_files() if names else []
        known = {_digest(line) for line in self._files.read(own)}
        for name in names:
            lines = (n for n in self._files.read([name]) if n.endswith(b"\n"))
            self._files.append(line for line in lines if _digest(line) not in known)
            self._files.remove(name)

    def _own_files(self) -> list[str]:
        return [match[0] for match in self._list() if match["stem"] == self._stem]


def _digest(line: bytes) -> bytes:
    return hashlib.blake2b(line, digest_size=16).digest()


def _parse(lines: Iterable[bytes]) -> Iterator[Record]:
    for line in lines:
        # A killed process can leave an incomplete line; deep nesting exhausts the parser's stack.
        with contextlib.suppress(ValueError, RecursionError):
            record = json.loads(line)
            if isinstance(record, dict) and isinstance(record.get("output"), str):
                yield record
