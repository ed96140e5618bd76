"""Exit codes of the command line, and the exceptions that carry them.

Wrong function arguments raise `ValueError` or `TypeError`, as usual in Python. The
exceptions below are for problems with files or data that the user has to fix.
"""

import contextlib
import enum
from collections.abc import Iterator

_MAX_LENGTH = 2000
# Messages of the C++ library, of the system, and of its loader of libraries.
_OUT_OF_MEMORY = (
    "std::bad_alloc",
    "Cannot allocate memory",
    "cannot allocate memory",
    "failed to map segment",
    "can't start new thread",
)


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
    r"""Return a message as one printable line, or its class name if the message is empty.

    The middle of a very long message is left out.

    Example:
      >>> one_line("bad\n  name \x1b[2J.png")
      'bad name \\x1b[2J.png'
    """
    text = printable(" ".join(str(message).split())) or type(message).__name__
    half = _MAX_LENGTH // 2
    return text if len(text) <= _MAX_LENGTH else f"{text[:half]} ... {text[-half:]}"


def printable(text: object, length: int | None = None) -> str:
    r"""Return a text with escape sequences for characters that a terminal would act on.

    Names of files may contain control characters, line breaks, and bytes that are not UTF-8.

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


def printable_lines(text: str) -> str:
    """Return `printable` of each line of a text."""
    return "\n".join(map(printable, text.split("\n")))


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether the device or the process ran out of memory."""
    if isinstance(error, RuntimeError):
        # The class of XLA's errors derives from RuntimeError. Other libraries say the same of
        # full disks, in other classes.
        return any(text in str(error) for text in ("RESOURCE_EXHAUSTED", *_OUT_OF_MEMORY))
    return isinstance(error, MemoryError) or any(text in str(error) for text in _OUT_OF_MEMORY)


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
