"""Faults around the process: signals, closed and full streams, names, memory."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cli.quick import PAINTING, PHOTO, QUICK
from PIL import Image

from jaxstyle import read_image

MODULE = ["-m", "jaxstyle.cli"]
ENDLESS = [PHOTO, PAINTING, *QUICK, "--steps", "100000"]
LINUX = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="requires Linux")


def shell(folder, text, *arguments):
    """Run `jaxstyle` in a shell. In `text`, `{}` is the command."""
    command = shlex.join(map(str, [sys.executable, *MODULE, *arguments]))
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", text.format(command)],
        capture_output=True,
        cwd=folder,
        timeout=300,
    )


def start(*arguments, **options):
    command = [sys.executable, *MODULE, *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, **options)


def wait_for_handlers(process):
    """Wait until the process handles SIGTERM, some 10 ms after Python's own start."""
    while process.poll() is None:
        lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        caught = next(int(line.split()[1], 16) for line in lines if line.startswith("SigCgt"))
        if caught >> (signal.SIGTERM - 1) & 1:
            return
        time.sleep(0.001)


@LINUX
@pytest.mark.slow
@pytest.mark.parametrize("delay", [0, 0.1, 0.3, 0.6, 1, 1.5, 2, 3, 4, 5.5])
@pytest.mark.parametrize("command", ["stylize", "batch"])
def test_interrupt_in_the_first_seconds_ends_at_once(tmp_path, command, delay):
    # A cache of its own, so that the run also compiles.
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    process = start(command, *ENDLESS, "-o", tmp_path / "out.png", env=env)
    wait_for_handlers(process)
    time.sleep(delay)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert err.endswith("interrupted.\n") or "interrupted" in err
    assert "Traceback" not in err
    assert "KeyboardInterrupt" not in err
    assert out == ""
    assert not list(tmp_path.rglob("*.partial"))


@LINUX
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_other_signals_end_the_start_of_a_run_too(tmp_path, number):
    process = start("stylize", *ENDLESS, "-o", tmp_path / "out.png")
    wait_for_handlers(process)
    process.send_signal(number)
    assert process.communicate(timeout=20) == ("", "jaxstyle: interrupted.\n")
    assert process.returncode == 130


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signal_during_a_run_keeps_the_image(tmp_path, number):
    out = tmp_path / "out.png"
    process = start("stylize", *ENDLESS, "-o", out, "--preview-every", "0")
    while not out.exists() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(number)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "interrupted: this is the result so far" in err
    assert read_image(out).shape == (32, 48, 3)


@LINUX
@pytest.mark.slow
def test_second_signal_ends_the_run_at_once(tmp_path):
    out = tmp_path / "out.png"
    process = start("stylize", *ENDLESS, "-o", out, "--preview-every", "0")
    while not out.exists() and process.poll() is None:
        time.sleep(0.05)
    # A stopped process receives both signals before it handles the first one.
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(0.02)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in err


# The main thread waits in C, where neither a signal nor Python reaches it.
WAIT_IN_C = """
import ctypes, signal
from jaxstyle.cli.process import end_on_signals
from jaxstyle.io.atomic import _temporaries
from pathlib import Path
end_on_signals()
if {guarded}:
    signal.signal(signal.SIGINT, lambda *_: None)
Path("x.partial").touch()
_temporaries.add(Path("x.partial"))
signal.pthread_sigmask(signal.SIG_BLOCK, {{signal.SIGINT}})
print(flush=True)
ctypes.CDLL(None).sleep(60)
"""


