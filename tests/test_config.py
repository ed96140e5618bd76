import dataclasses

import pytest

from jaxstyle import PRESETS, StyleConfig
from jaxstyle.config import parse_value


def test_layers_may_be_names_mappings_or_pairs():
    expected = (("relu1_1", 1.0), ("relu2_1", 1.0))
    for layers in (("relu1_1", "relu2_1"), {"relu1_1": 1, "relu2_1": 1}, expected):
        assert StyleConfig(style_layers=layers).style_layers == expected


def test_weights_of_a_family_sum_to_its_coefficient():
    config = StyleConfig(style_layers={"relu1_1": 3, "relu2_1": 1}, style_weight=8)
    assert config.weights.style == {"relu1_1": 6, "relu2_1": 2}


def test_integers_become_floats_where_the_field_is_one():
    config = StyleConfig(style_weight=20, steps=(3, 2))
    assert config == StyleConfig(style_weight=20.0, steps=(3, 2))
    assert isinstance(config.style_weight, float)
    assert hash(config)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_hashable_and_equal_to_their_copies(name):
    preset = PRESETS[name]
    assert hash(dataclasses.replace(preset)) == hash(preset)
    assert dataclasses.replace(preset) == preset


def test_classic_is_the_paper():
    classic = PRESETS["classic"]
    assert classic.init == "noise"
    assert classic.optimizer == "lbfgs"
    assert classic.pooling == "average"
    assert [name for name, _ in classic.style_layers] == [f"relu{i}_1" for i in range(1, 6)]
    assert [name for name, _ in classic.content_layers] == ["relu4_2"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"size": 8}, "`size` is 8; it must be at least 16"),
        ({"style_weight": -1.0}, "`style_weight` is -1.0; it must be at least 0"),
        ({"content_weight": float("nan")}, "`content_weight` is nan; it must be at least 0"),
        ({"seed": 2**32}, "`seed` is 4294967296; it must be at most 4294967295"),
        ({"tv_weight": float("inf")}, "`tv_weight` is inf; it must be finite"),
        ({"steps": ()}, "`steps` is empty"),
        ({"steps": (5, 0)}, "`steps` is 0; it must be at least 1"),
        ({"carry": "moments", "optimizer": "lbfgs"}, "`carry` is 'moments'; lbfgs has none"),
        ({"average": 1.0}, "`average` is 1.0; it must be below 1"),
        ({"learning_rate": 0.0}, "`learning_rate` is 0.0; it must be above 0"),
        ({"style_layers": ("relu1_1", "relu1_1")}, "`style_layers` names a layer twice"),
        ({"style_layers": {"relu1_1": -1}}, "weight below 0"),
        ({"style_layers": ("relu6_1",)}, "unknown layer 'relu6_1'; did you mean"),
        ({"style_layers": ("sliced:relu6_1",)}, "unknown layer 'relu6_1'; did you mean"),
        ({"style_layers": ("slice:relu1_1",)}, "of a term of style_layers` is 'slice'; it must be"),
        ({"content_layers": ("gram:relu1_1",)}, "must be one of features, self_similarity"),
    ],
)
def test_values_out_of_range_are_named_with_the_range(fields, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(StyleConfig(), **fields)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("size", "256", 256),
        ("style_weight", "1e3", 1000.0),
        ("steps", "200, 100,", (200, 100)),
        ("blend", "", ()),
        ("clamp", "no", False),
        ("init", "noise", "noise"),
        ("style_layers", "relu1_1=4, relu2_1", (("relu1_1", 4.0), ("relu2_1", 1.0))),
        ("style_layers", "sliced:relu1_1=4", (("sliced:relu1_1", 4.0),)),
    ],
)
def test_values_are_read_from_text(name, text, value):
    assert parse_value(name, text) == value


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("size", "big"),
        ("size", "1.5"),
        ("steps", "1,x"),
        ("clamp", "maybe"),
        ("blend", "a=b"),
    ],
)
def test_text_of_another_type_is_an_error_that_shows_it(name, text):
    with pytest.raises(ValueError, match=f"`{name}` is '{text}'"):
        parse_value(name, text)
