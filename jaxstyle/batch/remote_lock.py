"""A lock in an object store, where no process can see whether another one lives."""

import secrets
import socket
import threading
from typing import Any

from jaxstyle.io.remote import create_remote, read_remote, remove_remote, write_remote

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
        if not create_remote(self._path, self._content()):
            self.wait_until_free()
            write_remote(self._path, self._content())
            # Another process may have waited for the same moment; the last one has it.
            self._stopped.wait(_BEAT_SECONDS / 2)
            if self._read() != self._content():
                raise TimeoutError
        self._thread = threading.Thread(target=self._beat, name="lock", daemon=True)
        self._thread.start()

    def wait_until_free(self) -> None:
        """Wait until the lock is not held, and has not been for a minute if it was not released.

        Raises:
          TimeoutError: another process holds it.
          OSError: the store cannot be read.
        """
        first, waited = self._read(), 0.0
        while first is not None and waited < _PATIENCE_SECONDS:
            self._stopped.wait(_BEAT_SECONDS / 2)
            waited += _BEAT_SECONDS / 2
            if (now := self._read()) != first:
                if now is not None:
                    raise TimeoutError
                return

    def release(self) -> None:
        """Give the lock back.

        Raises:
          OSError: the store cannot be written.
        """
        self._stopped.set()
        self._thread.join()
        if self._read() == self._content():
            remove_remote(self._path)

    def _content(self) -> bytes:
        return f"{self._owner} {self._beats}".encode()

    def _read(self) -> bytes | None:
        found = read_remote(self._path.parent, [self._path.name])
        return found[0] if found else None

    def _beat(self) -> None:
        while not self._stopped.wait(_BEAT_SECONDS):
            try:
                self._beats += 1
                write_remote(self._path, self._content())
            except OSError:
                # The store may answer at the next beat.
                self._beats -= 1
