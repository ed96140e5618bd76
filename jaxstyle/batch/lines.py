"""Files of lines that grow: in a folder of this machine, or in an object store.

A line that was appended is on the disk, or in the store.
"""

import contextlib
import os
import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from jaxstyle.errors import WriteError
from jaxstyle.io.atomic import write_bytes
from jaxstyle.io.remote import FilePath, list_remote, read_remote, remove_remote

# Lines per object of a store: one is written anew for each of its lines.
_PART_LINES = 256
# Objects that are read at once.
_READ_AT_ONCE = 32


class LocalLines:
    """Files in a folder of this machine, named `STEM.jsonl`."""

    def __init__(self, folder: Path, stem: str):
        self._folder, self._stem = folder, stem

    def list(self) -> list[str]:
        """Return the names of the files in the folder, sorted."""
        with contextlib.suppress(OSError):
            return sorted(path.name for path in self._folder.glob("*.jsonl") if path.is_file())
        return []

    def read(self, names: Sequence[str]) -> Iterator[bytes]:
        """Yield the lines of files, leaving out those that do not exist any more.

        Raises:
          WriteError: a file cannot be read.
        """
        for path in (self._folder / name for name in names):
            try:
                with path.open("rb") as file:
                    yield from file
            except FileNotFoundError:
                # Its lines were moved to another file.
                continue
            except OSError as error:
                reason = error.strerror or error
                raise WriteError(f"cannot read {path}: {reason}.") from error

    def append(self, lines: Iterable[bytes]) -> None:
        """Append lines to the own file, and fsync it.

        Raises:
          WriteError: the file cannot be written.
        """
        path = self._folder / f"{self._stem}.jsonl"
        try:
            if path.exists() and not path.is_file():
                raise WriteError(f"cannot write {path}: it is not a regular file; remove it.")
            with path.open("ab+") as file:
                if file.seek(0, os.SEEK_END):
                    file.seek(-1, os.SEEK_END)
                    # Keep the line apart from an incomplete one.
                    if file.read(1) != b"\n":
                        file.write(b"\n")
                file.writelines(lines)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise WriteError(f"cannot write {path}: {error.strerror or error}.") from error

    def remove(self, name: str) -> None:
        """Remove a file.

        Raises:
          WriteError: it cannot be removed.
        """
        path = self._folder / name
        try:
            path.unlink()
        except OSError as error:
            raise WriteError(f"cannot remove {path}: {error.strerror or error}.") from error


class RemoteLines:
    """Objects of a store, named `STEM.part-TOKEN-NUMBER.jsonl`.

    Objects cannot grow. Each process writes objects of its own, of a few lines each.
    """

    def __init__(self, folder: FilePath, stem: str):
        self._folder, self._stem = folder, stem
        self._token, self._number = f"{int(time.time()):x}{secrets.token_hex(4)}", 0
        self._part: list[bytes] = []

    def list(self) -> list[str]:
        """Return the names of the objects in the folder, sorted.

        Raises:
          WriteError: the folder cannot be read.
        """
        try:
            return sorted(list_remote(self._folder))
        except OSError as error:
            raise WriteError(f"cannot read {self._folder}: {error.strerror or error}.") from error

    def read(self, names: Sequence[str]) -> Iterator[bytes]:
        """Yield the lines of objects, leaving out those that do not exist any more.

        Raises:
          WriteError: one of them cannot be read.
        """
        for some in _chunks(names, _READ_AT_ONCE):
            try:
                parts = read_remote(self._folder, some)
            except OSError as error:
                reason = error.strerror or error
                raise WriteError(f"cannot read {self._folder}: {reason}.") from error
            for part in parts:
                yield from part.splitlines(keepends=True)

    def append(self, lines: Iterable[bytes]) -> None:
        """Write lines to own objects.

        Raises:
          WriteError: they cannot be written.
        """
        for some in _chunks(lines, _PART_LINES):
            if len(self._part) + len(some) > _PART_LINES:
                self._part, self._number = [], self._number + 1
            self._part += some
            name = f"{self._stem}.part-{self._token}-{self._number:06}.jsonl"
            path = self._folder / name
            write_bytes(path, b"".join(self._part))

    def remove(self, name: str) -> None:
        """Remove an object.

        Raises:
          WriteError: it cannot be removed.
        """
        try:
            remove_remote(self._folder / name)
        except OSError as error:
            reason = error.strerror or error
            raise WriteError(f"cannot remove {self._folder / name}: {reason}.") from error


def _chunks(items: Iterable[Any], count: int) -> Iterator[list[Any]]:
    iterator = iter(items)
    return iter(lambda: list(islice(iterator, count)), [])
