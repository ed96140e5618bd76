"""Compilation in a second thread: which thread compiles what, and that nothing compiles twice."""

import subprocess
import sys
import threading
from collections import Counter

import jax
import numpy as np
import pytest

from jaxstyle import StyleConfig, stylize
from jaxstyle.loop.ahead import Ahead, is_compiling

CONFIG = StyleConfig(
    size=32, min_size=16, steps=(2,), style_layers="relu1_1", content_layers="relu1_1"
)


@pytest.fixture(scope="module")
def compilations(params):
    """Programs that a run of two levels compiles, with the name of the thread."""
    seen = []

    def listen(event, _seconds, fun_name=None, **_):
        if event == "/jax/core/compile/backend_compile_duration":
            seen.append((fun_name, threading.current_thread().name.rpartition("_")[0]))

    jax.monitoring.register_event_duration_secs_listener(listen)
    image = np.full((32, 32, 3), 0.5, np.float32)
    stylize(params, image, image, CONFIG, callback=lambda progress: None)
    jax.monitoring.unregister_event_duration_listener(listen)
    return seen


def test_no_program_is_compiled_twice(compilations):
    counts = Counter(name for name, _ in compilations)
    large = ("jit(run_steps)", "jit(compute_style_statistics)", "jit(build_targets)")
    assert [counts[name] for name in large] == [2, 2, 2]


def test_steps_are_compiled_in_the_second_thread(compilations):
    assert ("jit(run_steps)", "jaxstyle-compile") in compilations


def test_claim_waits_for_a_function_that_has_begun():
    begun, go, done = threading.Event(), threading.Event(), []
    with Ahead() as ahead:
        ahead.add("a", lambda: (begun.set(), go.wait(10), done.append("a")))
        begun.wait(10)
        threading.Timer(0.05, go.set).start()
        ahead.claim("a")
        assert done == ["a"]


def test_claim_cancels_a_function_that_has_not_begun():
    begun, go, done = threading.Event(), threading.Event(), []
    with Ahead() as ahead:
        ahead.add("a", lambda: (begun.set(), go.wait(10)))
        ahead.add("b", lambda: done.append("b"))
        begun.wait(10)
        ahead.claim("b")
        go.set()
        ahead.claim("a")
    assert done == []


def test_end_of_the_run_cancels_what_has_not_begun():
    begun, go, done = threading.Event(), threading.Event(), []
    with Ahead() as ahead:
        ahead.add("a", lambda: (begun.set(), go.wait(10)))
        ahead.add("b", lambda: done.append("b"))
        begun.wait(10)
    go.set()
    assert not done


def test_error_in_the_thread_is_ignored():
    with Ahead() as ahead:
        ahead.add("a", lambda: 1 / 0)
        ahead.claim("a")
        ahead.claim("of no function")


def test_settings_of_the_calling_thread_alone_prevent_compiling():
    called = threading.Event()
    with jax.default_matmul_precision("highest"), Ahead() as ahead:
        ahead.add("a", called.set)
        assert not called.wait(0.3)
    with Ahead() as ahead:
        ahead.add("b", called.set)
        assert called.wait(10)


def test_is_compiling_until_the_last_function_has_ended():
    begun, go = threading.Event(), threading.Event()
    with Ahead() as ahead:
        ahead.add("a", lambda: (begun.set(), go.wait(10)))
        begun.wait(10)
    assert is_compiling()
    go.set()
    for thread in threading.enumerate():
        if thread.name.startswith("jaxstyle-compile"):
            thread.join(10)
    assert not is_compiling()


@pytest.mark.slow
def test_process_does_not_wait_for_a_program_that_nobody_needs():
    code = """
import threading, time
import jaxstyle.cli
from jaxstyle.cli.process import run
from jaxstyle.loop.ahead import Ahead
begun = threading.Event()
with Ahead() as ahead:
    ahead.add("steps", lambda: (begun.set(), time.sleep(100)))
    begun.wait()
jaxstyle.cli.main = lambda: 130
run()
"""
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 130
