"""Changes to the process: the compilation cache, signal handlers, memory returned to the system."""

import contextlib
import ctypes
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax

_INTERRUPTS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]
# JAX removes the oldest entries beyond this size.
_CACHE_BYTES = 2**30


def enable_compilation_cache() -> None:
    """Enable JAX's persistent compilation cache in the user's cache folder.

    A second run of the same size then starts sooner. `JAX_COMPILATION_CACHE_DIR` changes the
    folder, `JAX_ENABLE_COMPILATION_CACHE=false` turns the cache off. Settings that JAX already
    has are kept.
    """
    if jax.config.values["jax_compilation_cache_dir"] is not None:
        return
    try:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        folder = Path(base) / "jaxstyle"
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):
        return  # Without a home folder there is no cache, and runs start later.
    jax.config.update("jax_compilation_cache_dir", str(folder))
    defaults = {
        "jax_compilation_cache_max_size": _CACHE_BYTES,
        "jax_persistent_cache_min_compile_time_secs": 0.1,
    }
    for name, value in defaults.items():
        if name.upper() not in os.environ:
            jax.config.update(name, value)


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
            if number == signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN:
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
