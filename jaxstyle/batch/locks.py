"""Locks on the output folder of a batch: one process per shard, and one per worker of a cluster."""

import contextlib
import fnmatch
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from jaxstyle.batch.ledger import Shard
from jaxstyle.batch.remote_lock import RemoteLock, wait_until_free
from jaxstyle.errors import WriteError
from jaxstyle.io.remote import FilePath, is_remote, list_remote, remove_remote

_WORKER_LOCK, _SHARD_LOCK = ".jaxstyle-worker-{}.lock", ".jaxstyle-{}-of-{}.lock"


def lock_worker(folder: FilePath, number: int, seconds: float) -> FileLock | None:
    """Lock the ledger file of a worker of a cluster, as long as its process lives.

    In an object store each process has files of its own, and needs no lock.

    Args:
      folder: output folder.
      number: number of the worker.
      seconds: time to wait for an earlier process to end.

    Raises:
      WriteError: another process holds the lock.
    """
    if is_remote(folder):
        return None
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


def wait_for_workers(folder: FilePath, seconds: float) -> None:
    """Wait until the workers of an earlier run, whose driver may have been killed, have ended.

    Raises:
      WriteError: one of them is still alive after that time.
    """
    for path in [] if is_remote(folder) else folder.glob(_WORKER_LOCK.format("*")):
        number = path.name.split("-")[-1].removesuffix(".lock")
        if number.isdecimal() and (lock := lock_worker(folder, int(number), seconds)):
            lock.release()


@contextlib.contextmanager
def lock_output(folder: FilePath, shard: Shard | None = None) -> Iterator[None]:
    """Create the output folder and lock it.

    Args:
      folder: the folder.
      shard: shard to lock; `None` locks the folder of a command without shards.

    Raises:
      WriteError: another process holds the shard or uses another number of shards, or the
        folder cannot be written.
    """
    own = shard or Shard()
    try:
        lock = _lock_remote(folder, own) if is_remote(folder) else _lock_local(folder, own)
    except (Timeout, TimeoutError):
        other_way = ", or run each process with its own `--shard`: 1/2, 2/2, ..." if shard else "."
        raise WriteError(
            f"another process is writing to {folder}; wait until it ends{other_way}"
        ) from None
    except FileNotFoundError as error:
        reason = "there is no such bucket" if is_remote(folder) else error.strerror
        raise WriteError(f"cannot write to {folder}: {reason}.") from error
    except OSError as error:
        raise WriteError(f"cannot write to {folder}: {error.strerror or error}.") from error
    try:
        yield
    finally:
        lock.release()


def _lock_local(folder: Path, shard: Shard) -> FileLock:
    lock = FileLock(folder / _SHARD_LOCK.format(shard.index, shard.count))
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".jaxstyle.lock", timeout=60):
        for path in folder.glob(_SHARD_LOCK.format("*", "*")):
            other = FileLock(path)
            if path.name.endswith(f"-of-{shard.count}.lock") and path != Path(lock.lock_file):
                continue
            with other.acquire(blocking=False):
                pass
        lock.acquire(blocking=False)
    return lock


def _lock_remote(folder: FilePath, shard: Shard) -> RemoteLock:
    lock = RemoteLock(folder / _SHARD_LOCK.format(shard.index, shard.count))
    lock.acquire()
    try:
        others = [
            path
            for name, path in list_remote(folder).items()
            if fnmatch.fnmatch(name, _SHARD_LOCK.format("*", "*"))
            and not name.endswith(f"-of-{shard.count}.lock")
        ]
        for path in wait_until_free(others):
            remove_remote(path)
    except BaseException:
        lock.release()
        raise
    return lock
