"""Reporters: what each prints, and where."""

import io
import json
import logging
import sys
import time

import pytest
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from jaxstyle import reporting
from jaxstyle.reporting import (
    BarReporter,
    JsonReporter,
    LineReporter,
    Reporter,
    logger,
    make_reporter,
)


class Terminal(io.StringIO):
    """A stream that claims to be a terminal."""

    def isatty(self):
        return True


@pytest.fixture
def bar():
    """A reporter with a bar, and the text that its terminal received."""
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, force_interactive=True, width=80)
    columns = (TextColumn("{task.description}"), BarColumn())
    progress = Progress(*columns, console=console, transient=True, redirect_stdout=False)
    with progress:
        yield BarReporter(progress), screen


def report_everything(reporter):
    """Report one event of each kind, except a row."""
    reporter.plan(10.0, "two jobs", items=2, done=0, shapes=1)
    reporter.progress(5.0, "loss 3", loss=3.0)
    reporter.item("a.png  loss 3", output="a.png")
    reporter.item("failed: b.png: bad", failed=True, output="b.png")
    reporter.note("half as many at once")
    reporter.result("1 of 2 images done", done=1)


def events(text):
    return [json.loads(line) for line in text.splitlines()]


def test_base_reporter_prints_nothing(capsys):
    report_everything(Reporter())
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("make", [Reporter, LineReporter])
def test_rows_are_printed_on_stdout(make, capsys):
    make().row("48x32  1 GiB", width=48)
    assert capsys.readouterr() == ("48x32  1 GiB\n", "")


def test_lines_go_to_stderr(capsys):
    report_everything(LineReporter())
    out, err = capsys.readouterr()
    assert out == ""
    plan, first, second, note, result = err.splitlines()
    assert plan == "two jobs"
    assert first.startswith("[1/2] a.png  loss 3  ")
    assert second.startswith("[2/2] failed: b.png: bad  ")
    assert note == "half as many at once"
    assert result == "1 of 2 images done"


def test_plan_without_text_prints_no_line(capsys):
    LineReporter().plan(10.0, items=2)
    assert capsys.readouterr() == ("", "")


