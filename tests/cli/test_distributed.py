"""Several processes on loopback: the pictures of one process, interrupts, deaths and disagreement."""

import json
import os
import signal
import socket
import subprocess
import sys

import numpy as np
import pytest
from conftest import IMAGES, assert_same_picture

from jaxstyle import read_image, write_image
from jaxstyle.cli import main

CONTENT, STYLE = IMAGES / "chelsea.jpg", IMAGES / "cafe_terrace.jpg"
OPTIONS = ["--style-layers", "relu1_1", "--content-layers", "relu1_2", "--style-loss", "gram"]
OPTIONS += ["--optimizer", "adam", "--learning-rate", "0.002", "--conv", "direct"]
# 64 rows, 16 for each of four processes.
ONE_IMAGE = [*OPTIONS, "--size", "96", "--min-size", "96", "--steps", "6"]
SECONDS = 240


def environment(devices=1):
    return {**os.environ, "JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": str(devices)}


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start(count, *arguments, folders=None, inputs=None):
    """Start `count` processes of one command, in their own folders or with their own inputs."""
    port, processes = free_port(), []
    for number in range(1, count + 1):
        command = [sys.executable, "-m", "jaxstyle.cli", *map(str, arguments)]
        command += map(str, inputs[number - 1]) if inputs else ()
        command += ["--distributed", f"127.0.0.1:{port},{number}/{count}"]
        folder, pipe = folders[number - 1] if folders else None, subprocess.PIPE
        process = subprocess.Popen(command, env=environment(), cwd=folder, stdout=pipe, stderr=pipe)
        processes.append(process)
    return processes


def finish(processes, seconds=SECONDS):
    """Return exit code, stdout and stderr of each process."""
    ends = []
    try:
        for process in processes:
            out, errors = process.communicate(timeout=seconds)
            ends.append((process.returncode, out, errors.decode()))
    finally:
        for process in processes:
            process.kill()
    return ends


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """The result of one process."""
    path = tmp_path_factory.mktemp("one") / "one.png"
    assert main(["stylize", str(CONTENT), str(STYLE), "-o", str(path), *ONE_IMAGE]) == 0
    return path


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 4])
def test_processes_split_the_rows_of_one_image(tmp_path, one, count):
    many = tmp_path / "many.png"
    first, *others = finish(start(count, "stylize", CONTENT, STYLE, "-o", "-", *ONE_IMAGE, "-v"))
    assert [first[0], *(code for code, *_ in others)] == [0] * count, first[2]
    assert f"rows over {count} devices" in first[2]
    assert [end[1:] for end in others] == [(b"", "")] * (count - 1)
    # The picture alone is on stdout.
    many.write_bytes(first[1])
    assert first[1].startswith(b"\x89PNG")
    # Rounding of the result, and of the file's 8 bits.
    assert_same_picture(read_image(many), read_image(one), atol=1.5 / 255)


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 4])
def test_processes_read_and_do_their_own_part_of_a_batch(tmp_path, random, count):
    folders = [tmp_path / str(number) for number in range(count + 1)]
    for number, folder in enumerate(folders):
        (folder / "photos").mkdir(parents=True)
        for index, pixels in enumerate(random.random((count, 32, 48, 3)).astype(np.float32)):
            path = folder / "photos" / f"{index}.png"
            # Folder 0 has all photographs; each other one has that of its process, else no image.
            if number == 0:
                write_image(path, pixels)
            elif number == index + 1:
                path.write_bytes((folders[0] / "photos" / path.name).read_bytes())
            else:
                path.write_bytes(b"no image")
    options = [STYLE, *OPTIONS, "--size", "48", "--steps", "4", "--batch-size", "1", "--no-report"]
    command = [sys.executable, "-m", "jaxstyle.cli", "batch", "photos", *options, "-o", "../one"]
    subprocess.run(command, cwd=folders[0], env=environment(), check=True)
    processes = start(count, "batch", "photos", *options, "-o", "../many", folders=folders[1:])
    for number, (code, _, errors) in enumerate(finish(processes), 1):
        assert code == 0, errors
        assert f"part {number} of {count} of the jobs, by JAX's processes" in errors
        lines = (tmp_path / "many" / f"jobs.{number}-of-{count}.jsonl").read_text().splitlines()
        (record,) = map(json.loads, lines)
        assert record["inputs"]["content"][0]["file"] == f"{number - 1}.png"
    expected = sorted((tmp_path / "one").glob("*.png"))
    assert len(expected) == count
    for path in expected:
        assert path.read_bytes() == (tmp_path / "many" / path.name).read_bytes()


