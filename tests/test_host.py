"""Memory and signals of the process."""

import ctypes
import signal
import threading
from pathlib import Path

import jax
import pytest

from jaxstyle import host

GLIBC = hasattr(ctypes.CDLL(None), "malloc_trim")


def resident_mib():
    """Return the resident memory of this process, in MiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


@pytest.mark.skipif(not GLIBC, reason="requires glibc")
def test_freed_memory_returns_to_the_system():
    # Blocks this small are on the heap, which cannot shrink below the last block in use.
    blocks = [bytearray(64 * 1024) for _ in range(2000)]
    last_block = bytearray(64 * 1024)
    before = resident_mib()
    del blocks
    host.release_memory()
    assert resident_mib() < before - 100
    assert last_block is not None


def test_release_memory_accepts_other_c_libraries(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    host.release_memory()


@pytest.mark.parametrize(
    ("platform", "says"),
    [("tpu", r"finds no tpu here.*'jaxstyle\[tpu\]'"), ("gpu", r"no gpu here.*'jaxstyle\[cuda\]'")],
)
def test_a_platform_that_is_not_there_is_an_error(monkeypatch, platform, says):
    def fail():
        raise AssertionError

    before = jax.config.values["jax_platforms"]
    monkeypatch.setattr(jax, "default_backend", fail)
    with pytest.raises(ValueError, match=says):
        host.use_platform(platform)
    assert jax.config.values["jax_platforms"] == before


def test_a_platform_other_than_the_one_in_use_is_an_error(monkeypatch):
    host.use_platform()
    host.use_platform("cpu")
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    with pytest.raises(ValueError, match="`platform` is cpu, but JAX already computes on a gpu"):
        host.use_platform("cpu")


@pytest.fixture
def received():
    """Signals that arrive at the handlers in place before the test's own."""
    signals = []
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    previous = {n: signal.signal(n, lambda number, _: signals.append(number)) for n in numbers}
    yield signals
    for number, handler in previous.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_only_the_first_signal_interrupts(received, number):
    interrupts = []
    with host.on_signals(lambda: interrupts.append(number)):
        signal.raise_signal(number)
        assert (interrupts, received) == ([number], [])
        signal.raise_signal(number)
        assert (interrupts, received) == ([number], [number])


def test_hangup_that_is_ignored_stays_ignored(received):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with host.on_signals(pytest.fail):
        signal.raise_signal(signal.SIGHUP)
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    assert received == []


def test_signal_handlers_are_restored_after_an_exception(received):
    def fail():
        with host.on_signals(pytest.fail):
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    signal.raise_signal(signal.SIGTERM)
    assert received == [signal.SIGTERM]


def test_other_threads_leave_signals_alone(received):
    before, handlers = signal.getsignal(signal.SIGINT), []

    def work():
        with host.on_signals(pytest.fail):
            handlers.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert handlers == [before]
