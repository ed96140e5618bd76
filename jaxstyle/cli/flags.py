"""Flags made from the fields of `StyleConfig`, so that a default is written once."""

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args, get_origin

from jaxstyle.config import Layers, StyleConfig
from jaxstyle.options import Init
from jaxstyle.presets import PRESETS


def add_options(
    parser: argparse.ArgumentParser, *, without: Sequence[str] = (), **defaults: Any
) -> None:
    """A flag for every field of `StyleConfig`, and `--preset`.

    Args:
      parser: of the command.
      without: fields of `StyleConfig` that mean nothing to the command, or `preset`.
      defaults: fields that have another default there.
    """
    if "preset" not in without:
        parser.add_argument(
            "--preset", choices=PRESETS, default="default", help="options to start from"
        )
    parser.add_argument(
        "--weights", type=Path, metavar="FILE", help="VGG19 to use instead of the embedded one"
    )
    options = parser.add_argument_group(
        "painting",
        None
        if "preset" in without
        else "Defaults are those of the preset `default`; other presets have their own.",
    )
    for field in dataclasses.fields(StyleConfig):
        if field.name not in without:
            _add_field(options, field, defaults.get(field.name, field.default))
    parser.set_defaults(**defaults)


def add_init(parser: argparse.ArgumentParser) -> None:
    """`--init`, which takes a file beside the field's words."""
    parser.add_argument(
        "--init",
        default=argparse.SUPPRESS,
        metavar="|".join((*get_args(Init), "FILE")),
        help="where to start: the photograph, a first guess in one pass (AdaIN), white noise, "
        "noise with the style's colors, mid-gray, or a picture of your own, shrunk to the coarsest "
        "size (default: content)",
    )


def seconds(text: str) -> float:
    """Number of seconds, at least 0."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return seconds


def positive(text: str) -> int:
    """Whole number from 1 on."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return int(text)


def whole_numbers(text: str) -> tuple[int, ...]:
    """Whole numbers from 1 on, between commas."""
    return tuple(map(positive, text.split(",")))


def numbers(text: str) -> tuple[float, ...]:
    """Numbers between commas."""
    try:
        return tuple(float(item) for item in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers") from None


def _add_field(group: Any, field: dataclasses.Field, default: Any) -> None:
    flag = "--" + field.name.replace("_", "-")
    text = f"{field.metadata['help']} (default: {_shown(field.type, default)})".replace("%", "%%")
    keywords: dict[str, Any] = {"dest": field.name, "default": argparse.SUPPRESS, "help": text}
    if isinstance(field.default, bool):
        group.add_argument(flag, action=argparse.BooleanOptionalAction, **keywords)
    elif choices := get_args(field.type) if isinstance(field.default, str) else ():
        group.add_argument(flag, choices=choices, **keywords)
    else:
        group.add_argument(flag, metavar=_metavar(field), **keywords)


def _metavar(field: dataclasses.Field) -> str:
    if field.type is Layers:
        return "LAYER[=W],..."
    return "N,..." if get_origin(field.type) is tuple else "N"


def _shown(kind: Any, value: Any) -> str:
    """Default of a field as it would be typed."""
    if kind is Layers:
        return ",".join(name if w == 1 else f"{name}={w:g}" for name, w in value)
    if isinstance(value, tuple):
        return ",".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)
