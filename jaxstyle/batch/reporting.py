"""Saying what a batch does: a bar on a terminal, lines in a log, JSON for programs, or nothing."""

import contextlib
import json
import math
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

from jaxstyle.batch.plan import Group
from jaxstyle.options import LogFormat


class Reporter:
    """Hears what happens and says it; the base says nothing."""

    def __init__(self):
        self._began = time.monotonic()
        self._jobs = self._known = self._finished = 0
        self._work = self._total = 0.0

    def planned(self, groups: Sequence[Group], jobs: int, done: int) -> None:
        """The work is known: so many jobs, of which so many are done already."""
        self._began = time.monotonic()
        self._jobs, self._known = jobs, done
        self._finished += done
        self._total = float(sum(group.work for group in groups))

    def stepped(self, work: float, loss: float) -> None:
        """So much of the work is done; the mean loss of the pictures at work."""
        self._work = work

    def finished(self, record: dict[str, Any]) -> None:
        """A job is done or has failed."""
        self._finished += 1

    def say(self, text: str) -> None:
        """Something a person may want to know."""

    def _pace(self) -> str:
        """Pictures per minute, and time left."""
        seconds = time.monotonic() - self._began
        new = self._finished - self._known
        pace = f"{60 * new / seconds:.1f} images/min" if new and seconds > 0 else ""
        if self._work and self._total:
            left = seconds * max(0.0, self._total / self._work - 1)
            pace += f", {_clock(left)} left" if pace else f"{_clock(left)} left"
        return pace


class Lines(Reporter):
    """A line on stderr for every job, as a log keeps it."""

    def planned(self, groups: Sequence[Group], jobs: int, done: int) -> None:
        super().planned(groups, jobs, done)
        self.say(plan_line(groups, jobs, done))

    def finished(self, record: dict[str, Any]) -> None:
        super().finished(record)
        self.say(f"[{self._finished}/{self._jobs}] {_outcome(record)}  {self._pace()}".rstrip())

    def say(self, text: str) -> None:
        # In one piece: pictures finish in other threads.
        print(f"{text}\n", end="", file=sys.stderr, flush=True)


class Events(Reporter):
    """A JSON object per line on stdout for every event."""

    def planned(self, groups: Sequence[Group], jobs: int, done: int) -> None:
        super().planned(groups, jobs, done)
        shapes = [{"shape": g.shape, "jobs": len(g.jobs), "batch": g.batch} for g in groups]
        self._emit(event="plan", jobs=jobs, done=done, groups=shapes)

    def stepped(self, work: float, loss: float) -> None:
        super().stepped(work, loss)
        # JSON has no NaN; one picture of a batch may have diverged.
        known = loss if math.isfinite(loss) else None
        self._emit(event="progress", fraction=round(work / self._total, 5), loss=known)

    def finished(self, record: dict[str, Any]) -> None:
        super().finished(record)
        self._emit(event="job", **{k: v for k, v in record.items() if k != "curve"})

    def say(self, text: str) -> None:
        self._emit(event="note", text=text)

    def _emit(self, **event: Any) -> None:
        print(f"{json.dumps(event)}\n", end="", flush=True)


class Bar(Lines):
    """A bar over the whole batch on a terminal; failures stay above it."""

    def __init__(self, bar: Any):
        super().__init__()
        self._bar = bar
        self._task = bar.add_task("reading", total=None)

    def planned(self, groups: Sequence[Group], jobs: int, done: int) -> None:
        super().planned(groups, jobs, done)
        self._bar.update(self._task, total=self._total or 1.0, description="compiling")

    def stepped(self, work: float, loss: float) -> None:
        super().stepped(work, loss)
        text = f"{self._finished}/{self._jobs}  {self._pace()}  loss {loss:.4g}"
        self._bar.update(self._task, completed=work, description=text)

    def finished(self, record: dict[str, Any]) -> None:
        Reporter.finished(self, record)
        if record["status"] != "done":
            self.say(_outcome(record))

    def say(self, text: str) -> None:
        self._bar.console.print(text, markup=False, highlight=False)


@contextlib.contextmanager
def make_reporter(log_format: LogFormat, *, quiet: bool) -> Iterator[Reporter]:
    """The teller that fits the options and the terminal."""
    if log_format == "json":
        yield Events()
    elif quiet:
        yield Reporter()
    elif not sys.stderr.isatty():
        yield Lines()
    else:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        columns = (TextColumn("{task.description}"), BarColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            yield Bar(bar)


def plan_line(groups: Sequence[Group], jobs: int, done: int) -> str:
    """The plan in one line."""
    todo = sum(len(group.jobs) for group in groups)
    programs = sum(len(group.plan) for group in groups)
    already = f", {done} done before" if done else ""
    return (
        f"{jobs} jobs{already}, {todo} to do in {len(groups)} shapes "
        f"({programs} programs to compile)"
    )


def _outcome(record: dict[str, Any]) -> str:
    if record["status"] != "done":
        return f"failed: {record['output']}: {record['error']}"
    return f"{record['output']}  loss {record['loss']:.4g}  {record['seconds']:.1f} s"


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
