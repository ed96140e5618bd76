"""Values of StyleConfig from TOML and JSON."""

import dataclasses
import json

import pytest

from jaxstyle import PRESETS, StyleConfig
from jaxstyle.io.fields import read_field, read_fields


@pytest.mark.parametrize("preset", PRESETS)
def test_the_record_of_a_configuration_is_read_back(preset):
    config = PRESETS[preset]
    fields = read_fields(json.loads(json.dumps(config.record)))
    assert StyleConfig(**fields) == config


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("steps", 60, (60,)),
        ("steps", [60, 45], (60, 45)),
        ("steps", "60,45", (60, 45)),
        ("style_layers", ["relu1_1", "relu2_1"], (("relu1_1", 1.0), ("relu2_1", 1.0))),
        ("style_layers", {"relu1_1": 4}, (("relu1_1", 4.0),)),
        ("style_layers", "relu1_1=4", (("relu1_1", 4.0),)),
        ("clamp", False, False),
        ("color", "match", "match"),
        ("tile", "none", 0),
        ("tile", None, None),
        ("size", 64, 64),
    ],
)
def test_a_value_may_be_text_or_of_its_type(name, value, expected):
    assert read_field(name, value) == expected
    dataclasses.replace(StyleConfig(), **{name: expected})


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("size", True, "`size` is True; it must be a whole number."),
        ("size", [1], r"`size` is \[1\]; it must be a whole number."),
        ("size", None, "`size` is None"),
        ("style_weight", {}, "it must be a number."),
        ("style_weight", 10**400, "it must be a number."),
        ("steps", ["a"], r"`steps` is \['a'\]; it must be whole numbers."),
        ("clamp", 1, "`clamp` is 1; it must be true or false."),
        ("color", 3, "`color` is 3; it must be one of style, luminance, match."),
        ("tile", 1.0j, "it must be a whole number, auto or none."),
        ("style_layers", 3, "`style_layers` is 3; it must be layers such as"),
        ("style_layers", [["relu1_1"]], "it must be layers"),
        ("style_layers", [["relu1_1", "x"]], "it must be layers"),
        ("style_layers", {"relu1_1": True}, "it must be layers"),
    ],
)
def test_a_value_of_another_type_is_an_error_that_names_the_field(name, value, message):
    with pytest.raises(ValueError, match=message):
        read_field(name, value)


def test_an_unknown_field_is_an_error_that_suggests_the_nearest():
    with pytest.raises(ValueError, match="'style_wieght'; did you mean 'style_weight'"):
        read_fields({"style_wieght": 3})
