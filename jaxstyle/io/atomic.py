"""Atomic file writes, reads of regular files only, checks of output paths, and file hashes."""

import contextlib
import errno
import hashlib
import io
import os
import re
import shutil
import stat
import tempfile
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

from jaxstyle.errors import WriteError
from jaxstyle.io.remote import FilePath, is_remote, open_remote, remote_stamp, write_remote

# S3 and Google Cloud Storage allow 1024 bytes for a whole path.
_REMOTE_NAME_LIMIT = 1000

# Temporary files of this process that are being written.
_temporaries: set[Path] = set()

_PARTIAL = re.compile(r"(\.jaxstyle-[0-9a-f]{16}-)\d+-\d+\.partial")


def name_limit(folder: FilePath) -> int:
    """Return the largest length of a file name in a folder, in bytes.

    Args:
      folder: the folder; if it is missing, it would be created in the nearest one that exists.
    """
    if is_remote(folder):
        return _REMOTE_NAME_LIMIT
    while not os.path.lexists(folder) and folder != folder.parent:
        folder = folder.parent
    try:
        return os.pathconf(folder, "PC_NAME_MAX")
    except (AttributeError, OSError, ValueError):
        return 255  # Windows, or a file system that does not tell.


def check_name(path: FilePath, limit: int) -> None:
    """Raise `WriteError` if a part of `path` has more than `limit` bytes.

    Example:
      >>> from pathlib import Path
      >>> from jaxstyle.io.atomic import check_name, name_limit
      >>> check_name(Path("result.png"), name_limit(Path()))
    """
    for part in path.parts:
        length = len(os.fsencode(part))
        if length > limit:
            raise WriteError(
                f"cannot write {part[:30]}...{part[-10:]}: this name has {length} bytes, the file "
                f"system allows {limit}; use a shorter one."
            )


def check_output(path: Path) -> None:
    """Raise `WriteError` if the file `path` cannot be created or replaced."""
    check_name(path, name_limit(path.parent))
    try:
        path.lstat()
    except FileNotFoundError:
        pass
    except OSError as error:
        raise WriteError(f"cannot write {path}: {error.strerror or error}.") from error
    if path.is_dir():
        raise WriteError(f"cannot write {path}: it is a folder; name a file in it.")
    if path.exists() and not path.is_file():
        raise WriteError(f"cannot write {path}: it is not a regular file; choose another name.")
    folder = path.parent
    if not folder.is_dir():
        raise WriteError(f"cannot write {path}: the folder {folder} does not exist; create it.")
    if not os.access(folder, os.W_OK):
        raise WriteError(
            f"cannot write {path}: the folder {folder} is read-only; choose another one."
        )


def write_bytes(path: FilePath, data: bytes, *, parents: bool = False) -> None:
    """Write a file atomically: write a temporary file, fsync it and rename it.

    Args:
      path: file to create or replace.
      data: contents of the file.
      parents: create missing parent folders.

    Raises:
      WriteError: the file cannot be written, e.g. because the disk is full.
    """
    if is_remote(path):
        _write_remote(path, data)
        return
    owner = f"{os.getpid()}-{threading.get_ident()}"
    temporary = path.with_name(f"{_partial_prefix(path.name)}{owner}.partial")
    _temporaries.add(temporary)
    try:
        if parents:
            path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise WriteError(f"cannot write {path}: {error.strerror or error}.") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        _temporaries.discard(temporary)


def _write_remote(path: FilePath, data: bytes) -> None:
    try:
        write_remote(path, data)
    except OSError as error:
        raise WriteError(f"cannot write {path}: {error.strerror or error}.") from error


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """Create a temporary folder; remove it after the block, or when a signal ends the process."""
    with tempfile.TemporaryDirectory(prefix="jaxstyle-") as name:
        _temporaries.add(Path(name))
        try:
            yield Path(name)
        finally:
            _temporaries.discard(Path(name))


