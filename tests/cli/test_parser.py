"""Arguments and help of the command line."""

import argparse
import dataclasses
import re

import pytest
from cli.quick import PAINTING, PHOTO, python, run
from conftest import IMAGES

from jaxstyle import PRESETS, StyleConfig, __version__
from jaxstyle.cli import commands, parser
from jaxstyle.cli.parser import make_parser
from jaxstyle.errors import ExitCode

README = IMAGES.parent.parent / "README.md"
# Packages that take long to import.
SLOW_PACKAGES = {"jax", "jaxlib", "numpy", "PIL", "h5py", "flax", "optax", "rich", "orbax"}


def subcommands(parser):
    """Parsers of the commands by name; actions such as `weights info` are commands too."""
    parsers = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, child in action.choices.items():
                actions = subcommands(child)
                parsers |= {f"{name} {key}": value for key, value in actions.items()}
                parsers |= {} if actions else {name: child}
    return parsers


COMMANDS = subcommands(make_parser())
NAMES = list(dict.fromkeys(command.split()[0] for command in COMMANDS))


def help_groups(text):
    """Split a help text into its groups of arguments, by title."""
    titles = list(re.finditer(r"^(\S.*):$", text, re.MULTILINE))
    ends = [title.start() for title in titles[1:]] + [len(text)]
    return {title[1]: text[title.end() : end] for title, end in zip(titles, ends, strict=True)}


def flags(group):
    """Long flags that a group of a help text explains, each as often as it is explained."""
    return re.findall(r"^  (?:-\w \w+, |-\w, )?(--[a-z-]+)", group, re.MULTILINE)


def test_help_lists_all_exit_codes():
    text = " ".join(run("--help").out.split())
    for code in ExitCode:
        assert f" {code.value} {code.name.lower().replace('_', ' ')}" in text


def test_help_lists_all_commands():
    listed = re.findall(r"^    (\w+)", help_groups(run("--help").out)["commands"], re.MULTILINE)
    assert listed == NAMES


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_and_a_function(command):
    result = run(*command.split(), "--help")
    assert result.code == 0
    assert result.out.startswith(f"usage: jaxstyle {command} [-h]")
    assert result.err == ""
    name, function = (COMMANDS[command].get_default(key) for key in ("command", "run"))
    assert callable(getattr(commands, name) if function is parser._run else function)


def test_version_is_that_of_the_package():
    assert run("--version") == (0, f"jaxstyle {__version__}\n", "")


@pytest.mark.parametrize("command", ["stylize", "batch"])
def test_every_config_field_is_a_flag_in_one_group(command):
    groups = help_groups(run(command, "--help").out)
    transfer, expert = flags(groups["style transfer"]), flags(groups["expert options"])
    fields = dataclasses.fields(StyleConfig)
    names = {f"--{field.name.replace('_', '-')}": field.metadata["expert"] for field in fields}
    assert sorted(transfer + expert) == sorted(names)
    assert {flag for flag, is_expert in names.items() if is_expert} == set(expert)


def test_expert_options_follow_the_others():
    titles = list(help_groups(run("stylize", "--help").out))
    assert titles == ["positional arguments", "options", "style transfer", "expert options"]


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["stylize", "--help"]])
def test_help_and_version_import_no_slow_package(arguments):
    code = (
        "import sys; from jaxstyle.cli import main; code = main(sys.argv[1:]);"
        "print(*sys.modules, file=sys.stderr); sys.exit(code)"
    )
    done = python("-c", code, *arguments)
    assert done.returncode == 0, done.stderr
    assert "jaxstyle" in done.stdout
    imported = {name.split(".")[0] for name in done.stderr.split()}
    assert "jaxstyle" in imported
    assert not imported & SLOW_PACKAGES


def test_flags_override_the_preset():
    arguments = ["stylize", PHOTO, PAINTING, "-o", "o.png", "--preset", "classic"]
    given = ["--tv-weight", "3", "--style-layers", "relu1_1=4,relu2_1", "--no-clamp"]
    config = commands.config_of(make_parser().parse_args([*arguments, *given]))
    assert config == dataclasses.replace(
        PRESETS["classic"],
        tv_weight=3.0,
        style_layers=(("relu1_1", 4.0), ("relu2_1", 1.0)),
        clamp=False,
    )


def test_readme_names_every_command():
    text = README.read_text()
    for command in NAMES:
        assert re.search(rf"jaxstyle(\.cli)? {command}\b", text), command
