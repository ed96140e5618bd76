"""Misspelled commands, options and choices: one line that suggests the nearest."""

import pytest
from cli.quick import run

from jaxstyle.cli.arguments import Parser

STYLIZE = "stylize a.jpg b.jpg -o c.png"
SUGGESTIONS = {
    "stylise a.jpg b.jpg -o c.png": "unknown command 'stylise'; did you mean 'stylize'?",
    "weights inof": "unknown action 'inof'; did you mean 'info'?",
    "--verison": "unknown option '--verison'; did you mean '--version'?",
    f"{STYLIZE} --style-wieght 3": "unknown option '--style-wieght'; did you mean '--style-weight'?",
    f"{STYLIZE} --style-wieght=3": "unknown option '--style-wieght'; did you mean '--style-weight'?",
    # An abbreviation is no option, but is understood.
    f"{STYLIZE} --prev 3": "unknown option '--prev'; did you mean '--preview-every'?",
    # The option that is missing is the one that is misspelled.
    "stylize a.jpg b.jpg --ouptut c.png": "unknown option '--ouptut'; did you mean '--output'?",
    f"{STYLIZE} --preset defualt": "`--preset` is 'defualt'; did you mean 'default'?",
    f"{STYLIZE} --style-loss wassertein": "`--style-loss` is 'wassertein'; did you mean 'wasserstein'?",
    f"{STYLIZE} --style-layers slicd:relu1_1": "did you mean 'sliced'?",
}


@pytest.mark.parametrize("line", SUGGESTIONS)
def test_a_misspelled_word_is_one_line_with_the_nearest(line):
    result = run(*line.split())
    assert (result.code, result.out, result.err.count("\n")) == (2, "", 1)
    assert result.err.startswith("jaxstyle: ")
    assert SUGGESTIONS[line] in result.err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (f"{STYLIZE} --zzz 3", "unknown option '--zzz' (see `jaxstyle stylize --help`)"),
        (f"{STYLIZE} -z", "unknown option '-z' (see"),
        (
            "score a.jpg b.jpg c.jpg d.jpg",
            "unexpected argument 'd.jpg' (see `jaxstyle score --help`)",
        ),
        ("zzz", "unknown command 'zzz'; it must be one of stylize, preview"),
    ],
)
def test_nothing_is_suggested_if_nothing_is_near(line, message):
    assert message in run(*line.split()).err


@pytest.mark.parametrize("command", ["", "weights"])
def test_without_a_command_the_help_is_printed(command):
    arguments = command.split()
    result = run(*arguments)
    assert result == run(*arguments, "--help")
    assert (result.code, result.err) == (0, "")


def test_arguments_after_two_dashes_are_no_options():
    parser = Parser()
    parser.add_argument("names", nargs="*")
    assert parser.parse_args(["--", "--name", "-x"]).names == ["--name", "-x"]


def test_negative_numbers_are_values():
    parser = Parser()
    parser.add_argument("--weight", type=float)
    assert parser.parse_args(["--weight", "-3"]).weight == -3