def discard_temporaries() -> None:
    """Remove the temporary files and folders in use, because the process ends now."""
    for path in tuple(_temporaries):
        with contextlib.suppress(OSError):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


def remove_partials(folder: FilePath, names: Iterable[str]) -> None:
    """Remove the temporary files that killed processes left when they wrote files of a folder.

    No other file is removed. No other process may be writing to these files.

    Args:
      folder: the folder.
      names: files that `write_bytes` writes, as paths relative to the folder.
    """
    if is_remote(folder):
        return
    by_parent: dict[str, list[str]] = {}
    for name in names:
        parent, _, last = name.rpartition("/")
        by_parent.setdefault(parent, []).append(last)
    for parent, files in by_parent.items():
        with contextlib.suppress(OSError):
            names_found = os.listdir(folder / parent)  # noqa: PTH208 - a million paths are slow
            found = [match for name in names_found if (match := _PARTIAL.fullmatch(name))]
            expected = {_partial_prefix(name) for name in files} if found else set()
            for match in found:
                if match[1] in expected:
                    (folder / parent / match[0]).unlink(missing_ok=True)


def _partial_prefix(name: str) -> str:
    """Return the start of the names of a file's temporary files, of a length of its own."""
    digest = hashlib.sha256(os.fsencode(name)).hexdigest()
    return f".jaxstyle-{digest[:16]}-"


def open_regular(path: FilePath) -> io.BufferedReader:
    """Open a regular or remote file for reading. Reading a pipe, device or socket may never end.

    Raises:
      OSError: the file cannot be read, or is not a regular file.
    """
    if is_remote(path):
        return open_remote(path)
    _check_regular(path, path.stat())
    # A pipe put in place of the file since then must not block.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    file = os.fdopen(os.open(path, flags), "rb")
    try:
        _check_regular(path, os.fstat(file.fileno()))
    except OSError:
        file.close()
        raise
    return file


def _check_regular(path: FilePath, status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))


Stamp = list[int | str]
"""Size of a file, and its times or version: these tell that it has changed, without reading it."""


def file_stamp(path: FilePath | str) -> Stamp:
    """Return the size of a file in bytes, and the times of its last changes in ns.

    The second time is that of the file's entry, which no program can set. A remote file has a
    version instead of times.

    Raises:
      OSError: the file does not exist, or its folder cannot be read.
    """
    if is_remote(path):
        return remote_stamp(path)
    status = os.stat(path)  # noqa: PTH116 - a million paths are slow
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns]


class RealPaths:
    """Finds the real paths of files, to compare them, and looks at each folder once.

    On Windows they are in lower case.

    Example:
      >>> import os
      >>> from pathlib import Path
      >>> from jaxstyle.io.atomic import RealPaths
      >>> RealPaths()(Path("a.png")) == os.path.realpath("a.png")
      True
    """

    def __init__(self):
        self._folders: dict[str, str] = {}

    def __call__(self, path: FilePath | str) -> str:
        """Return the path of a file without links; not `Path.resolve`, which raises on a loop."""
        text = str(path)
        if "://" in text:
            return text
        parent, name = os.path.split(text)
        # `..` leads away from where a link points.
        is_link = os.path.islink(text)  # noqa: PTH114 - also for a name that is too long
        if is_link or name in ("", os.curdir, os.pardir):
            return os.path.normcase(os.path.realpath(text))
        if parent not in self._folders:
            self._folders[parent] = self.of_folder(Path(parent))
        return self._folders[parent] + os.path.normcase(name)

    def of_folder(self, path: FilePath) -> str:
        """Return the path of a folder without links, with a separator at its end."""
        if is_remote(path):
            return f"{str(path).rstrip('/')}/"
        return os.path.normcase(os.path.realpath(path)).rstrip(os.sep) + os.sep


def file_sha256(path: FilePath) -> str:
    """Return the SHA-256 of a file in hexadecimal.

    Raises:
      OSError: the file cannot be read, or is not a regular file.
    """
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
