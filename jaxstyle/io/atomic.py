"""Files written whole or not at all, and what can be known of them before the work."""

import contextlib
import hashlib
import os
import threading
from pathlib import Path

from jaxstyle.errors import WriteError


def check_output(path: Path) -> None:
    """Raise `WriteError` if the file `path` could not be made or replaced."""
    if path.is_dir():
        raise WriteError(f"cannot write {path}: it is a folder; name a file in it.")
    if path.exists() and not path.is_file():
        raise WriteError(f"cannot write {path}: it is a device, not a file.")
    if not path.parent.is_dir():
        raise WriteError(f"cannot write {path}: the folder {path.parent} does not exist; make it.")
    if not os.access(path.parent, os.W_OK):
        raise WriteError(f"cannot write {path}: the folder {path.parent} is read-only.")


def write_bytes(path: Path, data: bytes, *, parents: bool = False) -> None:
    """Write a file under a temporary name, flush it to the disk, then rename it.

    Args:
      path: where to; replaced if it is there.
      data: the file's bytes.
      parents: make the folder if it is not there.

    Raises:
      WriteError: the disk is full, the folder read-only, ...
    """
    partial = path.with_name(f".{os.getpid()}-{threading.get_ident()}.partial")
    try:
        if parents:
            path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise WriteError(f"cannot write {path}: {error.strerror or error}.") from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
