"""Feed damaged and hostile inputs to everything that reads files; print a Markdown table.

    python scripts/fuzz.py --inputs 50000              # all targets
    python scripts/fuzz.py --only pictures:123         # one input again, with its traceback

An input is a function of the seed, the target and its index. Each one is read in a process that
serves many of them. Outcomes are good (accepted, refused with a message) or bad; the exit code
is 1 if one was bad. `fuzz_targets` has the targets.
"""

import argparse
import contextlib
import faulthandler
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing import connection, get_context
from pathlib import Path
from typing import Any, NamedTuple

from fuzz_targets import TARGETS, Case, RefusedError, WrongError

from jaxstyle.errors import one_line
from jaxstyle.io.video import find_ffmpeg

GOOD = ("accepted", "refused")
BAD = ("uncaught", "wrong", "hang", "memory", "program", "stray", "foreign")
"""Bad outcomes: an exception that is not a refusal, a wrong answer, a hang, memory above the
limit, a program that was started, a file that was written, text that is not ours."""

MEMORY_LIMIT = 2**30
# Allocations beyond this fail, so that no input takes the machine down.
_ADDRESS_SPACE = 6 * 2**30
_PREPARE_SECONDS = 300
_PROGRAM_EVENTS = {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "socket.connect"}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class Outcome(NamedTuple):
    """What became of one input: its kind, what tells it from others, details, and seconds."""

    kind: str
    signature: str = ""
    details: str = ""
    seconds: float = 0.0


@dataclass
class Tally:
    """Outcomes of a target: numbers by kind, and the indices of each bad signature."""

    kinds: Counter = field(default_factory=Counter)
    bad: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    seconds: float = 0.0

    def add(self, index: int, outcome: Outcome) -> bool:
        """Count an outcome; return whether it is bad and its signature is new."""
        self.kinds[outcome.kind] += 1
        self.seconds += outcome.seconds
        if outcome.kind in GOOD:
            return False
        known = self.bad.setdefault((outcome.kind, outcome.signature), [])
        known.append(index)
        return len(known) == 1


class Sandbox:
    """Folders and file descriptors of a worker, in which it notices what an input leaves.

    Args:
      folder: folder of the worker. Its `work` is the current folder of an input.
    """

    def __init__(self, folder: Path):
        self.base, self.work = folder / "base", folder / "work"
        self._watched = [self.work, folder / "home", folder / "tmp"]
        for path in (self.base, *self._watched):
            path.mkdir(exist_ok=True)
        os.environ.update(HOME=str(folder / "home"), TMPDIR=str(folder / "tmp"))
        os.environ.setdefault("XDG_CACHE_HOME", str(folder / "cache"))
        tempfile.tempdir = None
        os.chdir(self.work)
        self._texts = []
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for number in (1, 2):
            text = os.open(folder / f"fd{number}", os.O_RDWR | os.O_CREAT | os.O_APPEND)
            os.dup2(text, number)
            self._texts.append(text)
        self.programs: list[str] = []
        self._ffmpeg: str | None = None
        with contextlib.suppress(ImportError, OSError):
            self._ffmpeg = find_ffmpeg()
        sys.addaudithook(self._audit)

    def _audit(self, event: str, args: tuple[Any, ...]) -> None:
        if event in _PROGRAM_EVENTS and args[0] != self._ffmpeg:
            self.programs.append(f"{event} {args[0]}")

    def take_texts(self) -> list[str]:
        """Return what was written to stdout and stderr, and forget it."""
        sys.stdout.flush()
        sys.stderr.flush()
        texts = []
        for number in self._texts:
            size = os.fstat(number).st_size
            texts.append(os.pread(number, min(size, 2**16), 0).decode(errors="replace"))
            if size:
                os.ftruncate(number, 0)
        return texts

    def files(self) -> dict[str, tuple[int, int]]:
        """Return size and time of all files that an input can reach."""
        found = {}
        for root in self._watched:
            for folder, names, files in os.walk(root):
                for name in (*names, *files):
                    status = os.lstat(os.path.join(folder, name))  # noqa: PTH118
                    path = os.path.relpath(os.path.join(folder, name), root)  # noqa: PTH118
                    is_folder = name in names
                    found[path] = (-1, -1) if is_folder else (status.st_size, status.st_mtime_ns)
        return found

    def clear(self) -> None:
        """Remove all files of the last input."""
        for root in self._watched:
            for entry in os.scandir(root):
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path, ignore_errors=True)
                else:
                    Path(entry.path).unlink()


def _peak_bytes() -> tuple[int, int]:
    """Return the peak and the current resident memory of this process."""
    status = Path("/proc/self/status").read_bytes()
    peak, now = (int(re.search(rb"Vm%s:\s+(\d+)" % k, status)[1]) for k in (b"HWM", b"RSS"))  # type: ignore[index]
    return peak * 1024, now * 1024


def _limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + _ADDRESS_SPACE
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))


