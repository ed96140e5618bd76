"""What Ctrl-C and a scheduler's SIGTERM do while work is under way."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any


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
