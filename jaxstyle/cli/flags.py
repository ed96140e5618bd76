"""Flags made from the fields of `StyleConfig`, and types of flag values."""

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args, get_origin

from jaxstyle.config import Layers, StyleConfig, TileSize
from jaxstyle.options import Init, LogFormat, Platform
from jaxstyle.presets import PRESETS


def add_options(
    parser: argparse.ArgumentParser,
    *,
    without: Sequence[str] = (),
    start_file: bool = False,
    **defaults: Any,
) -> None:
    """Add a flag for each field of `StyleConfig`, and those that go with them.

    These are `--preset`, `--config`, `--weights` and `--platform`.

    Args:
      parser: parser of the command.
      without: fields of `StyleConfig` that the command does not use, or `preset`.
      start_file: whether `--init` takes an image file as well.
      defaults: fields that have another default in this command.
    """
    if "preset" not in without:
        parser.add_argument(
            "--preset",
            choices=PRESETS,
            default="default",
            help="named set of options; other flags override it",
        )
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="options from a file: .toml with lines such as style_weight = 20, .json written "
        "by --report, or an image made by jaxstyle; flags override them, and options that "
        "this command does not have are ignored",
    )
    parser.add_argument(
        "--weights",
        type=Path,
        metavar="FILE",
        help="VGG19 weights file to use instead of the built-in one",
    )
    add_platform(parser)
    note = "The defaults below apply without --preset. A preset changes some of them."
    basic = parser.add_argument_group("style transfer", None if "preset" in without else note)
    fields = [field for field in dataclasses.fields(StyleConfig) if field.name not in without]
    for field in fields:
        if field.name == "init" and start_file:
            _add_init(basic, field)
        elif not field.metadata["expert"]:
            _add_field(basic, field, defaults.get(field.name, field.default))
    expert_fields = [field for field in fields if field.metadata["expert"]]
    if expert_fields:
        expert = parser.add_argument_group("expert options", "Most users never need these.")
        for field in expert_fields:
            _add_field(expert, field, defaults.get(field.name, field.default))
    parser.set_defaults(**defaults)


def add_logging(parser: argparse.ArgumentParser) -> None:
    """Add `--quiet`, `--verbose` and `--log-format`."""
    level = parser.add_mutually_exclusive_group()
    level.add_argument("-q", "--quiet", action="store_true", help="print errors only")
    level.add_argument(
        "-v", "--verbose", action="store_true", help="print details: weights, devices, levels"
    )
    parser.add_argument(
        "--log-format",
        choices=get_args(LogFormat),
        default="text",
        help="json: one JSON object per event, on stdout (default: text)",
    )


def add_platform(parser: argparse.ArgumentParser) -> None:
    """Add `--platform`."""
    parser.add_argument(
        "--platform",
        choices=get_args(Platform),
        help="where to compute; it is an error if there is none (default: a TPU or GPU that JAX "
        "can use, else the CPU)",
    )


def seconds(text: str) -> float:
    """Parse a number of seconds, at least 0."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return seconds


def port(text: str) -> int:
    """Parse the number of a port."""
    if not text.isdecimal() or not 0 < int(text) < 2**16:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a port from 1 to 65535; without a port, give the flag last"
        )
    return int(text)


def positive(text: str) -> int:
    """Parse a whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def whole_numbers(text: str) -> tuple[int, ...]:
    """Parse comma-separated whole numbers of at least 1."""
    return tuple(map(positive, text.split(",")))


def numbers(text: str) -> tuple[float, ...]:
    """Parse comma-separated numbers."""
    try:
        return tuple(float(item) for item in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers") from None


def _add_init(group: Any, field: dataclasses.Field) -> None:
    group.add_argument(
        "--init",
        default=argparse.SUPPRESS,
        metavar="|".join((*get_args(Init), "FILE")),
        help=f"{field.metadata['help']}; or an image file, resampled to the first level "
        f"(default: {field.default})",
    )


def _add_field(group: Any, field: dataclasses.Field, default: Any) -> None:
    flag = "--" + field.name.replace("_", "-")
    text = f"{field.metadata['help']} (default: {_format(field.type, default)})"
    keywords: dict[str, Any] = {
        "dest": field.name,
        "default": argparse.SUPPRESS,
        "help": text.replace("%", "%%"),
    }
    if isinstance(field.default, bool):
        group.add_argument(flag, action=argparse.BooleanOptionalAction, **keywords)
    elif choices := get_args(field.type) if isinstance(field.default, str) else ():
        group.add_argument(flag, choices=choices, **keywords)
    else:
        group.add_argument(flag, metavar=_metavar(field), **keywords)


def _metavar(field: dataclasses.Field) -> str:
    if field.type is Layers:
        return "LAYER[=W],..."
    if field.type == TileSize:
        return "N|auto|none"
    return "N,..." if get_origin(field.type) is tuple else "N"


def _format(kind: Any, value: Any) -> str:
    """Format the default of a field as a user would type it."""
    if kind is Layers:
        return ",".join(name if w == 1 else f"{name}={w:g}" for name, w in value)
    if isinstance(value, tuple):
        return ",".join(map(str, value)) or "none"
    if value is None:
        return "auto"
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)
