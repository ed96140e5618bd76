"""Flags of several commands, flags made from the fields of `StyleConfig`, and their types."""

import argparse
import dataclasses
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, get_args, get_origin

from jaxstyle.config import Layers, StyleConfig, TileSize
from jaxstyle.io.formats import MAX_PIXELS, describe_animations, describe_formats
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


def add_content(parser: argparse.ArgumentParser) -> None:
    """Add the content image of a command."""
    parser.add_argument(
        "content", metavar="CONTENT", type=Path, help="content image; - reads it from stdin"
    )


def add_styles(parser: argparse.ArgumentParser) -> None:
    """Add the style images of a command."""
    parser.add_argument("styles", metavar="STYLE", type=Path, nargs="+", help="style image")


def add_output(parser: argparse.ArgumentParser) -> None:
    """Add the image that a command writes, and `add_logging`."""
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        help="image to write: .png, .jpg, .webp or .tiff; - writes a PNG to stdout",
    )
    add_logging(parser)


def add_outputs(parser: argparse.ArgumentParser) -> None:
    """Add the output flags of the commands that optimize one image."""
    add_output(parser)
    parser.add_argument(
        "--report", type=Path, metavar="FILE", help="write a JSON report of the run"
    )
    parser.add_argument(
        "--preview-every",
        type=seconds,
        metavar="SECONDS",
        help="write the current image to the output after the first step, then at this interval",
    )
    parser.add_argument(
        "--timelapse",
        type=Path,
        metavar="FILE",
        help=f"write an animation of the run, 6 to 10 s long: {describe_animations()}",
    )
    add_live(parser)


def add_live(parser: argparse.ArgumentParser) -> None:
    """Add `--live`."""
    parser.add_argument(
        "--live",
        nargs="?",
        type=port,
        const=0,
        metavar="PORT",
        help="show the run on a web page for browsers on this machine, at the address that is "
        "printed (default port: a free one)",
    )


def add_max_pixels(parser: argparse.ArgumentParser) -> None:
    """Add `--max-pixels`."""
    parser.add_argument(
        "--max-pixels",
        type=positive,
        default=MAX_PIXELS,
        metavar="N",
        help="largest image to read, in pixels; larger ones need more memory (default: "
        "%(default)s; less for formats that need more memory)",
    )
    parser.epilog = describe_formats()


def add_distributed(parser: argparse.ArgumentParser, text: str) -> None:
    """Add `--distributed`; `text` says what the processes do."""
    parser.add_argument(
        "--distributed",
        metavar="auto|HOST:PORT,I/N",
        help=f"{text}. auto: as SLURM, Open MPI, Kubernetes or a TPU slice says; HOST:PORT,I/N: "
        "this is process I of N, and the first one listens on this port of its host",
    )


def add_batch_size(parser: argparse.ArgumentParser) -> None:
    """Add `--batch-size`."""
    parser.add_argument(
        "--batch-size",
        type=positive,
        metavar="N",
        help="images to compute together on each device (default: as many as memory allows; on a "
        "CPU 4 of up to 256x256 pixels, else 1)",
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


def weight(text: str) -> float:
    """Parse the weight of a loss."""
    try:
        return seconds(text)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of at least 0") from error


def clock_time(text: str) -> float:
    """Parse a time in a video, as seconds or `[H:]M:S`.

    Example:
      >>> clock_time("2.5"), clock_time("1:02")
      (2.5, 62.0)
    """
    total = 0.0
    for part in text.split(":"):
        total = 60 * total + seconds(part)
    return total


def rate(text: str) -> Fraction:
    """Parse a number of frames per second, such as `25` or `30000/1001`."""
    try:
        value = Fraction(text)
    except (ValueError, ZeroDivisionError):
        value = Fraction(0)
    if not 0 < value <= 240:
        raise argparse.ArgumentTypeError(f"{text!r} is not a frame rate of at most 240")
    return value


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
