"""Files of object stores, by URL such as `s3://bucket/photo.jpg`; needs the extra `cloud`.

A file is written by one request: it is there whole or not at all.
"""

import contextlib
import errno
import glob
import io
import os
import re
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from jaxstyle.errors import JaxstyleError

if TYPE_CHECKING:
    from typing_extensions import TypeIs
    from upath import UPath

    FilePath: TypeAlias = Path | UPath

    def is_remote(path: object) -> TypeIs[UPath]: ...

else:
    try:
        from upath import UPath
    except ImportError:
        UPath = None
    FilePath = Path if UPath is None else Path | UPath

    def is_remote(path):
        """Return whether a path is in an object store."""
        return UPath is not None and isinstance(path, UPath) and not isinstance(path, Path)


# How much is read at once to see the header of a file.
_BLOCK_BYTES = 2**18
# What stores call the version of a file: S3, Google Cloud Storage, others.
_VERSIONS = ("ETag", "etag", "md5Hash", "mtime", "created")
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://.*", re.DOTALL)
# fsspec knows others, such as files of this machine, which have checks of their own.
_PROTOCOLS = ("s3", "s3a", "gs", "gcs")
_MAX_DOWNLOAD_BYTES = 2**30
_downloads: ContextVar[dict[str, bytes] | None] = ContextVar("downloads", default=None)


def to_path(path: str | os.PathLike[str] | FilePath) -> FilePath:
    """Return a path on this machine, or in an object store if `path` is a URL.

    Raises:
      JaxstyleError: `path` is a URL, and a library is missing.
      ValueError: `path` is a URL of an unknown kind.

    Example:
      >>> from jaxstyle.io.remote import is_remote, to_path
      >>> to_path("photos/a.jpg").name, is_remote(to_path("photos/a.jpg"))
      ('a.jpg', False)
    """
    if is_remote(path):
        return path
    match = _URL.fullmatch(str(path))
    if match is None:
        return Path(path)
    if match[1].lower() not in _PROTOCOLS:
        known = "known are s3://BUCKET/... and gs://BUCKET/..."
        raise ValueError(f"{path} is not a URL that can be used; {known}.")
    hint = "pip install 'jaxstyle[cloud]'"
    if UPath is None:
        raise JaxstyleError(f"{path} is a URL; to use it, {hint}.")
    try:
        remote = UPath(str(path))
        _ = remote.fs
    except (ImportError, ValueError) as error:
        raise JaxstyleError(f"{path} cannot be used: {error}; {hint}.") from error
    return remote


@contextlib.contextmanager
def storage_errors(path: FilePath) -> Iterator[None]:
    """Turn errors of the libraries of object stores into `OSError`.

    Raises:
      OSError: with a reason in one line.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path)) from error
    except Exception as error:
        if isinstance(error, OSError) and error.strerror:
            raise OSError(error.errno, error.strerror, str(path)) from error
        reason = " ".join(str(error).split()) or type(error).__name__
        raise OSError(errno.EIO, reason, str(path)) from error


@contextlib.contextmanager
def downloads() -> Iterator[None]:
    """Download each remote file that is opened inside of the block once, and whole."""
    token = _downloads.set({})
    try:
        yield
    finally:
        _downloads.reset(token)


def open_remote(path: Any) -> io.BufferedReader:
    """Open a remote file for reading; outside of `downloads`, only what is read is downloaded.

    Raises:
      OSError: the file cannot be read.
    """
    kept = _downloads.get()
    with storage_errors(path):
        if kept is None:
            file = path.fs.open(path.path, "rb", block_size=_BLOCK_BYTES)
            return io.BufferedReader(_Reader(path, file), _BLOCK_BYTES)
        if str(path) not in kept:
            if path.fs.info(path.path)["size"] > _MAX_DOWNLOAD_BYTES:
                raise OSError(errno.EFBIG, f"it has more than {_MAX_DOWNLOAD_BYTES >> 30} GiB")
            kept[str(path)] = path.fs.cat_file(path.path)
    return io.BufferedReader(_Reader(path, io.BytesIO(kept[str(path)])))


class _Reader(io.RawIOBase):
    """A remote file; all its errors are `OSError`."""

    def __init__(self, path: Any, file: Any):
        self._path, self._file = path, file

    def readinto(self, buffer: Any, /) -> int:
        with storage_errors(self._path):
            data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self._file.seek(offset, whence)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        self._file.close()
        super().close()


def write_remote(path: Any, data: bytes) -> None:
    """Write a remote file.

    Raises:
      OSError: the file cannot be written.
    """
    with storage_errors(path):
        path.fs.pipe_file(path.path, data)


def create_remote(path: Any, data: bytes) -> bool:
    """Write a remote file unless it exists; return whether it was written.

    Raises:
      OSError: the file cannot be written.
    """
    with storage_errors(path):
        try:
            path.fs.pipe_file(path.path, data, mode="create")
        except FileExistsError:
            return False
    return True


def remove_remote(path: Any) -> None:
    """Remove a remote file, if it exists.

    Raises:
      OSError: the file cannot be removed.
    """
    with storage_errors(path), contextlib.suppress(FileNotFoundError):
        path.fs.rm_file(path.path)


def read_remote(folder: Any, names: Sequence[str]) -> list[bytes]:
    """Return the contents of files in a remote folder, leaving out those that do not exist.

    Raises:
      OSError: a file cannot be read.
    """
    paths = [(folder / name).path for name in names]
    with storage_errors(folder):
        contents = folder.fs.cat(paths, on_error="return")
        # `cat` takes a list of one for a single path.
        values = contents.values() if isinstance(contents, dict) else [contents]
        for value in values:
            if isinstance(value, Exception) and not isinstance(value, FileNotFoundError):
                raise value
    return [value for value in values if isinstance(value, bytes)]


def list_remote(folder: Any) -> dict[str, Any]:
    """Return the files in a remote folder, by name; empty if there are none.

    Raises:
      OSError: the folder cannot be read.
    """
    with storage_errors(folder):
        try:
            entries = folder.fs.ls(folder.path, detail=True, refresh=True)
        except FileNotFoundError:
            return {}
        prefix = folder.path.rstrip("/") + "/"
        names = (e["name"].removeprefix(prefix) for e in entries if e["type"] == "file")
        return {name: folder / name for name in names if name}


def match_remote(pattern: Any) -> list[Any]:
    """Return the remote files that a URL names: a file, the files of a folder, or of a glob.

    Raises:
      OSError: there is no such folder, or the store cannot be read.
    """
    fs, text = pattern.fs, pattern.path
    with storage_errors(pattern):
        if glob.has_magic(text):
            entries = list(fs.glob(text, detail=True).values())
        elif fs.isfile(text):
            return [pattern]
        else:
            entries = fs.ls(text, detail=True)
    names = (entry["name"] for entry in entries if entry["type"] == "file")
    return [UPath(f"{pattern.protocol}://{name}") for name in names]


def remote_stamp(path: Any) -> list[int | str]:
    """Return the size of a remote file, and what tells its versions apart.

    Raises:
      OSError: the file does not exist, or the store cannot be read.
    """
    with storage_errors(path):
        info = path.fs.info(path.path)
    versions = (info[key] for key in _VERSIONS if key in info)
    return [int(info["size"]), str(next(versions, ""))]
