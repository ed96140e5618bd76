"""Exit codes of the command line, and the exceptions that carry them.

Wrong function arguments raise `ValueError` or `TypeError`, as usual in Python. The
exceptions below are for problems with files or data that the user has to fix.
"""

import contextlib
import enum
from collections.abc import Iterator


class ExitCode(enum.IntEnum):
    """Exit code of a `jaxstyle` process."""

    OK = 0
    UNEXPECTED = 1
    BAD_ARGUMENTS = 2
    UNREADABLE_INPUT = 3
    BAD_WEIGHTS = 4
    DIVERGED = 5
    CANNOT_WRITE = 6
    SOME_JOBS_FAILED = 7
    INTERRUPTED = 130


class JaxstyleError(Exception):
    """Base class of errors that a user can cause; the message names the remedy.

    Attributes:
      exit_code: exit code of the command line after this error.
    """

    exit_code = ExitCode.UNEXPECTED


class ImageReadError(JaxstyleError):
    """An image file is missing, damaged, not an image, or of an unsupported size."""

    exit_code = ExitCode.UNREADABLE_INPUT


class WeightsError(JaxstyleError):
    """A weights file is missing, damaged, or belongs to another network."""

    exit_code = ExitCode.BAD_WEIGHTS


class DivergedError(JaxstyleError):
    """The loss or its gradient became infinite or NaN."""

    exit_code = ExitCode.DIVERGED


class WriteError(JaxstyleError):
    """An output cannot be written to the requested path."""

    exit_code = ExitCode.CANNOT_WRITE


class OutOfMemoryError(JaxstyleError):
    """A computation needs more memory than there is."""


def one_line(message: object) -> str:
    """Return a message as one printable line, or its class name if the message is empty."""
    return printable(" ".join(str(message).split())) or type(message).__name__


def printable(text: object, length: int | None = None) -> str:
    r"""Return a text without control characters, which could change the user's terminal.

    Args:
      text: text, e.g. from a file.
      length: number of characters beyond which the text is shortened.

    Example:
      >>> printable("red \x1b[31m", 20), printable("abcdef", 3)
      ('red \\x1b[31m', 'abc...')
    """
    shown = str(text)
    if length is not None and len(shown) > length:
        shown = f"{shown[:length]}..."
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether the device or the process ran out of memory."""
    if isinstance(error, RuntimeError):
        # The class of XLA's errors derives from RuntimeError. Other libraries say the same of
        # full disks, in other classes.
        return "RESOURCE_EXHAUSTED" in str(error)
    return isinstance(error, MemoryError)


@contextlib.contextmanager
def computing(advice: str) -> Iterator[None]:
    """Convert running out of memory in the block to an error with an advice.

    Args:
      advice: what reduces the memory of the computation.

    Raises:
      OutOfMemoryError: the block ran out of memory.

    Example:
      >>> with computing("try a smaller --size"):
      ...     raise MemoryError
      Traceback (most recent call last):
      ...
      jaxstyle.errors.OutOfMemoryError: out of memory; try a smaller --size.
    """
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        raise OutOfMemoryError(f"out of memory; {advice}.") from error
