import dataclasses
import subprocess
import sys

import pytest

from jaxstyle import PRESETS, StyleConfig
from jaxstyle.config import parse_value


def test_layers_may_be_names_mappings_or_pairs():
    expected = (("relu1_1", 1.0), ("relu2_1", 1.0))
    for layers in (("relu1_1", "relu2_1"), {"relu1_1": 1, "relu2_1": 1}, expected):
        assert StyleConfig(style_layers=layers).style_layers == expected


def test_style_weights_are_scaled_to_sum_to_the_style_weight():
    config = StyleConfig(style_layers={"relu1_1": 3, "relu2_1": 1}, style_weight=8)
    assert config.weights.style == {"relu1_1": 6, "relu2_1": 2}


def test_integers_are_converted_to_floats_in_float_fields():
    config = StyleConfig(style_weight=20, steps=(3, 2))
    assert config == StyleConfig(style_weight=20.0, steps=(3, 2))
    assert isinstance(config.style_weight, float)
    assert hash(config)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_equal_their_copies_and_hash_alike(name):
    preset = PRESETS[name]
    assert hash(dataclasses.replace(preset)) == hash(preset)
    assert dataclasses.replace(preset) == preset


def test_classic_follows_gatys_2016():
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
        (
            {"carry": "moments", "optimizer": "lbfgs"},
            "`carry` is 'moments' and `optimizer` is 'lbfgs'; 'moments' needs",
        ),
        ({"average": 1.0}, "`average` is 1.0; it must be below 1"),
        ({"learning_rate": 0.0}, "`learning_rate` is 0.0; it must be above 0"),
        ({"style_layers": ("relu1_1", "relu1_1")}, "`style_layers` names a layer twice"),
        (
            {"style_layers": {"relu1_1": -1}},
            "`style_layers` is .*; weights must be finite and at least 0",
        ),
        ({"style_layers": ("relu6_1",)}, "unknown layer 'relu6_1'; did you mean"),
        ({"style_layers": ("sliced:relu6_1",)}, "unknown layer 'relu6_1'; did you mean"),
        (
            {"style_layers": ("slice:relu1_1",)},
            "`style_layers` has the loss 'slice' in 'slice:relu1_1'; did you mean 'sliced'",
        ),
        (
            {"filter_limit": 3, "init": "adain"},
            "`filter_limit` is 3.0; AdaIN needs 0 or at least 5.5",
        ),
        ({"content_layers": ("gram:relu1_1",)}, "must be one of features, self_similarity"),
    ],
)
def test_errors_name_the_field_its_value_and_the_range(fields, message):
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
def test_parse_value_reads_every_type_of_field(name, text, value):
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
def test_parse_value_rejects_text_of_another_type(name, text):
    with pytest.raises(ValueError, match=f"`{name}` is '{text}'"):
        parse_value(name, text)


def test_every_field_has_a_help_text_and_an_expert_mark():
    metadata = {f.name: f.metadata for f in dataclasses.fields(StyleConfig)}
    assert all(m["help"] and isinstance(m["expert"], bool) for m in metadata.values())
    assert metadata["learning_rate"]["expert"]
    assert not metadata["style_weight"]["expert"]


def test_values_of_another_type_are_named_with_the_type():
    # In a process of its own: here the runtime type checker would refuse them first.
    code = """
from jaxstyle import StyleConfig
for fields in {"size": float("nan")}, {"size": 1.5}, {"style_weight": "12"}, {"steps": ("a",)}:
    try:
        StyleConfig(**fields)
    except ValueError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "`size` is nan; it must be a whole number.",
        "`size` is 1.5; it must be a whole number.",
        "`style_weight` is '12'; it must be a number.",
        "`steps` is 'a'; it must be a whole number.",
    ]
