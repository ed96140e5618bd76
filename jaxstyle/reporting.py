"""Progress of long commands: a bar on a terminal, lines in a log, JSON for programs, or nothing.

One `Reporter` serves every command. `make_reporter` chooses it by the options and the terminal,
and connects the standard logger `jaxstyle` to it for `--verbose`.
"""

import contextlib
import io
import json
import logging
import math
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

from jaxstyle.errors import WriteError, printable_lines
from jaxstyle.options import LogFormat

logger = logging.getLogger("jaxstyle")


class Reporter:
    """Reports what a run does; this base class prints only the rows of a table."""

    def __init__(self):
        self._began = time.monotonic()
        self._items = self._items_done = self._items_made = 0
        self._work = self._total = 0.0

    def plan(
        self, total: float, text: str = "", *, items: int = 0, done: int = 0, **fields: Any
    ) -> None:
        """Report the work ahead.

        Args:
          total: amount of work, in any unit.
          text: the plan in one line, or nothing.
          items: number of images, if the run makes several.
          done: number of them that an earlier run has made.
          fields: further fields of the JSON event.
        """
        self._began = time.monotonic()
        self._items, self._items_done, self._items_made = items, done, 0
        self._total = total

    def progress(self, work: float, text: str = "", **fields: Any) -> None:
        """Report the work done so far, in the unit of `plan`."""
        self._work = work

    def item(self, text: str, *, failed: bool = False, **fields: Any) -> None:
        """Report that an image is finished, or has failed."""
        self._items_done += 1
        self._items_made += not failed

    def note(self, text: str, **fields: Any) -> None:
        """Report a message for the user; `fields` are further fields of the JSON event."""

    def row(self, text: str, **fields: Any) -> None:
        """Print a row of a table that is the command's product, on stdout.

        As JSON, only `fields` are printed: a row without fields is left out.
        """
        print_product(text)

    def result(self, text: str, **fields: Any) -> None:
        """Report how the run ended."""

    def _fraction(self) -> float:
        return min(1.0, self._work / self._total) if self._total else 0.0

    def _pace(self) -> str:
        """Return the number of images per minute, and the time left."""
        seconds = time.monotonic() - self._began
        made = self._items_made
        parts = [f"{60 * made / seconds:.1f} images/min"] if made and seconds > 0 else []
        if self._fraction():
            parts.append(f"{clock(seconds * (1 / self._fraction() - 1))} left")
        return ", ".join(parts)


class LineReporter(Reporter):
    """Reports in lines on stderr, for logs."""

    def plan(
        self, total: float, text: str = "", *, items: int = 0, done: int = 0, **fields: Any
    ) -> None:
        super().plan(total, text, items=items, done=done, **fields)
        if text:
            self.note(text)

    def item(self, text: str, *, failed: bool = False, **fields: Any) -> None:
        super().item(text, failed=failed, **fields)
        self.note(f"[{self._items_done}/{self._items}] {text}  {self._pace()}".rstrip())

    def note(self, text: str, **fields: Any) -> None:
        # One call per line: images finish in several threads.
        print(f"{printable_lines(text)}\n", end="", file=sys.stderr, flush=True)

    def result(self, text: str, **fields: Any) -> None:
        self.note(text)


class BarReporter(LineReporter):
    """Reports with a progress bar of rich; failures stay visible above it."""

    def __init__(self, bar: Any):
        super().__init__()
        self._bar = bar
        self._task = bar.add_task("starting", total=None)

    def plan(
        self, total: float, text: str = "", *, items: int = 0, done: int = 0, **fields: Any
    ) -> None:
        super().plan(total, text, items=items, done=done, **fields)
        self._bar.update(self._task, total=total or 1.0, description="compiling")

    def progress(self, work: float, text: str = "", **fields: Any) -> None:
        super().progress(work, text, **fields)
        count = f"{self._items_done}/{self._items}  " if self._items else ""
        self._bar.update(self._task, completed=work, description=f"{count}{text}")

    def item(self, text: str, *, failed: bool = False, **fields: Any) -> None:
        Reporter.item(self, text, failed=failed, **fields)
        if failed:
            self.note(text)

    def note(self, text: str, **fields: Any) -> None:
        self._bar.console.print(
            printable_lines(text), markup=False, emoji=False, highlight=False, soft_wrap=True
        )

    def row(self, text: str, **fields: Any) -> None:
        # A live bar would share its line of the terminal with the row.
        self._bar.stop()
        super().row(text, **fields)

    def result(self, text: str, **fields: Any) -> None:
        self._bar.stop()
        super().result(text, **fields)


