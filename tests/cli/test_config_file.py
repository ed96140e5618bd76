"""Options from a file: which of them apply, and which files are refused."""

import dataclasses
import json

import numpy as np
import pytest
from cli.quick import PAINTING, PHOTO, run

from jaxstyle import PRESETS, StyleConfig, write_image
from jaxstyle.batch.jobs import Defaults
from jaxstyle.cli import commands
from jaxstyle.cli.parser import make_parser
from jaxstyle.io.provenance import metadata, provenance

STYLIZE = ["stylize", PHOTO, PAINTING, "-o", "o.png"]
RECONSTRUCT = ["reconstruct", PHOTO, "-o", "o.png", "--layers", "relu1_1"]
HASH = "0" * 64


@pytest.fixture
def toml(tmp_path):
    """A function that writes a configuration file and returns its path."""

    def write(text):
        path = tmp_path / "run.toml"
        path.write_text(text)
        return str(path)

    return write


def parse(*arguments):
    return make_parser().parse_args(list(map(str, arguments)))


def config_of(*arguments):
    return commands.config_of(parse(*arguments))


def test_a_file_sets_options_of_all_types(toml):
    path = toml(
        'preset = "classic"\nsize = 64\nsteps = [60, 45]\nstyle_layers = {relu1_1 = 4}\n'
        'content_layers = ["relu4_1"]\nclamp = false\ncolor = "match"\nblend = "2,1"\n'
    )
    assert config_of(*STYLIZE, "--config", path) == dataclasses.replace(
        PRESETS["classic"],
        size=64,
        steps=(60, 45),
        style_layers={"relu1_1": 4},
        content_layers=("relu4_1",),
        clamp=False,
        color="match",
        blend=(2, 1),
    )


@pytest.mark.parametrize("first", [True, False])
def test_flags_override_the_file_wherever_they_are(toml, first):
    file = ["--config", toml('preset = "classic"\nsize = 64\nsteps = 3')]
    # Also those that have the value of the default.
    flags = ["--preset", "default", "--size", "512"]
    arguments = [*flags, *file] if first else [*file, *flags]
    assert config_of(*STYLIZE, *arguments) == StyleConfig(steps=(3,))


def test_a_file_overrides_the_defaults_of_a_command(toml):
    path = toml("tv_weight = 7")
    assert config_of(*RECONSTRUCT).tv_weight == 0
    assert config_of(*RECONSTRUCT, "--config", path).tv_weight == 7
    assert config_of(*RECONSTRUCT, "--config", path, "--tv-weight", "0").tv_weight == 0


def test_options_that_a_command_does_not_have_are_ignored(toml):
    path = toml('style_layers = ["relu5_1"]\nblend = [1, 2]\nsize = 64')
    assert config_of(*RECONSTRUCT, "--config", path) == config_of(*RECONSTRUCT, "--size", 64)


@pytest.mark.parametrize("command", ["stylize", "batch"])
def test_a_file_to_start_from_is_relative_to_the_configuration(tmp_path, toml, command):
    arguments = [command, *STYLIZE[1:], "--config", toml('preset = "classic"\ninit = "a.png"')]
    args = parse(*arguments)
    assert commands.take_start_file(args) == tmp_path / "a.png"
    assert commands.config_of(args).init == PRESETS["classic"].init


def test_a_file_to_start_from_leaves_the_init_of_a_record(tmp_path):
    report = tmp_path / "r.json"
    report.write_text(json.dumps(record("stylize", StyleConfig(init="noise"))))
    args = parse(*STYLIZE, "--config", report, "--init", "a.png")
    commands.take_start_file(args)
    assert commands.config_of(args).init == "noise"


def test_jobs_of_a_batch_override_the_file(toml):
    args = parse("batch", "a", "b", "-o", "c", "--config", toml('preset = "classic"\nsize = 64'))
    defaults = Defaults(args.preset, commands.flags_of(args))
    assert defaults.config() == dataclasses.replace(PRESETS["classic"], size=64)
    assert defaults.config(size=32).size == 32


def record(command, config):
    inputs = {"content": [{"file": "a.png", "sha256": HASH}]}
    return provenance(command, config, inputs, {"file": "w.h5", "sha256": HASH})


@pytest.mark.parametrize("name", ["r.json", "r.png", "r.jpg"])
@pytest.mark.parametrize("preset", ["classic", "graphic"])
def test_reports_and_images_are_read_back(tmp_path, preset, name):
    path, origin = tmp_path / name, record("stylize", PRESETS[preset])
    if name.endswith("json"):
        path.write_text(json.dumps(origin))
    else:
        write_image(path, np.full((16, 16, 3), 0.5), metadata=metadata(origin))
    assert config_of(*STYLIZE, "--config", path) == PRESETS[preset]
    assert config_of(*STYLIZE, "--config", path, "--size", "64").size == 64


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("style_wieght = 3", "run.toml: unknown option 'style_wieght'; did you mean 'style_weight'?"),
        ("style-weight = 3", "did you mean 'style_weight'?"),
        ("output = 'x.png'", "run.toml: unknown option 'output'; "),
        ("[stylize]\nsize = 3", "run.toml: unknown option 'stylize'"),
        ("preset = 'defualt'", "run.toml: `preset` is 'defualt'; did you mean 'default'?"),
        ("preset = []", "run.toml: `preset` is []; it must be one of "),
        ("init = 'grey'", "run.toml: `init` is 'grey'; did you mean 'gray'?"),
        ("size = [3]", "run.toml: `size` is [3]; it must be a whole number."),
        ("size = -3", "run.toml: `size` is -3; it must be at least 16."),
        ("style_layers = ['relu4-2']", "run.toml: unknown layer 'relu4-2'; did you mean 'relu4_2'?"),
        ("size = 3\nsize = 4", "run.toml: Cannot overwrite a value (at "),
        ("\0", "run.toml, line 1: it contains a NUL character"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_file_is_one_line_that_names_it(toml, text, message):
    result = run(*STYLIZE, "--config", toml(text))
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert message in result.err


def test_a_missing_file_exits_3(tmp_path):
    result = run(*STYLIZE, "--config", tmp_path / "none.toml")
    assert (result.code, result.err.count("\n")) == (3, 1)
    assert "none.toml" in result.err
