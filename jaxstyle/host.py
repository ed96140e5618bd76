"""What the package changes in its process: the compilation cache, signal handlers, freed memory."""

import contextlib
import ctypes
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax

# The cache of compiled programs is cut to this size, oldest entries first.
_CACHE_BYTES = 2**30


def enable_compilation_cache() -> None:
    """Keep compiled programs in the user's cache folder, unless JAX was told of another.

    A second run of the same size then starts sooner. `JAX_COMPILATION_CACHE_DIR` moves
    the folder, `JAX_ENABLE_COMPILATION_CACHE=false` turns it off.
    """
    if jax.config.values["jax_compilation_cache_dir"] is not None:
        return
    try:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        folder = Path(base) / "jaxstyle"
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):
        return  # No home, no cache: only slower.
    jax.config.update("jax_compilation_cache_dir", str(folder))
    ours = {
        "jax_compilation_cache_max_size": _CACHE_BYTES,
        "jax_persistent_cache_min_compile_time_secs": 0.1,
    }
    for name, value in ours.items():
        if name.upper() not in os.environ:
            jax.config.update(name, value)


@contextlib.contextmanager
def on_signals(interrupt: Callable[[], None]) -> Iterator[None]:
    """Have SIGINT and SIGTERM call `interrupt`; a second one does as before.

    Does nothing outside of the main thread, where there is no one to interrupt.
    """
    before: dict[int, Any] = {}

    def handle(number: int, _: Any) -> None:
        interrupt()
        signal.signal(number, before[number])

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def release_memory() -> None:
    """Return what the C library keeps of freed memory; where it is not glibc, do nothing.

    Reading weights and compiling leave more than 100 MiB that a step's maps find no room in. It
    takes some milliseconds.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
