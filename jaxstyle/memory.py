"""Memory that is free, given back to the system."""

import ctypes
from contextlib import suppress


def give_back() -> None:
    """Return what the C library keeps of freed memory; where it is not glibc, do nothing.

    Reading weights and compiling leave more than 100 MiB that a step's maps find no room in. It
    takes some milliseconds.
    """
    with suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