class JsonReporter(Reporter):
    """Reports one JSON object per line on stdout, with the name of its event.

    Attributes:
      error: the error that ended the log, or `None`. The run goes on without it.
    """

    def __init__(self):
        super().__init__()
        self.error: OSError | None = None

    def plan(
        self, total: float, text: str = "", *, items: int = 0, done: int = 0, **fields: Any
    ) -> None:
        super().plan(total, text, items=items, done=done, **fields)
        counts = {"jobs": items, "done": done} if items else {}
        self._emit("plan", **counts, **fields)

    def progress(self, work: float, text: str = "", **fields: Any) -> None:
        super().progress(work, text, **fields)
        self._emit("progress", fraction=round(self._fraction(), 5), **fields)

    def item(self, text: str, *, failed: bool = False, **fields: Any) -> None:
        super().item(text, failed=failed, **fields)
        self._emit("job", **fields)

    def note(self, text: str, **fields: Any) -> None:
        self._emit("note", text=text, **fields)

    def row(self, text: str, **fields: Any) -> None:
        if fields:
            self._emit("row", **fields)

    def result(self, text: str, **fields: Any) -> None:
        self._emit("result", **fields)

    def _emit(self, event: str, **fields: Any) -> None:
        line = json.dumps({"event": event, **{k: _finite(v) for k, v in fields.items()}})
        if self.error is None:
            try:
                print(f"{line}\n", end="", flush=True)
            except OSError as error:
                self.error = error


class _LogHandler(logging.Handler):
    """Sends log records to a reporter, so that they do not break the line of its progress bar."""

    def __init__(self, reporter: Reporter):
        super().__init__()
        self._reporter = reporter

    def emit(self, record: logging.LogRecord) -> None:
        self._reporter.note(record.getMessage())


@contextlib.contextmanager
def make_reporter(log_format: LogFormat, *, quiet: bool, verbose: bool) -> Iterator[Reporter]:
    """Yield the reporter for the options and the terminal.

    Args:
      log_format: `json` reports on stdout, `text` on stderr.
      quiet: report errors alone.
      verbose: report the messages of the logger `jaxstyle` as well.

    Raises:
      WriteError: stdout cannot be written; if it fails later, after the block.
    """
    with contextlib.ExitStack() as stack:
        if log_format == "json":
            check_stdout()
            reporter = JsonReporter()
        elif quiet:
            reporter = Reporter()
        elif not sys.stderr.isatty():
            reporter = LineReporter()
        else:
            reporter = BarReporter(stack.enter_context(_progress_bar()))
        if verbose:
            handler, level = _LogHandler(reporter), logger.level
            logger.addHandler(handler)
            stack.callback(logger.removeHandler, handler)
            logger.setLevel(logging.INFO)
            stack.callback(logger.setLevel, level)
        yield reporter
        if isinstance(reporter, JsonReporter) and reporter.error is not None:
            reason = reporter.error.strerror
            raise WriteError(f"the JSON log is incomplete: cannot write to stdout: {reason}.")


def print_product(text: str, end: str = "\n") -> None:
    """Print what a command was asked for on stdout.

    Raises:
      BrokenPipeError: the reader of stdout has ended.
      WriteError: it cannot be written for another reason.
    """
    try:
        print(printable_lines(text), end=end, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise WriteError(f"cannot write to stdout: {error.strerror}.") from error


def check_stdout() -> None:
    """Raise `WriteError` if stdout is closed or on a full device."""
    try:
        number = sys.stdout.fileno()
    except (AttributeError, io.UnsupportedOperation):
        return  # Not a stream of the process.
    try:
        os.write(number, b"")
    except OSError as error:
        raise WriteError(f"cannot write to stdout: {error.strerror}.") from error


def _progress_bar() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    # rich would redirect stdout, which holds the product, to the bar's console.
    console = Console(stderr=True)
    return Progress(*columns, console=console, transient=True, redirect_stdout=False)


def _finite(value: Any) -> Any:
    """Return `None` for a number that JSON cannot express."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
