"""The fuzz harness notices every kind of bad outcome, and the package has none in a short run."""

import os
import subprocess
import sys
import time
from pathlib import Path

import fuzz
import pytest
from fuzz_targets import TARGETS, Case, WrongError

FUZZ = Path(fuzz.__file__)
# A few seconds each.
INPUTS = {"pictures": 800, "weights": 100, "jobs": 500, "ledgers": 200, "checkpoints": 60,
          "commands": 300, "records": 400}  # fmt: skip


def print_a_warning():
    sys.stderr.write("Warning: a library speaks\n")


def fill_memory():
    bytearray(fuzz.MEMORY_LIMIT + 2**27)


def raise_a_subclass():
    "\ud800".encode()


def refuse():
    raise ValueError("`size` is 0; it must be at least 1.")


def start_a_program():
    subprocess.run([sys.executable, "--version"], stdout=subprocess.DEVNULL)


FAULTS = [
    (refuse, "refused"),
    (lambda: None, "accepted"),
    (lambda: {}["x"], "uncaught"),
    (raise_a_subclass, "uncaught"),
    (lambda: (_ for _ in ()).throw(WrongError("two readers disagree")), "wrong"),
    (fill_memory, "memory"),
    (lambda: bytearray(2**45), "memory"),
    (start_a_program, "program"),
    (lambda: Path("left.txt").write_text("x"), "stray"),
    (lambda: Path("input.txt").unlink(), "stray"),
    (lambda: Path("input.txt").write_text("changed"), "stray"),
    (print_a_warning, "foreign"),
    (lambda: time.sleep(60), "hang"),
]


class Faulty:
    """A target whose inputs are the faults above, in their order."""

    share = 1

    def __init__(self, folder):
        self._next = 0

    def make(self, random, folder):
        (folder / "input.txt").write_text("x")
        run, self._next = FAULTS[self._next][0], self._next + 1
        return Case(run, refusals=(ValueError,))


# A process that is forked knows the target; one that is spawned would not.
FEED = """
import multiprocessing, sys
from pathlib import Path
import fuzz, test_fuzz
fuzz.get_context = lambda _: multiprocessing.get_context("fork")
fuzz.TARGETS["faulty"] = test_fuzz.Faulty
tasks = iter([("faulty", i) for i in range(len(test_fuzz.FAULTS))])
for _, _, outcome in fuzz.run(tasks, Path(sys.argv[1]), 0, jobs=1, seconds=15):
    print(outcome.kind)
"""


@pytest.mark.slow
def test_every_kind_of_bad_outcome_is_noticed(tmp_path):
    assert python(FEED, tmp_path).split() == [kind for _, kind in FAULTS]


DIGEST = """
import hashlib, os, sys
from pathlib import Path
import fuzz
for name in fuzz.TARGETS:
    base, digest = Path(sys.argv[1], name), hashlib.sha256()
    base.mkdir()
    target = fuzz.TARGETS[name](base)
    for index in range(3, 6):
        work = Path(sys.argv[1], f"{name}{index}")
        work.mkdir()
        fuzz.make_case(target, name, 7, index, work)
        files = sorted(path for path in work.rglob("*") if path.is_file())
        # Checkpoints contain times and random names.
        parts = [b"%d" % len(files)] if name == "checkpoints" else [f.read_bytes() for f in files]
        digest.update(b"".join(parts))
    print(name, digest.hexdigest())
"""


def python(script, folder):
    command = [sys.executable, "-c", script, str(folder)]
    path = [FUZZ.parent, Path(__file__).parent, FUZZ.parent.parent]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path))}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_an_input_depends_only_on_seed_target_and_index(tmp_path):
    first, second = tmp_path / "a", tmp_path / "b"
    first.mkdir()
    second.mkdir()
    digests = python(DIGEST, first)
    assert len(digests.splitlines()) == len(TARGETS)
    assert digests == python(DIGEST, second)


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_no_input_of_a_short_run_has_a_bad_outcome(name):
    command = [sys.executable, str(FUZZ), "--targets", name, "--inputs", str(INPUTS[name])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
