"""The command line's arguments: every command and its flags.

Nothing heavy is imported before a command runs: `--help` and `--version` answer at once.
"""

import argparse
import dataclasses
from pathlib import Path
from typing import Any, NoReturn, get_args

from jaxstyle import __version__
from jaxstyle.cli.flags import add_init, add_options, numbers, positive, seconds, whole_numbers
from jaxstyle.config import StyleConfig
from jaxstyle.errors import ExitCode, one_line
from jaxstyle.options import NAME_TEMPLATE, LogFormat, Pairing


class Parser(argparse.ArgumentParser):
    """Errors are one line that names the program and the way out."""

    def error(self, message: str) -> NoReturn:
        self.exit(
            ExitCode.BAD_ARGUMENTS, f"jaxstyle: {one_line(message)} (see `{self.prog} --help`)\n"
        )


def make_parser() -> Parser:
    """The parser of `jaxstyle`; a command's `run` takes what it parsed."""
    parser = Parser(prog="jaxstyle", description="Repaint photographs in the style of paintings.")
    parser.add_argument("--version", action="version", version=f"jaxstyle {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    stylize = _command(commands, "stylize", "paint a photograph in the style of paintings")
    stylize.add_argument("content", metavar="CONTENT", type=Path, help="photograph")
    stylize.add_argument("styles", metavar="STYLE", type=Path, nargs="+", help="painting")
    stylize.add_argument(
        "--mask",
        metavar="FILE",
        type=Path,
        action="append",
        default=[],
        help="where a style acts: white there, black elsewhere, of the photograph's proportions; "
        "give one for each style, in their order",
    )
    stylize.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FOLDER",
        help="keep there where the run stands; the same command goes on from it",
    )
    stylize.add_argument(
        "--checkpoint-every",
        type=seconds,
        default=60.0,
        metavar="SECONDS",
        help="pace of checkpoints; one is also made at the end of each size (default: 60)",
    )
    add_init(stylize)
    _add_outputs(stylize)
    add_options(stylize, without=("init",))

    preview = _command(commands, "preview", "show a first guess in one pass (AdaIN)")
    preview.add_argument("content", metavar="CONTENT", type=Path, help="photograph")
    preview.add_argument("styles", metavar="STYLE", type=Path, nargs="+", help="painting")
    _add_output(preview)
    preview.add_argument(
        "--strength", type=float, default=1.0, help="of the style, from 0 to 1 (default: 1)"
    )
    # What presets differ in, one pass has no use for.
    preview.set_defaults(report=None, preview_every=None, preset="default")
    names = {"preset", *(field.name for field in dataclasses.fields(StyleConfig))}
    add_options(preview, without=tuple(names - {"size", "blend", "style_scale", "color"}))

    texture = _command(commands, "texture", "make a texture from paintings, without a photograph")
    texture.add_argument("styles", metavar="STYLE", type=Path, nargs="+", help="painting")
    texture.add_argument("--aspect", type=float, default=1.0, help="width over height (default: 1)")
    # There is no photograph to weigh, to start from, or to keep the colors of.
    _add_outputs(texture)
    absent = ("content_layers", "content_weight", "content_norm", "laplacian_weight", "color")
    add_options(texture, without=absent, init="statistics")

    reconstruct = _command(
        commands, "reconstruct", "show what layers know of a picture, as the papers' first figure"
    )
    reconstruct.add_argument("image", metavar="IMAGE", type=Path, help="picture")
    reconstruct.add_argument(
        "--layers", required=True, help="layers to read, e.g. relu4_2 or relu1_1,relu2_1"
    )
    reconstruct.add_argument(
        "--of",
        choices=("content", "style"),
        default="content",
        help="read features or their statistics (default: content)",
    )
    _add_outputs(reconstruct)
    add_options(
        reconstruct,
        without=("content_layers", "style_layers", "laplacian_weight", "color", "blend"),
        tv_weight=0.0,
        init="noise",
    )

    plan = _command(commands, "plan", "say what memory and time pictures will take")
    plan.add_argument(
        "--sizes",
        type=whole_numbers,
        default=(256, 512, 1024, 2048),
        metavar="N,...",
        help="long edges to plan for (default: 256,512,1024,2048)",
    )
    plan.add_argument("--aspect", type=float, default=1.5, help="width over height (default: 1.5)")
    add_options(plan, without=("size",))

    _add_layers(commands)
    score = _command(commands, "score", "measure a picture by what its making did not look at")
    score.add_argument("content", metavar="CONTENT", type=Path, help="photograph")
    score.add_argument("style", metavar="STYLE", type=Path, help="painting")
    score.add_argument("image", metavar="RESULT", type=Path, help="picture made of both")
    score.add_argument(
        "--size",
        type=positive,
        metavar="N",
        help="long edge to compare at (default: the picture's own, at most 512)",
    )
    score.add_argument("--weights", type=Path, metavar="FILE", help="VGG19 to use")

    _add_batch(commands)
    _add_weights(commands)
    return parser