@LINUX
@pytest.mark.parametrize(("guarded", "signals"), [(False, 1), (True, 2)])
def test_signal_is_not_lost_while_the_main_thread_is_in_c(tmp_path, guarded, signals):
    code = WAIT_IN_C.format(guarded=guarded)
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=pipe, stderr=pipe, text=True, cwd=tmp_path
    )
    assert process.stdout.readline() == "\n"
    for _ in range(signals):
        assert process.poll() is None
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
    _, err = process.communicate(timeout=20)
    assert (process.returncode, err) == (130, "jaxstyle: interrupted.\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_hangup_stays_ignored_under_nohup(tmp_path):
    out = tmp_path / "out.png"
    text = "trap '' HUP; {} & pid=$!; while ! test -e out.png; do sleep 0.1; done; kill -HUP $pid; wait $pid"
    arguments = [PHOTO, PAINTING, *QUICK, "--steps", "200", "-o", out, "--preview-every", "0"]
    done = shell(tmp_path, text, "stylize", *arguments)
    assert done.returncode == 0, done.stderr
    assert b"200 steps" in done.stderr


RUN = ["stylize", PHOTO, PAINTING, *QUICK, "-o"]
# Redirection, output, exit code, message, and whether there is an image.
STREAMS = {
    "closed stdout": ("{} >&-", "o.png", 0, "o.png: 48x32", True),
    "closed stderr": ("{} 2>&-", "o.png", 0, "", True),
    "no stream at all": ("{} <&- >&- 2>&-", "o.png", 0, "", True),
    "full stderr": ("{} -v 2>/dev/full", "o.png", 0, "", True),
    "broken stderr": ("{{ {} -v 2>&1 >/dev/null; }} | true", "o.png", 0, "", True),
    "image to a closed stdout": ("{} >&-", "-", 6, "stdout: Bad file descriptor.", False),
    "image to a full stdout": ("{} >/dev/full", "-", 6, "stdout: No space left", False),
    "image to a broken stdout": ("{} | true", "-", 6, "", False),
    "log to a closed stdout": ("{} --log-format json >&-", "o.png", 6, "Bad file", False),
    "log to a full stdout": ("{} --log-format json >/dev/full", "o.png", 6, "No space", False),
    # The image is more than its log.
    "log to a broken stdout": (
        "{} --log-format json | true",
        "o.png",
        6,
        "log is incomplete",
        True,
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", STREAMS)
def test_broken_streams(tmp_path, case):
    text, output, code, message, image = STREAMS[case]
    done = shell(tmp_path, text, *RUN, output)
    assert done.returncode == code
    assert message in done.stderr.decode()
    assert b"Traceback" not in done.stderr
    assert done.stderr.count(b"\n") <= 1
    assert done.stdout == b""
    assert [path.name for path in tmp_path.iterdir()] == ["o.png"] * image
    if image:
        assert read_image(tmp_path / "o.png").shape == (32, 48, 3)


@pytest.mark.slow
@pytest.mark.parametrize("buffered", ["", "1"])
@pytest.mark.parametrize("command", ["--version", "--help", "batch --help", "weights info"])
@pytest.mark.parametrize(
    ("text", "code", "lines"),
    [("{} >&-", 6, 1), ("{} >/dev/full", 6, 1), ("{} | true", 6, 0), ("{} 2>&-", 0, 0)],
)
def test_text_that_cannot_be_printed_exits_6(tmp_path, text, code, lines, command, buffered):
    text = f"export PYTHONUNBUFFERED={buffered}; {text}"
    done = shell(tmp_path, text, *command.split())
    assert done.returncode == code or "| true" in text
    assert done.stderr.count(b"\n") == lines
    assert done.stderr.startswith(b"jaxstyle: cannot write to stdout: ") or not lines


@LINUX
@pytest.mark.parametrize("mib", [300, 1000, 2000])
def test_too_little_address_space_is_one_line(tmp_path, mib):
    done = shell(tmp_path, f"ulimit -v {mib * 1024}; {{}}", *RUN, "o.png")
    assert done.returncode == 1
    message = f"jaxstyle: `ulimit -v` allows {mib} MiB of address space; raise it to at least"
    assert done.stderr.decode().startswith(message)
    assert done.stderr.count(b"\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("asked", ["flag", "environment"])
def test_without_the_platform_asked_for_nothing_runs(tmp_path, asked):
    flags = ["--platform", "gpu"] if asked == "flag" else []
    environment = {**os.environ, "JAX_PLATFORMS": "cuda" if asked == "environment" else ""}
    command = [sys.executable, "-m", "jaxstyle.cli", "stylize", PHOTO, PAINTING, *QUICK, *flags]
    command += ["-o", str(tmp_path / "out.png")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert done.returncode == 2
    assert re.fullmatch(r"jaxstyle: JAX finds no (gpu|cuda) here.*\n", done.stderr)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("command", ["stylize", "batch", "dry run", "json", "checkpoint"])
def test_names_that_are_not_utf8_work_on_a_strict_terminal(tmp_path, command):
    photo, painting, out = (
        tmp_path / os.fsdecode(name) for name in (b"p\xe9.jpg", b"s\xff.jpg", b"o\xe9")
    )
    shutil.copy(PHOTO, photo)
    shutil.copy(PAINTING, painting)
    image = out.with_suffix(".png")
    arguments = {
        "stylize": ["stylize", photo, painting, "-o", image, "-v", "--report", f"{out}.json"],
        "batch": ["batch", photo, painting, "-o", out, "-v"],
        "dry run": ["batch", photo, painting, "-o", out, "--dry-run"],
        "json": ["batch", photo, painting, "-o", out, "--log-format", "json"],
        "checkpoint": ["stylize", photo, painting, "-o", image, "--checkpoint", "steps"],
    }[command]
    strict = "export PYTHONIOENCODING=ascii:strict LC_ALL=C; {}"
    done = shell(tmp_path, strict, *arguments, *QUICK)
    assert done.returncode == 0, done.stderr
    assert b"Error" not in done.stderr
    assert done.stdout.isascii()
    assert done.stderr.isascii()
    if command in ("batch", "json"):
        image = out / os.fsdecode(b"p\xe9_s\xff.png")
        assert "p\\xe9" not in (out / "report.html").read_text()
    if command != "dry run":
        assert read_image(image).shape == (32, 48, 3)
        with Image.open(image) as file:
            names = json.loads(file.info["jaxstyle"])["inputs"]
        assert os.fsencode(names["content"][0]["file"]) == b"p\xe9.jpg"


def test_checkpoints_need_a_name_in_utf8(tmp_path):
    done = shell(tmp_path, "{}", *RUN, "o.png", "--checkpoint", os.fsdecode(b"\xe9"))
    assert done.returncode == 2
    assert done.stderr == b"jaxstyle: `--checkpoint` is '\\udce9'; use a name in UTF-8.\n"
    assert list(tmp_path.iterdir()) == []


def test_control_characters_of_names_do_not_reach_the_terminal(tmp_path):
    done = shell(tmp_path, "{}", "stylize", "a\x1b[2J\n.png", PAINTING, "-o", "o.png")
    assert done.returncode == 3
    assert done.stderr == b"jaxstyle: a\\x1b[2J .png does not exist.\n"


@pytest.mark.parametrize(("given", "threads"), [(None, "1"), ("4", "4")])
def test_lapack_has_one_thread_unless_the_user_says_otherwise(given, threads):
    env = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    env |= {} if given is None else {"OPENBLAS_NUM_THREADS": given}
    code = "import os; from jaxstyle.cli import main; main(['--version']); "
    code += "print(os.environ['OPENBLAS_NUM_THREADS'])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert run.stdout.split()[-1] == threads