@pytest.mark.slow
def test_an_interrupt_of_one_process_stops_all_and_the_checkpoint_resumes(tmp_path):
    output = tmp_path / "out.png"
    command = ["stylize", CONTENT, STYLE, "-o", output, *ONE_IMAGE, "--steps", "100"]
    command += ["--checkpoint", tmp_path / "checkpoint", "--log-format", "json"]
    processes = start(2, *command)
    # Before its first progress a process ends at once on a signal. The first process gets to its
    # second one when the other one has had its first.
    for _ in range(2):
        while json.loads(processes[0].stdout.readline())["event"] != "progress":
            pass
    processes[1].send_signal(signal.SIGINT)
    (first, out, errors), (second, *silent) = finish(processes)
    assert (first, second) == (130, 130), errors
    assert silent == [b"", ""]
    stopped = json.loads(out.splitlines()[-1])
    assert not stopped["complete"]
    assert output.is_file()
    (first, out, errors), (second, *_) = finish(start(2, *command))
    assert (first, second) == (0, 0), errors
    steps = [json.loads(line).get("step") for line in out.splitlines()]
    assert next(step for step in steps if step) > stopped["steps"]
    assert json.loads(out.splitlines()[-1])["steps"] == 100


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_process_ends_the_others(tmp_path, victim):
    arguments = ["-o", tmp_path / "out.png", *ONE_IMAGE, "--steps", "100000"]
    processes = start(2, "stylize", CONTENT, STYLE, *arguments, "--log-format", "json")
    while json.loads(processes[0].stdout.readline())["event"] != "progress":
        pass
    processes[victim].kill()
    ends = finish(processes)
    assert ends[1 - victim][0] not in (0, None)


@pytest.mark.slow
def test_processes_with_different_files_say_so(tmp_path):
    inputs = [(CONTENT, STYLE), (CONTENT, IMAGES / "langlois_bridge.jpg")]
    ends = finish(start(2, "stylize", "-o", tmp_path / "out.png", *ONE_IMAGE, inputs=inputs))
    for code, _, errors in ends:
        assert code == 2
        assert "process 2 of --distributed has other files" in errors


@pytest.mark.slow
def test_a_process_that_fails_does_not_wait_for_the_others(tmp_path):
    inputs = [(CONTENT, STYLE), (tmp_path / "missing.png", STYLE)]
    processes = start(2, "stylize", "-o", tmp_path / "out.png", *ONE_IMAGE, inputs=inputs)
    # JAX's own wait is 300 seconds.
    (first, *_), (second, _, errors) = finish(processes, seconds=60)
    assert second == 3
    assert errors.count("\n") == 1
    assert first not in (0, None)


@pytest.mark.slow
@pytest.mark.parametrize("number", [1, 2])
def test_a_missing_process_is_one_line(number):
    code = "import sys; from jaxstyle.cli import distributed as d, main; d._JOIN_SECONDS = 2; "
    code += "sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "stylize", CONTENT, STYLE, "-o", "-"]
    command += ["--distributed", f"127.0.0.1:{free_port()},{number}/2"]
    result = subprocess.run(command, capture_output=True, env=environment(), timeout=60, text=True)
    assert (result.returncode, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    assert "not all processes" in line
    assert "joined within 2 s" in line


@pytest.mark.slow
def test_without_a_launcher_auto_is_an_error():
    command = [sys.executable, "-m", "jaxstyle.cli", "batch", CONTENT, STYLE, "-o", "out"]
    command += ["--distributed", "auto"]
    result = subprocess.run(command, capture_output=True, env=environment(), timeout=60, text=True)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert "finds no launcher" in line


@pytest.mark.parametrize(
    "text", ["", "host", "host:1", "host:0,1/2", "host:70000,1/2", "host:1,3/2"]
)
def test_other_forms_are_errors(capsys, text):
    assert main(["stylize", "a.jpg", "b.jpg", "-o", "c.png", "--distributed", text]) == 2
    assert "HOST:PORT,I/N" in capsys.readouterr().err


def test_a_ray_cluster_joins_no_processes(capsys):
    command = ["batch", "a", "b", "-o", "c", "--engine", "ray", "--distributed", "host:1,1/2"]
    assert main(command) == 2
    assert "leave --distributed out" in capsys.readouterr().err
