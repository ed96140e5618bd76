"""Provenance read back from files, which may come from strangers."""

import json

import numpy as np
import pytest

from jaxstyle import StyleConfig, write_image
from jaxstyle.errors import ImageReadError
from jaxstyle.io.formats import FORMATS
from jaxstyle.io.origin import parse_origin, read_origin
from jaxstyle.io.provenance import metadata, provenance

WEIGHTS = {"file": "vgg19.h5", "sha256": "1" * 64}
INPUTS = {
    "content": [{"file": "a.jpg", "sha256": "2" * 64}],
    "style": [{"file": "é b.png", "sha256": "3" * 64}],
}
CONFIG = StyleConfig(style_layers={"relu1_1": 0.1}, blend=(2,), seed=3)
RECORD = json.loads(json.dumps(provenance("stylize", CONFIG, INPUTS, WEIGHTS)))


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_carries_the_provenance(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    write_image(path, np.full((16, 16, 3), 0.5), metadata=metadata(RECORD, device="cpu", tile=0))
    origin = read_origin(path)
    assert StyleConfig(**origin.config) == CONFIG
    assert (origin.command, origin.inputs, origin.weights) == ("stylize", INPUTS, WEIGHTS)
    assert origin.details == {"device": "cpu"}


def test_a_report_has_the_provenance_of_its_image(tmp_path):
    (tmp_path / "r.json").write_text(json.dumps({**RECORD, "trace": {"loss": [1, 2]}}))
    assert StyleConfig(**read_origin(tmp_path / "r.json").config) == CONFIG


def test_tiles_are_part_of_the_configuration():
    assert parse_origin({**RECORD, "tile": 256}).config["tile"] == 256


def test_a_record_may_lack_options_of_later_versions():
    config = {name: value for name, value in RECORD["config"].items() if name != "filter_limit"}
    assert "filter_limit" not in parse_origin({**RECORD, "config": config}).config


def test_an_image_without_metadata_is_an_error(tmp_path):
    write_image(tmp_path / "a.png", np.full((16, 16, 3), 0.5))
    with pytest.raises(ValueError, match=r"a\.png carries no metadata of jaxstyle"):
        read_origin(tmp_path / "a.png")


def test_metadata_too_long_for_a_jpeg_is_left_out(tmp_path):
    write_image(tmp_path / "a.jpg", np.full((16, 16, 3), 0.5), metadata={"jaxstyle": "x" * 70_000})
    with pytest.raises(ValueError, match="carries no metadata"):
        read_origin(tmp_path / "a.jpg")


@pytest.mark.parametrize("name", ["a.png", "a.json"])
def test_a_missing_file_is_an_error_of_reading(tmp_path, name):
    with pytest.raises(ImageReadError, match=name):
        read_origin(tmp_path / name)


def input_named(name, sha256="2" * 64):
    return {"inputs": {"content": [{"file": name, "sha256": sha256}]}}


HOSTILE = {
    "no table": ([], "must be a table"),
    "no version": ({"jaxstyle": None}, "`jaxstyle` is missing or damaged"),
    "version with control characters": ({"jaxstyle": "\x1b[2J"}, "`jaxstyle` is missing"),
    "command of a later version": (
        {"command": "film", "jaxstyle": "9.0"},
        r"made by `jaxstyle film` of version 9\.0, which jaxstyle \S+ does not know; upgrade",
    ),
    "command that is a path": ({"command": "../x"}, "`command` is missing or damaged"),
    "command that writes no image": ({"command": "weights"}, "does not know"),
    "no configuration": ({"config": None}, "`config` must be a table"),
    "option of a later version": (
        {"config": {"colour": 1}, "jaxstyle": "9.0"},
        r"option 'colour' of jaxstyle 9\.0 is not known",
    ),
    "option of another type": ({"config": {"size": []}}, "`size` is"),
    "option out of range": ({"config": {"size": -1}}, "`size` is -1; it must be at least 16"),
    "start that is a file": ({"config": {"init": "/etc/passwd"}}, "`init` is '/etc/passwd'"),
    "number beyond any float": ({"config": {"size": 1e400}}, "`size` is inf"),
    "unknown role": ({"inputs": {"secret": []}}, "`inputs` has 'secret'"),
    "no files": ({"inputs": {"style": []}}, "list of 1 to 1000 files"),
    "too many files": ({"inputs": {"style": [WEIGHTS] * 1001}}, "list of 1 to 1000 files"),
    "file that is no table": ({"inputs": {"style": ["a.png"]}}, "must be a table"),
    "path": (input_named("/etc/passwd"), "no name without a folder"),
    "path to a parent": (input_named("../a.png"), "no name without a folder"),
    "path of Windows": (input_named("..\\a.png"), "no name without a folder"),
    "folder": (input_named(".."), "which is no file"),
    "name with a NUL character": (input_named("a\0b"), "no name without a folder"),
    "hash that is a pattern": (input_named("a.png", "2" * 63 + "*"), "`sha256` is missing"),
    "weights in a folder": ({"weights": {"file": "a/b", "sha256": "1" * 64}}, "no name"),
    "versions that are no table": ({"versions": []}, "`versions` must be a table"),
    "tile of another type": ({"tile": "x"}, "`tile` is 'x'"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_damaged_or_hostile_record_is_an_error(case):
    change, message = HOSTILE[case]
    with pytest.raises(ValueError, match=message):
        parse_origin({**RECORD, **change} if isinstance(change, dict) else change)