def _attempt(case: Case) -> Outcome:
    """Run a case; tell a refusal from an uncaught exception."""
    try:
        case.run()
        return Outcome("accepted")
    except BaseException as error:
        details = traceback.format_exc()
        chain: BaseException | None = error
        while chain is not None:
            if isinstance(chain, MemoryError):
                return Outcome("memory", f"MemoryError at {_place(error)}", details)
            chain = chain.__cause__ or chain.__context__
        text = one_line(error)
        signature = f"{type(error).__name__}: {_generic(text)} at {_place(error)}"
        if isinstance(error, WrongError):
            return Outcome("wrong", _generic(text), details)
        refusals = (RefusedError, *case.refusals)
        # Subclasses of ValueError, such as UnicodeEncodeError, come from elsewhere.
        if not isinstance(error, refusals) or (
            isinstance(error, ValueError) and type(error) is not ValueError
        ):
            return Outcome("uncaught", signature, details)
        if _CONTROL.search(text):
            return Outcome("foreign", f"in a message: {_generic(text)!r}", details)
        return Outcome("refused", signature, details)


def _place(error: BaseException) -> str:
    """Return the innermost place in the package that an exception passed."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if f"{os.sep}jaxstyle{os.sep}" in f.filename]
    if not own:
        return "?"
    file = own[-1].filename.rsplit(f"{os.sep}jaxstyle{os.sep}", 1)[-1]
    return f"{file}:{own[-1].name}"


def _generic(text: str) -> str:
    """Return a message without what differs between equal faults: names and numbers."""
    text = re.sub(r"0x[0-9a-f]+|\d+", "#", text)
    return re.sub(r"/\S+|'[^']*'|\"[^\"]*\"", "…", text)[:120]


def _examine(sandbox: Sandbox, case: Case) -> Outcome:
    """Run a case and look for what it left behind."""
    before = sandbox.files()
    sandbox.take_texts()
    sandbox.programs.clear()
    Path("/proc/self/clear_refs").write_text("5")
    _, rss = _peak_bytes()
    began = time.perf_counter()
    # Warnings are shown once for each place otherwise, and not again for the next input.
    with warnings.catch_warnings():
        outcome = _attempt(case)
    seconds = time.perf_counter() - began
    peak, _ = _peak_bytes()
    after = sandbox.files()
    out, err = sandbox.take_texts()
    if outcome.kind in GOOD:
        stray = [name for name, state in after.items() if before.get(name) != state]
        stray = [name for name in stray if not re.fullmatch(case.writes, name)]
        stray += [name for name in before if name not in after and not case.removes]
        foreign = [line for line in out.splitlines() if not re.fullmatch(case.prints[0], line)]
        foreign += [line for line in err.splitlines() if not re.fullmatch(case.prints[1], line)]
        if peak - rss > MEMORY_LIMIT:
            outcome = Outcome("memory", f"{(peak - rss) / 2**30:.0f} GiB, {outcome.kind}")
        elif sandbox.programs:
            outcome = Outcome("program", sandbox.programs[0])
        elif stray:
            outcome = Outcome("stray", _generic(stray[0]), "\n".join(stray))
        elif foreign:
            outcome = Outcome("foreign", _generic(foreign[0]).split(": ")[0])
    return outcome._replace(details=f"{outcome.details}{out}{err}", seconds=seconds)


def make_case(target: Any, name: str, seed: int, index: int, folder: Path) -> Case:
    """Write the files of an input into `folder`, and return how to read them."""
    return target.make(random.Random(f"{seed}:{name}:{index}"), folder)


def _serve(pipe: Any, folder: Path, seed: int, seconds: float) -> None:
    """Serve inputs until the pipe ends: receive a target and an index, send the outcome."""
    os.setsid()
    sandbox = Sandbox(folder)
    faulthandler.enable()
    targets: dict[str, Any] = {}
    while True:
        try:
            name, index = pipe.recv()
        except EOFError:
            return
        if name not in targets:
            resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            targets[name] = TARGETS[name](sandbox.base)
            _limit_memory()
        sandbox.clear()
        case = make_case(targets[name], name, seed, index, sandbox.work)
        pipe.send("ready")
        faulthandler.dump_traceback_later(0.9 * seconds)
        outcome = _examine(sandbox, case)
        faulthandler.cancel_dump_traceback_later()
        pipe.send(outcome)


class Worker:
    """A process that serves inputs, one at a time, and is killed when one takes too long."""

    def __init__(self, folder: Path, seed: int, seconds: float):
        self._context, self._seed, self._seconds = get_context("spawn"), seed, seconds
        self.folder, self._began, self.deadline = folder, 0.0, 0.0
        self.task: tuple[str, int] | None = None
        self._start()

    def _start(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir()
        self.pipe, other = self._context.Pipe()
        self._process = self._context.Process(
            target=_serve, args=(other, self.folder, self._seed, self._seconds), daemon=True
        )
        self._process.start()
        other.close()

    def give(self, task: tuple[str, int]) -> None:
        """Send an input to the process, or to a new one if it has ended."""
        if not self._process.is_alive():
            self.pipe.close()
            self._start()
        self.task, self._began = task, time.monotonic()
        self.deadline = self._began + _PREPARE_SECONDS
        self.pipe.send(task)

    def poll(self) -> Outcome | None:
        """Return the outcome of the input if there is one; end the process if it hangs."""
        try:
            while self.pipe.poll():
                message = self.pipe.recv()
                if isinstance(message, Outcome):
                    self.task = None
                    return message
                self._began = time.monotonic()
                self.deadline = self._began + self._seconds
        except (EOFError, ConnectionError):
            self._process.join()
            code = self._process.exitcode or 0
            name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            outcome = self._end("uncaught", f"the process ended: {name}")
        else:
            if time.monotonic() < self.deadline:
                return None
            outcome = self._end("hang", f"over {self._seconds:g} s")
        self.kill()
        self.task = None
        return outcome

    def _end(self, kind: str, signature: str) -> Outcome:
        path = self.folder / "fd2"
        text = path.read_text(errors="replace") if path.exists() else ""
        # The stack that `faulthandler` printed, innermost first.
        place = re.search(r'/jaxstyle/([\w/]+\.py)", line \d+ in (\S+)', text)
        at = f" at {place[1]}:{place[2]}" if place else ""
        return Outcome(kind, signature + at, text, time.monotonic() - self._began)

    def kill(self) -> None:
        """End the process, and the programs it started."""
        with contextlib.suppress(ProcessLookupError):
            if self._process.pid is not None:
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()
        self._process.join()


def run(
    tasks: Iterator[tuple[str, int]], folder: Path, seed: int, *, jobs: int, seconds: float
) -> Iterator[tuple[str, int, Outcome]]:
    """Feed all inputs to `jobs` processes; yield target, index and outcome of each."""
    workers = [Worker(folder / str(number), seed, seconds) for number in range(jobs)]
    try:
        idle = list(workers)
        while True:
            while idle and (task := next(tasks, None)) is not None:
                idle.pop().give(task)
            busy = [worker for worker in workers if worker.task is not None]
            if not busy:
                return
            connection.wait([worker.pipe for worker in busy], timeout=1.0)
            for worker in busy:
                name, index = worker.task or ("", 0)
                if (outcome := worker.poll()) is not None:
                    idle.append(worker)
                    yield name, index, outcome
    finally:
        for worker in workers:
            worker.kill()


def plan(inputs: int, names: Sequence[str]) -> Iterator[tuple[str, int]]:
    """Yield the inputs of all targets, shared out by the targets' shares."""
    total = sum(TARGETS[name].share for name in names)
    for name in names:
        yield from ((name, i) for i in range(max(1, inputs * TARGETS[name].share // total)))


def print_table(tallies: dict[str, Tally], seed: int) -> None:
    """Print the numbers of outcomes, and how to reproduce the bad ones."""
    kinds = (*GOOD, *BAD)
    print(f"\n| target | inputs | {' | '.join(kinds)} | inputs/s |")
    print("|---" * (len(kinds) + 3) + "|")
    for name, tally in tallies.items():
        numbers = " | ".join(str(tally.kinds[kind]) for kind in kinds)
        rate = tally.kinds.total() / max(tally.seconds, 1e-9)
        print(f"| {name} | {tally.kinds.total()} | {numbers} | {rate:.0f} |")
    for name, tally in tallies.items():
        for (kind, signature), indices in tally.bad.items():
            again = f"python scripts/fuzz.py --seed {seed} --only {name}:{indices[0]}"
            print(f"- {kind}, {len(indices)} times: {signature}\n  `{again}`")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the inputs; return 1 if an outcome was bad."""
    parser = argparse.ArgumentParser(description="Feed damaged and hostile inputs to jaxstyle.")
    parser.add_argument("--inputs", type=int, default=2000, help="number of inputs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--targets", default=",".join(TARGETS), help="(default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--seconds", type=float, default=20.0, help="time after which it hangs")
    parser.add_argument("--only", metavar="TARGET:INDEX", help="one input, with details")
    args = parser.parse_args(argv)
    names = args.targets.split(",")
    tasks = plan(args.inputs, names)
    if args.only:
        name, index = args.only.split(":")
        names, tasks, args.jobs = [name], iter([(name, int(index))]), 1
    tallies = {name: Tally() for name in names}
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    began = time.perf_counter()
    for name, index, outcome in run(tasks, folder, args.seed, jobs=args.jobs, seconds=args.seconds):
        if tallies[name].add(index, outcome):
            print(f"{outcome.kind} {name}:{index} {outcome.signature}", file=sys.stderr, flush=True)
        if args.only:
            print(f"{outcome.kind}: {outcome.signature}\n{outcome.details}")
    if args.only:
        print(f"its files: {folder / '0' / 'work'}")
    else:
        shutil.rmtree(folder, ignore_errors=True)
        print_table(tallies, args.seed)
        total = sum(tally.kinds.total() for tally in tallies.values())
        print(f"\n{total} inputs in {time.perf_counter() - began:.0f} s, seed {args.seed}.")
    return int(any(tally.bad for tally in tallies.values()))


if __name__ == "__main__":
    sys.exit(main())
