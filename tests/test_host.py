import ctypes
from pathlib import Path

import pytest

from jaxstyle import host

GLIBC = hasattr(ctypes.CDLL(None), "malloc_trim")


def resident():
    """MiB of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


@pytest.mark.skipif(not GLIBC, reason="other C libraries decide for themselves")
def test_freed_memory_goes_back_to_the_system():
    # Small enough for the heap, with something behind them that keeps the heap from shrinking.
    blocks = [bytearray(64 * 1024) for _ in range(2000)]
    behind = bytearray(64 * 1024)
    full = resident()
    del blocks
    host.release_memory()
    assert resident() < full - 100
    assert behind is not None


def test_another_c_library_is_no_error(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    host.release_memory()
