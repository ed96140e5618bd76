"""Changes to the process: platform, compilation cache, signal handlers, memory given back."""

import contextlib
import ctypes
import logging
import os
import signal
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
from filelock import FileLock, Timeout

from jaxstyle.options import Platform

_INTERRUPTS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]
# JAX removes the oldest entries beyond this size.
_CACHE_BYTES = 2**30
_LOCK_SECONDS = 2


def use_platform(platform: Platform | None = None) -> None:
    """Make JAX compute on a platform, and check that it is there.

    JAX by itself falls back to the CPU without saying so.

    Args:
      platform: `cpu`, `gpu` (NVIDIA) or `tpu`; `None` for what JAX chooses, or what
        `JAX_PLATFORMS` says.

    Raises:
      ValueError: JAX cannot use the platform, or uses another one in this process already.

    Example:
      >>> from jaxstyle.host import use_platform
      >>> use_platform("cpu")
    """
    # JAX's name of an NVIDIA GPU.
    wanted = {"gpu": "cuda"}.get(str(platform), platform)
    before = jax.config.values["jax_platforms"]
    if wanted is not None:
        jax.config.update("jax_platforms", wanted)
    try:
        found = jax.default_backend()
    except Exception as error:
        asked = jax.config.values["jax_platforms"]
        jax.config.update("jax_platforms", before)
        extra = {"cuda": "cuda", "tpu": "tpu"}.get(str(asked))
        remedy = f"; is it free, and was 'jaxstyle[{extra}]' installed?" if extra else "."
        # An assertion of JAX has no message.
        raise ValueError(
            f"JAX finds no {platform or asked} here{remedy} {error}".strip()
        ) from error
    if platform not in (None, found):
        jax.config.update("jax_platforms", before)
        raise ValueError(f"`platform` is {platform}, but JAX already computes on a {found} here.")


def enable_compilation_cache() -> None:
    """Enable JAX's persistent compilation cache in the user's cache folder.

    A second run of the same size then starts sooner. `JAX_COMPILATION_CACHE_DIR` changes the
    folder, `JAX_ENABLE_COMPILATION_CACHE=false` turns the cache off. Settings that JAX already
    has are kept. Damaged entries are replaced; without a usable folder there is no cache, and
    each run compiles again.
    """
    # JAX compiles what it cannot read, so these do not concern the user.
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation cache")
    warnings.filterwarnings("ignore", "Cache value for key .* exceeds the maximum cache size")
    if jax.config.values["jax_compilation_cache_dir"] is not None:
        return
    defaults = {
        "jax_compilation_cache_max_size": _CACHE_BYTES,
        "jax_persistent_cache_min_compile_time_secs": 0.1,
    }
    for name, value in defaults.items():
        if name.upper() not in os.environ:
            jax.config.update(name, value)
    try:
        folder = _cache_folder()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            return
        # JAX writes time stamps only if the size is limited.
        if jax.config.values["jax_compilation_cache_max_size"] != -1:
            _drop_unfinished(folder)
    except (OSError, RuntimeError):
        return
    logger = logging.getLogger("jax._src.compiler")
    logger.addFilter(_DropUnreadable(folder, logger.getEffectiveLevel()))
    logger.setLevel(logging.DEBUG)
    jax.config.update("jax_compilation_cache_dir", str(folder))


def _cache_folder() -> Path:
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not base.is_absolute():
        home = Path.home()
        if not home.is_dir():
            raise FileNotFoundError(home)
        base = home / ".cache"
    return base / "jaxstyle"


def _drop_unfinished(folder: Path) -> None:
    """Remove entries without a time stamp, which keep JAX from adding others.

    A process that was killed while it wrote an entry leaves it so.

    Raises:
      OSError: the lock cannot be used.
    """
    # The lock that JAX takes for each access.
    with contextlib.suppress(Timeout), FileLock(folder / ".lockfile", timeout=_LOCK_SECONDS):
        for entry in folder.glob("*-cache"):
            if not entry.with_name(f"{entry.name.removesuffix('cache')}atime").is_file():
                with contextlib.suppress(OSError):
                    entry.unlink()


class _DropUnreadable(logging.Filter):
    """Removes an entry that JAX found but could not use; JAX would never replace it.

    JAX logs the key of each program that it is about to compile, at a level that is usually
    off. Records below `level`, the logger's own, stay off.
    """

    def __init__(self, folder: Path, level: int):
        super().__init__()
        self._folder, self._level = folder, level

    def filter(self, record: logging.LogRecord) -> bool:
        if "CACHE MISS" in str(record.msg) and isinstance(record.args, tuple):
            for suffix in ("-cache", "-atime"):
                with contextlib.suppress(OSError, ValueError):
                    (self._folder / f"{record.args[-1]}{suffix}").unlink()
        return record.levelno >= self._level


@contextlib.contextmanager
def on_signals(interrupt: Callable[[], None]) -> Iterator[None]:
    """Call `interrupt` on the first SIGINT, SIGTERM or SIGHUP inside the block.

    A second signal acts as it did before. Under `nohup`, SIGHUP stays ignored. Outside of the
    main thread, where Python delivers no signals, this does nothing.
    """
    previous: dict[int, Any] = {}
    received: set[int] = set()

    def handle(number: int, _: Any) -> None:
        # The handler stays, because `jaxstyle.cli.process` recognizes a second signal by it.
        if number in received:
            signal.signal(number, previous[number])
            signal.raise_signal(number)
        else:
            received.add(number)
            interrupt()

    if threading.current_thread() is threading.main_thread():
        for number in _INTERRUPTS:
            handler = signal.getsignal(number)
            # A handler that was not installed from Python cannot be restored.
            keep = handler is None or (number != signal.SIGINT and handler == signal.SIG_IGN)
            if not keep:
                previous[number] = signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def release_memory() -> None:
    """Give freed memory that the C library still holds back to the operating system.

    Loading weights and compiling leave over 100 MiB in fragments that a step cannot use. It
    takes a few milliseconds, and does nothing where the C library is not glibc.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
