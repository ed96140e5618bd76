"""`--log-format`, `--quiet` and `--verbose` of every command that takes long."""

import json
import logging

import jax
import pytest
from cli.quick import CONTENT_LAYERS, PAINTING, PHOTO, QUICK, SIZE, STYLE_LAYERS, run

from jaxstyle import metrics
from jaxstyle.io.weights import weights_path

# Arguments of each command, with its output in a folder.
COMMANDS = {
    "stylize": lambda folder: ["stylize", PHOTO, PAINTING, *QUICK, "-o", folder / "o.png"],
    "preview": lambda folder: ["preview", PHOTO, PAINTING, "--size", "48", "-o", folder / "o.png"],
    "texture": lambda folder: [
        *("texture", PAINTING, *SIZE, *STYLE_LAYERS, "--aspect", "2", "-o", folder / "o.png")
    ],
    "reconstruct": lambda folder: [
        *("reconstruct", PHOTO, *SIZE, "--layers", "relu1_1", "-o", folder / "o.png")
    ],
    "batch": lambda folder: [
        *("batch", PHOTO, PAINTING, *QUICK, "--no-report", "-o", folder / "out")
    ],
    # At smaller sizes than 72x48 there are no scores.
    "layers": lambda folder: [
        *("layers", PHOTO, PAINTING, "--size", "72", "--steps", "2", *CONTENT_LAYERS),
        *("--set", "relu1_1", "--style-weights", "1,2", "--no-reconstructions"),
        *("-o", folder / "o.png"),
    ],
    "plan": lambda _: ["plan", "--sizes", "48", "--steps", "2", *STYLE_LAYERS, *CONTENT_LAYERS],
    "score": lambda _: ["score", PHOTO, PAINTING, PHOTO, "--size", "72"],
}
# Commands that compile for long; other tests run each of them once.
SLOW = ("layers", "plan", "preview")
PARAMS = [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in COMMANDS]
# Commands whose product is a table on stdout.
TABLES = ("plan", "score")
IMAGE_COMMANDS = ("stylize", "preview", "texture", "reconstruct")
# Part of the line of `--verbose` about a level; the other commands have none.
LEVELS = {
    "stylize": "level 48x32: first steps after",
    "texture": "level 48x24: first steps after",
    "reconstruct": "level 48x32: first steps after",
    "batch": "48x32: 1 images, 1 at once",
}
JOB_RESULT = frozenset({"output", "steps", "planned", "loss", "complete", "seconds"})
# Fields of the result besides the name of the event.
RESULT = {
    **dict.fromkeys(("stylize", "texture", "reconstruct"), JOB_RESULT),
    "preview": {"output"},
    "batch": {"jobs", "done", "failed"},
    "layers": {"output", "images", "complete"},
}


@pytest.fixture(scope="module", params=PARAMS)
def runs(request, tmp_path_factory):
    """Name of a command, and its runs with each kind of report."""
    flags = {"json": ["--log-format", "json"], "quiet": ["--quiet"], "verbose": ["--verbose"]}
    results = {}
    for name, more in flags.items():
        arguments = COMMANDS[request.param](tmp_path_factory.mktemp(name))
        # As in the tests themselves: both then share compiled programs.
        with jax.numpy_dtype_promotion("strict"):
            results[name] = run(*arguments, *more)
        assert results[name].code == 0, results[name].err
        assert not logging.getLogger("jaxstyle").handlers
    return request.param, results


def events_of(result):
    return [json.loads(line) for line in result.out.splitlines()]


def test_json_events_fit_the_command(runs):
    command, results = runs
    assert results["json"].err == ""
    events = events_of(results["json"])
    kinds = [event["event"] for event in events]
    if command in TABLES:
        assert set(kinds) == {"row"}
        return
    assert kinds.count("result") == 1
    assert set(events[-1]) == {"event", *RESULT[command]}
    if command == "preview":
        assert kinds == ["result"]
        return
    assert kinds[0] == "plan"
    assert kinds[-1] == "result"
    jobs = {"job"} if command == "batch" else set()
    assert set(kinds[1:-1]) == {"progress"} | jobs
    fractions = [event["fraction"] for event in events if event["event"] == "progress"]
    assert fractions == sorted(fractions)
    assert 0 < fractions[0] <= fractions[-1] == 1


def test_quiet_prints_nothing_but_the_product(runs):
    command, results = runs
    assert results["quiet"].err == ""
    assert bool(results["quiet"].out) == (command in TABLES)


def test_verbose_names_weights_devices_and_levels(runs):
    command, results = runs
    err = results["verbose"].err
    assert f"weights: {weights_path()}, " in err
    assert f"devices: {', '.join(map(str, jax.devices()))}\n" in err
    assert "compilation cache: " in err
    assert LEVELS.get(command, "") in err
    assert bool(results["verbose"].out) == (command in TABLES)


def test_rows_of_a_table_are_the_same_in_text_and_json(runs):
    command, results = runs
    rows = [event for event in events_of(results["json"]) if event["event"] == "row"]
    lines = results["quiet"].out.splitlines() if command in TABLES else []
    assert len(rows) == len(lines)
    if command == "score":
        assert [row["score"] for row in rows] == list(metrics.MEANINGS)
        for row, line in zip(rows, lines, strict=True):
            assert line.startswith(f"{row['score']:12} {row['value']:.4f}  ")
    if command == "plan":
        head, estimate = rows
        assert head["free_bytes"] > 0
        assert head["device"] in lines[0]
        assert (estimate["width"], estimate["height"], estimate["steps"]) == (48, 32, 2)
        assert estimate["bytes"] > 0
        assert estimate["seconds"] > 0
        assert lines[1].split()[:2] == ["48x32", "2"]


@pytest.mark.parametrize("command", COMMANDS)
def test_quiet_and_verbose_exclude_each_other(command, tmp_path):
    result = run(*COMMANDS[command](tmp_path), "--quiet", "--verbose")
    assert result.code == 2
    assert "argument -v/--verbose: not allowed with argument -q/--quiet" in result.err
    assert result.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", IMAGE_COMMANDS)
def test_json_and_an_image_cannot_share_stdout(command, tmp_path):
    result = run(*COMMANDS[command](tmp_path), "-o", "-", "--log-format", "json")
    assert result.code == 2
    assert result.out == ""
    assert "`--log-format json` writes to stdout, as `-o -` does; name a file." in result.err


def test_layers_does_not_write_to_stdout(tmp_path):
    result = run(*COMMANDS["layers"](tmp_path), "-o", "-", "--log-format", "json")
    assert result.code == 2
    assert result.out == ""
    assert "`--output` needs a file to write to, not stdout." in result.err