def _command(commands: Any, name: str, text: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    parser.set_defaults(run=_run, command=name)
    return parser


def _run(args: argparse.Namespace) -> int:
    from jaxstyle.cli import commands

    return getattr(commands, args.command)(args)


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        help="picture to write, .png .jpg .webp or .tiff; - writes a PNG to stdout",
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="say nothing but errors")


def _add_outputs(parser: argparse.ArgumentParser) -> None:
    """Arguments of every command that makes one picture."""
    _add_output(parser)
    parser.add_argument(
        "--report", type=Path, metavar="FILE", help="write a JSON report of the run"
    )
    parser.add_argument(
        "--preview-every",
        type=seconds,
        metavar="SECONDS",
        help="write the picture so far to the output: after the first step, then at this pace",
    )


def _add_layers(commands: Any) -> None:
    layers = _command(commands, "layers", "show what layers hold, and what sets of them make")
    layers.add_argument("content", metavar="CONTENT", type=Path, help="photograph")
    layers.add_argument("style", metavar="STYLE", type=Path, help="painting")
    layers.add_argument("-o", "--output", type=Path, required=True, help="picture to write, a grid")
    layers.add_argument("--report", type=Path, metavar="FILE", help="write the scores as JSON")
    layers.add_argument(
        "--set",
        metavar="LAYER[=W],...",
        action="append",
        default=[],
        help="style layers to compare; give several (default: pairs from fine to coarse, the "
        "papers' five, and the preset's)",
    )
    layers.add_argument(
        "--style-weights",
        metavar="N,...",
        type=numbers,
        default=(3.0, 12.0, 50.0),
        help="weights of the style to compare (default: 3,12,50)",
    )
    layers.add_argument(
        "--reconstructions",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="show what each layer knows of photograph and painting (default: on)",
    )
    layers.add_argument(
        "--batch-size",
        type=positive,
        metavar="N",
        help="pictures at once (default: as memory allows; on a CPU 4 small ones)",
    )
    layers.add_argument("-q", "--quiet", action="store_true", help="say nothing but errors")
    layers.set_defaults(preview_every=None)
    add_options(
        layers, without=("style_layers", "style_weight", "blend", "color"), size=128, steps=(150,)
    )


def _add_batch(commands: Any) -> None:
    batch = _command(commands, "batch", "paint many photographs, and go on where a run was cut off")
    batch.add_argument(
        "contents",
        metavar="CONTENTS",
        help="photographs: a folder, a quoted glob, or a file; or a job file (.csv, .toml) with "
        "columns content, style, output, mask, preset and any option",
    )
    batch.add_argument(
        "styles", metavar="STYLES", nargs="?", help="paintings: a folder, a quoted glob, or a file"
    )
    batch.add_argument(
        "-o", "--output", type=Path, required=True, metavar="FOLDER", help="folder for the pictures"
    )
    batch.add_argument(
        "--pair",
        choices=get_args(Pairing),
        default="cross",
        help="every photograph in every style, or each in the style of its place (default: cross)",
    )
    batch.add_argument(
        "--name",
        default=NAME_TEMPLATE,
        help="names of the pictures, with {content} {ext} {style} {index} {size} {seed}; / makes "
        "folders (default: %(default)s)",
    )
    batch.add_argument(
        "--batch-size",
        type=positive,
        metavar="N",
        help="pictures at once on a device (default: as memory allows; on a CPU 4 small ones)",
    )
    batch.add_argument(
        "--shard", default="1/1", metavar="I/N", help="do part I of N, for N processes or hosts"
    )
    batch.add_argument("--overwrite", action="store_true", help="do again what is done")
    batch.add_argument("--dry-run", action="store_true", help="show the plan and do nothing")
    batch.add_argument(
        "--report",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="write report.html and contact sheets at the end (default: on)",
    )
    batch.add_argument(
        "--log-format", choices=get_args(LogFormat), default="text", help="json: events on stdout"
    )
    batch.add_argument("-q", "--quiet", action="store_true", help="say nothing but errors")
    add_init(batch)
    add_options(batch, without=("init",))


def _add_weights(commands: Any) -> None:
    weights = commands.add_parser(
        "weights", help="look at, check and convert VGG19's weights", description="VGG19's weights."
    )
    actions = weights.add_subparsers(title="actions", metavar="ACTION", required=True)
    info = _command(actions, "info", "say what a weights file holds and where it came from")
    info.set_defaults(command="weights_info")
    info.add_argument("file", type=Path, nargs="?", help="by default the one in use")
    verify = _command(actions, "verify", "check a weights file: shapes, values, checksums")
    verify.set_defaults(command="weights_verify")
    verify.add_argument("file", type=Path, nargs="?", help="by default the one in use")
    convert = _command(actions, "convert", "convert a Keras file (.h5, .weights.h5) of VGG19")
    convert.set_defaults(command="weights_convert")
    convert.add_argument("source", metavar="SOURCE", type=Path, help="file of Keras")
    convert.add_argument("output", metavar="OUT", type=Path, help="file to write, .h5")
    convert.add_argument("--dtype", choices=("float16", "float32"), default="float16")
    convert.add_argument(
        "--normalize",
        metavar="IMAGE",
        type=Path,
        nargs="+",
        default=[],
        help="scale every filter to a mean activation of 1 over these pictures",
    )
