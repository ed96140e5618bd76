"""The process of a command line: signals and standard streams.

Only the standard library is imported, so that an interrupt is handled from the start.
"""

import contextlib
import io
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any, NoReturn

from jaxstyle.errors import ExitCode, JaxstyleError

_SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
]
# JAX reserves address space for its libraries and for the stacks of its threads.
_MIN_ADDRESS_SPACE = 2048
_ending = threading.Lock()


def run() -> NoReturn:
    """Run the command line of this process and exit with its exit code.

    Unlike `main`, it changes the process: SIGINT, SIGTERM and SIGHUP end it at once until a
    command handles them, a closed standard stream is replaced, and stderr never fails.
    """
    open_streams()
    end_on_signals()
    from jaxstyle.cli import main

    code = main()
    try:
        sys.stdout.flush()
    except OSError as error:
        discard_stdout()
        if not code and not isinstance(error, BrokenPipeError):
            print(f"jaxstyle: cannot write to stdout: {error.strerror}.", file=sys.stderr)
        code = code or int(ExitCode.CANNOT_WRITE)
    if code and "jax" in sys.modules and sys.modules["jax"].distributed.is_initialized():
        # JAX would wait for the other processes, which wait for this one.
        os._exit(code)
    ahead = sys.modules.get("jaxstyle.loop.ahead")
    if ahead is not None and ahead.is_compiling():
        # A run that ended early: Python would wait for a program that nobody needs any more.
        os._exit(code)
    sys.exit(code)


def open_streams() -> None:
    """Replace closed standard streams, and make stderr ignore errors.

    Without it, the next file that is opened would become stdout or stderr. Writing to a stdout
    that was closed is an error.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # `open` returns the lowest free number.
            os.open(os.devnull, os.O_WRONLY if number == 2 else os.O_RDONLY)
    if sys.stdout is None:
        sys.stdout = io.TextIOWrapper(io.BufferedWriter(io.FileIO(1, "w", closefd=False)))
    elif isinstance(sys.stdout, io.TextIOWrapper):
        # A file name may have characters that the terminal's encoding lacks.
        sys.stdout.reconfigure(errors="backslashreplace")
    if os.name == "nt" and isinstance(sys.stderr, io.TextIOWrapper):
        # Writing to its descriptor would bypass the encoding of the console.
        sys.stderr.reconfigure(errors="backslashreplace")
        return
    encoding = "utf-8" if sys.stderr is None else sys.stderr.encoding
    raw = _Talk(2, "w", closefd=False)
    sys.stderr = io.TextIOWrapper(
        io.BufferedWriter(raw), encoding, errors="backslashreplace", line_buffering=True
    )


class _Talk(io.FileIO):
    """A stream that ignores write errors, such as a full disk or a closed pipe."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data) or 0
        except OSError:
            return len(data)


def address_space() -> int | None:
    """Return the largest address space of this process in MiB, or `None` for no limit."""
    try:
        import resource
    except ImportError:
        return None  # Windows
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if limit == resource.RLIM_INFINITY else limit // 2**20


def check_address_space() -> None:
    """Raise if JAX cannot start: with too little memory, its libraries crash.

    Raises:
      JaxstyleError: `ulimit -v` allows too little.
    """
    limit = address_space()
    if limit is not None and limit < _MIN_ADDRESS_SPACE:
        raise JaxstyleError(
            f"`ulimit -v` allows {limit} MiB of address space; raise it to at least "
            f"{_MIN_ADDRESS_SPACE} MiB."
        )


def discard_stdout() -> None:
    """Send what stdout still holds, and what is printed later, to nowhere."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextlib.contextmanager
def time_limit(seconds: float, text: str) -> Iterator[None]:
    """End the process with an error if a block, which may be code of a library, takes longer.

    Args:
      seconds: the limit.
      text: message of the error.
    """

    def end() -> None:
        with contextlib.suppress(OSError):
            os.write(2, f"jaxstyle: {text}\n".encode())
        os._exit(ExitCode.UNEXPECTED)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def end_on_signals() -> None:
    """End the process at once on SIGINT, SIGTERM or SIGHUP, unless another handler is installed.

    Python runs handlers between two instructions of the main thread, which may be compiling for
    minutes. So a thread watches for signals too, except on Windows. SIGHUP stays ignored under
    `nohup`.
    """
    for number in _SIGNALS:
        if number == signal.SIGINT or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _end)
    if os.name == "nt":
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reader,), daemon=True).start()


def _watch(reader: int) -> None:
    """End the process on a signal for `_end`, and on a second one for the same other handler."""
    interrupted: Any = None
    while data := os.read(reader, 1):
        handler = signal.getsignal(data[0]) if data[0] in _SIGNALS else None
        if handler is _end or (interrupted is not None and handler is interrupted):
            _end()
        interrupted = handler or interrupted


def _end(*_: Any) -> None:
    """End the process without unwinding it; only the first call does something."""
    if not _ending.acquire(blocking=False):
        return
    # A write that is under way leaves no temporary file.
    atomic = sys.modules.get("jaxstyle.io.atomic")
    discard = getattr(atomic, "discard_temporaries", None)
    if discard is not None:
        discard()
    with contextlib.suppress(OSError):
        # A progress bar has hidden the cursor.
        clear = b"\r\x1b[K\x1b[?25h" if os.isatty(2) else b""
        os.write(2, clear + b"jaxstyle: interrupted.\n")
    os._exit(ExitCode.INTERRUPTED)
