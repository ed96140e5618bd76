"""Batches on a real Ray cluster of this machine: the results of one process, and deaths of all kinds."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import jaxstyle
from jaxstyle.cli import main

pytestmark = pytest.mark.slow

OPTIONS = ["--size", "48", "--min-size", "48", "--steps", "40", "--no-report"]
OPTIONS += ["--style-layers", "relu1_1", "--content-layers", "relu2_1"]
# Deaths in the test that kills workers.
DEATHS = 3


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with ten photographs of two shapes, and a style."""
    random_ = np.random.default_rng(0)
    for name, shapes in (("photos", [(32, 48, 3), (48, 40, 3)] * 5), ("styles", [(32, 32, 3)])):
        (tmp_path / name).mkdir()
        for number, shape in enumerate(shapes):
            path = tmp_path / name / f"{number}.png"
            jaxstyle.write_image(path, random_.random(shape).astype(np.float32))
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Nodes:
    """A cluster in a process of its own, see `nodes.py`."""

    def __init__(self, process):
        self._process = process
        self.address = process.stdout.readline().strip()

    def order(self, text):
        self._process.stdin.write(f"{text}\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "done\n"


@pytest.fixture
def cluster():
    """A cluster of two nodes with one CPU each."""
    command = [sys.executable, str(Path(__file__).with_name("nodes.py"))]
    pipe, null = subprocess.PIPE, subprocess.DEVNULL
    with subprocess.Popen(command, text=True, stdin=pipe, stdout=pipe, stderr=null) as process:
        nodes = Nodes(process)
        nodes.order("add")
        yield nodes


def start(out, *arguments):
    command = [sys.executable, "-m", "jaxstyle.cli", "batch", "photos", "styles", "-o", out]
    command += [*OPTIONS, "--engine", "ray", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def records(out):
    lines = (out / "jobs.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def check(out, results=10):
    """Check that all results are there, and recorded once."""
    done = [record for record in records(out) if record["status"] == "done"]
    assert len(done) == len({record["output"] for record in done}) == results
    for record in done:
        data = (out / record["output"]).read_bytes()
        assert hashlib.sha256(data).hexdigest() == record["output_sha256"]
    assert list(out.glob("jobs.worker-*.jsonl")) == []
    assert list(out.glob("*.partial")) == []


def actors(process):
    import psutil

    children = psutil.Process(process.pid).children(recursive=True)
    found = []
    for child in children:
        try:
            if "ray::Actor" in " ".join(child.cmdline()):
                found.append(child)
        except psutil.Error:
            continue
    return found


def wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


def worker_lines(out):
    return sum(len(p.read_bytes().splitlines()) for p in out.glob("jobs.worker-*.jsonl"))


def test_a_cluster_makes_the_pictures_of_one_process(folder, cluster):
    (folder / "photos" / "bad.png").write_bytes(b"no image")
    # Images of a batch differ by rounding.
    single = ["--batch-size", "1"]
    assert main(["batch", "photos", "styles", "-o", "local", *OPTIONS, *single]) == 7
    address, errors = ["--address", cluster.address, *single], ""
    for _ in range(2):
        process = start("out", *address)
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 7, errors
        check(folder / "out")
    assert "10 done before" in errors
    failed = [r for r in records(folder / "out") if r["status"] == "failed"]
    assert {record["output"] for record in failed} == {"bad_0.png"}
    for path in (folder / "local").glob("*.png"):
        assert path.read_bytes() == (folder / "out" / path.name).read_bytes()


def test_killed_workers_lose_nothing_and_do_nothing_twice(folder):
    process, deaths = start("out", "--workers", "2", "--steps", "80"), 0
    chance = random.Random(0)
    while deaths < DEATHS and process.poll() is None:
        time.sleep(chance.uniform(0, 3))
        if (alive := actors(process)) and process.poll() is None:
            chance.choice(alive).kill()
            deaths += 1
    _, errors = process.communicate(timeout=400)
    assert process.returncode == 0, errors
    assert deaths == DEATHS
    check(folder / "out")


def test_machines_may_leave_and_join(folder, cluster):
    out = folder / "out"
    process = start("out", "--address", cluster.address, "--steps", "80")
    wait_for(lambda: worker_lines(out) >= 2)
    for text in ("remove", "add", "add"):
        cluster.order(text)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    check(out)


def test_a_killed_driver_is_started_again(folder, cluster):
    out = folder / "out"
    process = start("out", "--address", cluster.address, "--steps", "80")
    wait_for(lambda: worker_lines(out) >= 2)
    process.kill()
    process.communicate(timeout=60)
    again = start("out", "--address", cluster.address, "--steps", "80")
    _, errors = again.communicate(timeout=300)
    assert again.returncode == 0, errors
    assert "done before" in errors
    check(out)


def test_an_interrupted_driver_keeps_what_is_done(folder):
    out = folder / "out"
    # Long enough for the second driver to start meanwhile.
    process = start("out", "--workers", "1", "--steps", "1000", "--batch-size", "1")
    wait_for(lambda: worker_lines(out) >= 1)
    second = start("out")
    _, errors = second.communicate(timeout=120)
    assert second.returncode == 6
    assert "another process is writing" in errors
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    assert process.returncode == 130
    done = len(records(out))
    assert 1 <= done < 10
    assert list(out.glob("jobs.worker-*.jsonl")) == []


def test_no_cluster_at_the_address_is_one_line(folder):
    process = start("out", "--address", "127.0.0.1:1")
    output, errors = process.communicate(timeout=200)
    assert process.returncode == 1
    assert "no Ray cluster answers at '127.0.0.1:1'" in errors
    assert output == ""


def test_workers_of_another_version_are_refused_by_name(folder, monkeypatch):
    code = "import jaxstyle.cli.batch as b, sys; b.__version__ = '9.9'; "
    code += "from jaxstyle.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "batch", "photos", "styles", "-o", "out", *OPTIONS]
    command += ["--engine", "ray", "--workers", "1"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert result.returncode == 1
    assert f"has jaxstyle {jaxstyle.__version__}, the driver 9.9" in result.stderr
    assert os.uname().nodename in result.stderr
