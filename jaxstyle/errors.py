"""Exit codes of the command line, and the exceptions that carry one.

Wrong arguments to a function are `ValueError` or `TypeError`, as everywhere in
Python; these classes are for what only a program's user can mend.
"""

import enum


class ExitCode(enum.IntEnum):
    """What a finished process says to its caller."""

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
    """Base of the errors a user can cause; the message says what to do next."""

    exit_code = ExitCode.UNEXPECTED


class ImageReadError(JaxstyleError):
    """A picture is missing, damaged, not a picture, or of an unusable size."""

    exit_code = ExitCode.UNREADABLE_INPUT


class WeightsError(JaxstyleError):
    """A weights file is missing, damaged, or of another network."""

    exit_code = ExitCode.BAD_WEIGHTS


class DivergedError(JaxstyleError):
    """The optimization left the finite numbers before it made a picture."""

    exit_code = ExitCode.DIVERGED


class WriteError(JaxstyleError):
    """An output cannot be written where it was asked for."""

    exit_code = ExitCode.CANNOT_WRITE


def one_line(message: object) -> str:
    """A message without line breaks; the class's name for one that says nothing."""
    return " ".join(str(message).split()) or type(message).__name__
