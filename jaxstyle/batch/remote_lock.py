"""A lock in an object store, where no process can see whether another one lives."""

import secrets
import socket
import threading
import time
from collections.abc import Sequence
from typing import Any

from jaxstyle.io.remote import create_remote, read_remote, remove_remote, write_remote
from jaxstyle.reporting import logger

# A holder writes the lock anew at this interval; one that has not changed for longer is free.
_BEAT_SECONDS, _PATIENCE_SECONDS = 10.0, 60.0


class RemoteLock:
    """A lock that is an object of a store, which its holder writes anew every few seconds.

    A process that is killed leaves the object. Whoever wants the lock then watches it by its own
    clock; clocks of two machines are never compared.

    Args:
      path: where the object is.
    """

    def __init__(self, path: Any):
        self._path, self._beats = path, 0
        self._owner = f"{socket.gethostname()} {secrets.token_hex(8)}"
        self._stopped = threading.Event()

    def acquire(self) -> None:
        """Take the lock.

        Raises:
          TimeoutError: another process holds it.
          OSError: the store cannot be written.
        """
        while not create_remote(self._path, self._content()):
            if not wait_until_free([self._path]):
                # It was released meanwhile.
                continue
            write_remote(self._path, self._content())
            # Another process may have waited for the same moment; the last one has it.
            self._stopped.wait(_BEAT_SECONDS / 2)
            if not self._is_own():
                raise TimeoutError
            break
        self._thread = threading.Thread(target=self._beat, name="lock", daemon=True)
        self._thread.start()

    def release(self) -> None:
        """Give the lock back. If the store does not answer, it is free after a minute."""
        self._stopped.set()
        self._thread.join()
        try:
            if self._is_own():
                remove_remote(self._path)
        except OSError as error:
            logger.warning("the lock %s is left there: %s", self._path, error.strerror or error)

    def _content(self) -> bytes:
        return f"{self._owner} {self._beats}".encode()

    def _is_own(self) -> bool:
        return (_read(self._path) or b"").startswith(self._owner.encode())

    def _beat(self) -> None:
        while not self._stopped.wait(_BEAT_SECONDS):
            try:
                if not self._is_own():
                    # After a long pause, another process has it.
                    logger.warning("another process has taken the lock %s", self._path)
                    return
                self._beats += 1
                write_remote(self._path, self._content())
            except OSError:
                # The store may answer at the next beat.
                continue


def wait_until_free(paths: Sequence[Any]) -> list[Any]:
    """Wait until no process holds the locks at some paths.

    Returns:
      The locks that are still there, and have not changed for a minute.

    Raises:
      TimeoutError: a process holds one of them.
      OSError: the store cannot be read.
    """
    contents: dict[Any, bytes | None] = {path: _read(path) for path in paths}
    end = time.monotonic() + _PATIENCE_SECONDS
    while any(contents.values()) and time.monotonic() < end:
        time.sleep(_BEAT_SECONDS / 2)
        for path, content in list(contents.items()):
            contents[path] = _read(path)
            if contents[path] not in (None, content):
                raise TimeoutError
    return [path for path, content in contents.items() if content is not None]


def _read(path: Any) -> bytes | None:
    found = read_remote(path.parent, [path.name])
    return found[0] if found else None
