"""Exit codes of the command line, and the exceptions that carry them.

Wrong function arguments raise `ValueError` or `TypeError`, as usual in Python. The
exceptions below are for problems with files or data that the user has to fix.
"""

import enum

_MAX_LENGTH = 2000
# Messages of XLA, of the C++ library, of the system, and of its loader of libraries.
_OUT_OF_MEMORY = (
    "RESOURCE_EXHAUSTED",
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


def one_line(message: object) -> str:
    r"""Return a message without line breaks, or its class name if the message is empty.

    The middle of a very long message is left out.

    Example:
      >>> one_line("bad\n  name \x1b[2J.png")
      'bad name \\x1b[2J.png'
    """
    text = printable(" ".join(str(message).split())) or type(message).__name__
    half = _MAX_LENGTH // 2
    return text if len(text) <= _MAX_LENGTH else f"{text[:half]} ... {text[-half:]}"


def printable(text: str) -> str:
    r"""Return a text with escape sequences for characters that a terminal would act on.

    Names of files may contain control characters, and bytes that are not UTF-8. Line breaks
    are kept.

    Example:
      >>> printable("caf\udce9 \x1b[2J")
      'caf\\udce9 \\x1b[2J'
    """
    return "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text
    )


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether the device or the process ran out of memory."""
    return isinstance(error, MemoryError) or any(text in str(error) for text in _OUT_OF_MEMORY)