def test_items_show_count_pace_and_time_left(capsys, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(reporting.time, "monotonic", lambda: now[0])
    reporter = LineReporter()
    reporter.plan(8.0, items=10, done=4)
    now[0] += 30.0
    reporter.progress(2.0)
    reporter.item("e.png")
    now[0] += 30.0
    reporter.progress(4.0)
    reporter.item("f.png")
    # Of the six images that are left at the start, two are made in a minute.
    assert capsys.readouterr().err.splitlines() == [
        "[5/10] e.png  2.0 images/min, 1:30 left",
        "[6/10] f.png  2.0 images/min, 1:00 left",
    ]


def test_time_left_may_exceed_an_hour(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(reporting.time, "monotonic", lambda: now[0])
    reporter = LineReporter()
    reporter.plan(100.0, items=100)
    now[0] = 60.0
    reporter.progress(1.0)
    reporter.item("a.png")
    assert capsys.readouterr().err == "[1/100] a.png  1.0 images/min, 1:39:00 left\n"


def test_json_has_one_event_per_line_with_its_fields(capsys):
    reporter = JsonReporter()
    report_everything(reporter)
    reporter.row("48x32  1 GiB", width=48, shape=(32, 48))
    out, err = capsys.readouterr()
    assert err == ""
    assert events(out) == [
        {"event": "plan", "jobs": 2, "done": 0, "shapes": 1},
        {"event": "progress", "fraction": 0.5, "loss": 3.0},
        {"event": "job", "output": "a.png"},
        {"event": "job", "output": "b.png"},
        {"event": "note", "text": "half as many at once"},
        {"event": "result", "done": 1},
        {"event": "row", "width": 48, "shape": [32, 48]},
    ]


def test_json_plan_of_one_image_has_no_counts(capsys):
    JsonReporter().plan(10.0, levels=[(32, 48)])
    assert events(capsys.readouterr().out) == [{"event": "plan", "levels": [[32, 48]]}]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_json_reports_numbers_that_are_not_finite_as_null(capsys, value):
    reporter = JsonReporter()
    reporter.progress(1.0, loss=value)
    # Python would print NaN, which JSON does not allow, and read it again.
    assert json.loads(capsys.readouterr().out, parse_constant=pytest.fail)["loss"] is None


@pytest.mark.parametrize(
    ("total", "work", "fraction"),
    [(4.0, 0.0, 0.0), (4.0, 1.0, 0.25), (3.0, 1.0, 0.33333), (4.0, 5.0, 1.0), (0.0, 0.0, 0.0)],
)
def test_fraction_is_between_0_and_1(capsys, total, work, fraction):
    reporter = JsonReporter()
    reporter.plan(total)
    reporter.progress(work)
    assert events(capsys.readouterr().out)[-1] == {"event": "progress", "fraction": fraction}


def test_bar_shows_failures_and_the_result(bar, capsys):
    reporter, screen = bar
    report_everything(reporter)
    lines = [line.rpartition("\x1b[2K")[2] for line in screen.getvalue().splitlines()]
    assert "two jobs" in lines
    assert "failed: b.png: bad" in lines
    assert "half as many at once" in lines
    assert lines[-1] == "1 of 2 images done"
    # A finished image only advances the bar.
    assert "a.png" not in screen.getvalue()
    assert capsys.readouterr() == ("", "")


def test_bar_advances_with_the_work(bar):
    reporter, _ = bar
    reporter.plan(10.0, items=2)
    reporter.item("a.png")
    reporter.progress(4.0, "loss 3")
    (task,) = reporter._bar.tasks
    assert (task.completed, task.total) == (4.0, 10.0)
    assert task.description == "1/2  loss 3"


def test_bar_prints_texts_unchanged(bar):
    reporter, screen = bar
    text = f"failed: [red]:cat:{'x' * 100}.png"
    reporter.note(text)
    assert text in screen.getvalue()


def test_rows_do_not_share_their_line_with_the_bar(capsys):
    # Both streams are the same terminal.
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, force_interactive=True, width=80)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", screen)
        progress = Progress(console=console, transient=True, redirect_stdout=False)
        with progress:
            BarReporter(progress).row("48x32  1 GiB")
    before, _, after = screen.getvalue().partition("48x32  1 GiB\n")
    # The bar has been erased, and is not drawn again.
    assert before.endswith("\x1b[2K")
    assert after == ""


@pytest.mark.parametrize(
    ("log_format", "quiet", "stream", "expected"),
    [
        ("text", False, io.StringIO(), LineReporter),
        ("text", False, Terminal(), BarReporter),
        ("text", True, io.StringIO(), Reporter),
        ("text", True, Terminal(), Reporter),
        ("json", False, io.StringIO(), JsonReporter),
        ("json", False, Terminal(), JsonReporter),
        ("json", True, Terminal(), JsonReporter),
    ],
)
def test_options_and_terminal_choose_the_reporter(monkeypatch, log_format, quiet, stream, expected):
    monkeypatch.setattr(sys, "stderr", stream)
    with make_reporter(log_format, quiet=quiet, verbose=False) as reporter:
        assert type(reporter) is expected


def test_verbose_reports_log_messages(capsys):
    handlers, level = list(logger.handlers), logger.level
    with make_reporter("text", quiet=False, verbose=True):
        logger.info("weights: %s", "vgg19.h5")
        logger.debug("too fine")
        logging.getLogger("jaxstyle.part").info("a part of the package")
    logger.info("after the run")
    assert capsys.readouterr() == ("", "weights: vgg19.h5\na part of the package\n")
    assert (logger.handlers, logger.level) == (handlers, level)


def test_log_messages_are_notes_in_json(capsys):
    with make_reporter("json", quiet=False, verbose=True):
        logger.info("devices: %s", "cpu:0")
    assert events(capsys.readouterr().out) == [{"event": "note", "text": "devices: cpu:0"}]


def test_log_messages_are_hidden_unless_verbose(capsys):
    with make_reporter("text", quiet=False, verbose=False):
        logger.info("weights: vgg19.h5")
    assert capsys.readouterr() == ("", "")


def test_logger_is_disconnected_after_an_exception():
    handlers, level = list(logger.handlers), logger.level

    def fail():
        with make_reporter("text", quiet=False, verbose=True):
            assert len(logger.handlers) == len(handlers) + 1
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert (logger.handlers, logger.level) == (handlers, level)


def test_failures_do_not_count_in_the_pace():
    reporter = Reporter()
    reporter.plan(10.0, items=10, done=2)
    reporter._began = time.monotonic() - 60
    for _ in range(5):
        reporter.item("broken", failed=True)
    assert reporter._pace() == ""
    reporter.item("good")
    assert reporter._pace().startswith("1.0 images/min")
