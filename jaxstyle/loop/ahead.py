"""Compilation in a second thread, while the run that needs the programs is under way.

A compiled function reuses what was compiled for arguments of the same shapes. A run therefore
calls its functions as if nothing had been compiled.
"""

import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import jax

_THREAD = "jaxstyle-compile"


class Ahead:
    """Functions that a thread calls, in the order in which they are added, before they are needed.

    An error in one of them is ignored: the run that needs its program raises it too. None is called
    if the calling thread has settings of JAX of its own, such as `with jax.enable_x64(True)`: the
    program would be another one.

    Example:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> from jaxstyle.loop.ahead import Ahead
      >>> double = jax.jit(lambda x: 2 * x)
      >>> with Ahead() as ahead:
      ...     ahead.add("double", lambda: double.trace(jnp.ones(3)).lower().compile())
      ...     ahead.claim("double")
      ...     print(double(jnp.ones(3)))
      [2. 2. 2.]
    """

    def __init__(self):
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=_THREAD)
        self._settings = _settings()
        self._futures: dict[Hashable, Future] = {}

    def __enter__(self) -> "Ahead":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def add(self, key: Hashable, function: Callable[[], object]) -> None:
        """Call a function in the thread, after those added before."""

        def call() -> None:
            if _settings() == self._settings:
                function()

        self._futures[key] = self._pool.submit(call)

    def claim(self, key: Hashable) -> None:
        """Wait for a function that the thread is calling; cancel it if it has not begun.

        Tracing the same program in two threads would take twice as long.
        """
        future = self._futures.pop(key, None)
        if future is not None and not future.cancel():
            wait([future])


def is_compiling() -> bool:
    """Return whether a thread of a run still compiles. Python waits for it when it exits."""
    return any(thread.name.startswith(_THREAD) for thread in threading.enumerate())


def _settings() -> dict[str, Any]:
    """Return JAX's settings as this thread sees them."""
    return {name: getattr(jax.config, name, None) for name in jax.config.values}
