"""The command line's arguments: every command and its flags, without importing JAX."""

import argparse
import dataclasses
from pathlib import Path
from typing import Any, get_args

from jaxstyle import __version__
from jaxstyle.cli.arguments import Parser
from jaxstyle.cli.completion import SHELLS, completion_script
from jaxstyle.cli.flags import (
    add_batch_size,
    add_content,
    add_distributed,
    add_live,
    add_logging,
    add_max_pixels,
    add_options,
    add_output,
    add_outputs,
    add_platform,
    add_styles,
    clock_time,
    numbers,
    positive,
    rate,
    seconds,
    weight,
    whole_numbers,
)
from jaxstyle.config import StyleConfig
from jaxstyle.errors import ExitCode
from jaxstyle.io.formats import FORMATS
from jaxstyle.options import NAME_TEMPLATE, Engine, Pairing
from jaxstyle.reporting import print_product


def make_parser() -> Parser:
    """Return the parser of `jaxstyle`. The parsed arguments have a function `run`."""
    codes = ", ".join(f"{code.value} {code.name.lower().replace('_', ' ')}" for code in ExitCode)
    parser = Parser(
        prog="jaxstyle",
        description="Repaint photographs in the style of paintings.",
        epilog=f"Exit codes: {codes}. JAXSTYLE_DEBUG=1 shows where an error comes from.",
    )
    parser.add_argument("--version", action="version", version=f"jaxstyle {__version__}")
    commands = parser.add_commands("commands", "COMMAND")
    for add in (
        _add_stylize,
        _add_preview,
        _add_texture,
        _add_reconstruct,
        _add_batch,
        _add_video,
        _add_rerun,
        _add_layers,
        _add_score,
        _add_plan,
        _add_weights,
        _add_completion,
    ):
        add(commands)
    return parser


def _add_command(commands: Any, name: str, text: str) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    parser.set_defaults(run=_run, command=name)
    return parser


def _run(args: argparse.Namespace) -> int:
    from jaxstyle.cli import commands

    return commands.run(args)


def _add_stylize(commands: Any) -> None:
    parser = _add_command(commands, "stylize", "repaint a photograph in the style of paintings")
    add_content(parser)
    add_styles(parser)
    parser.add_argument(
        "--mask",
        metavar="FILE",
        type=Path,
        action="append",
        default=[],
        help="region of a style image: white inside, black outside, in the proportions of the "
        "content image; give one --mask per style image, in the same order",
    )
    parser.add_argument(
        "--checkpoint",
        type=Path,
        metavar="FOLDER",
        help="save checkpoints in this folder; the same command resumes from them",
    )
    parser.add_argument(
        "--checkpoint-every",
        type=seconds,
        default=60.0,
        metavar="SECONDS",
        help="interval of checkpoints; each level ends with one too (default: 60)",
    )
    parser.add_argument(
        "--compare",
        type=Path,
        metavar="FILE",
        help="write content image, style images with their masks, and result side by side: "
        f"{', '.join(FORMATS)}",
    )
    add_distributed(
        parser,
        "split the rows of the image over the devices of several processes, all started with this "
        "command; the first one writes and reports",
    )
    add_max_pixels(parser)
    add_outputs(parser)
    add_options(parser, start_file=True)


def _add_preview(commands: Any) -> None:
    parser = _add_command(commands, "preview", "approximate a result in one pass (AdaIN)")
    add_content(parser)
    add_styles(parser)
    add_max_pixels(parser)
    add_output(parser)
    parser.add_argument(
        "--strength",
        type=float,
        default=1.0,
        help="strength of the style, from 0 to 1 (default: 1)",
    )
    # One pass uses few options, and none of those in which the presets differ.
    parser.set_defaults(preset="default")
    names = {"preset", *(field.name for field in dataclasses.fields(StyleConfig))}
    add_options(parser, without=tuple(names - {"size", "blend", "style_scale", "color"}))


def _add_texture(commands: Any) -> None:
    parser = _add_command(commands, "texture", "make a texture from style images alone")
    add_styles(parser)
    parser.add_argument("--aspect", type=float, default=1.0, help="width over height (default: 1)")
    add_max_pixels(parser)
    add_outputs(parser)
    content_fields = (
        "content_layers", "content_weight", "content_norm", "laplacian_weight", "color"
    )  # fmt: skip
    add_options(parser, without=content_fields, init="statistics")


def _add_reconstruct(commands: Any) -> None:
    parser = _add_command(commands, "reconstruct", "reconstruct an image from single layers")
    parser.add_argument("image", metavar="IMAGE", type=Path, help="image to reconstruct")
    parser.add_argument(
        "--layers", required=True, help="layers to match, e.g. relu4_2 or relu1_1,relu2_1"
    )
    parser.add_argument(
        "--of",
        choices=("content", "style"),
        default="content",
        help="match the features, or their statistics (default: content)",
    )
    add_max_pixels(parser)
    add_outputs(parser)
    add_options(
        parser,
        without=("content_layers", "style_layers", "laplacian_weight", "color", "blend"),
        tv_weight=0.0,
        init="noise",
    )


def _add_plan(commands: Any) -> None:
    parser = _add_command(commands, "plan", "estimate the memory and time of a run")
    parser.add_argument(
        "--sizes",
        type=whole_numbers,
        default=(256, 512, 1024, 2048),
        metavar="N,...",
        help="long edges to estimate (default: 256,512,1024,2048)",
    )
    parser.add_argument(
        "--aspect", type=float, default=1.5, help="width over height (default: 1.5)"
    )
    parser.add_argument(
        "--device",
        metavar="NAME",
        help="predict for an accelerator that need not be there: v5e, v6e, h100, a100 or t4; "
        "compiles for it if the extra tpu or cuda is installed, else uses recorded programs",
    )
    parser.add_argument(
        "--price",
        type=float,
        metavar="N",
        help="price of one --device per hour; shows the price of 1000 images",
    )
    add_logging(parser)
    add_options(parser, without=("size",))


def _add_score(commands: Any) -> None:
    parser = _add_command(commands, "score", "score a result on layers that its loss does not use")
    add_content(parser)
    parser.add_argument("style", metavar="STYLE", type=Path, help="style image")
    parser.add_argument("image", metavar="RESULT", type=Path, help="image made from both")
    parser.add_argument(
        "--size",
        type=positive,
        metavar="N",
        help="long edge at which to compare (default: the result's own, at most 512)",
    )
    parser.add_argument("--weights", type=Path, metavar="FILE", help="VGG19 weights file to use")
    add_platform(parser)
    add_max_pixels(parser)
    add_logging(parser)


def _add_layers(commands: Any) -> None:
    parser = _add_command(commands, "layers", "show what layers hold, and compare sets of them")
    add_content(parser)
    parser.add_argument("style", metavar="STYLE", type=Path, help="style image")
    parser.add_argument("-o", "--output", type=Path, required=True, help="image to write, a grid")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the scores as JSON")
    parser.add_argument(
        "--set",
        metavar="LAYER[=W],...",
        action="append",
        default=[],
        help="style layers to compare; may be given several times (default: pairs of neighboring "
        "layers, the five of Gatys et al., and those of the preset)",
    )
    parser.add_argument(
        "--style-weights",
        metavar="N,...",
        type=numbers,
        default=(3.0, 12.0, 50.0),
        help="style weights to compare (default: 3,12,50)",
    )
    parser.add_argument(
        "--reconstructions",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="show reconstructions from single layers (default: on)",
    )
    add_batch_size(parser)
    add_max_pixels(parser)
    add_logging(parser)
    add_options(
        parser, without=("style_layers", "style_weight", "blend", "color"), size=128, steps=(150,)
    )


def _add_batch(commands: Any) -> None:
    parser = _add_command(commands, "batch", "repaint many photographs; resumes after a stop")
    parser.add_argument(
        "contents",
        metavar="CONTENTS",
        help="content images: a folder, a quoted glob, or a file; or a job file (.csv, .toml) "
        "with columns content, style, output, mask, preset and any option",
    )
    parser.add_argument(
        "styles",
        metavar="STYLES",
        nargs="?",
        help="style images: a folder, a quoted glob, or a file",
    )
    parser.add_argument(
        "-o", "--output", required=True, metavar="FOLDER", help="folder for the results, or its URL"
    )
    parser.add_argument(
        "--pair",
        choices=get_args(Pairing),
        default="cross",
        help="cross: all pairs; each: the first content with the first style, and so on "
        "(default: cross)",
    )
    parser.add_argument(
        "--name",
        default=NAME_TEMPLATE,
        help="file names of the results, with {content} {style} {ext} {folder} {index} {size} "
        "{seed}; / makes folders. {folder} is the content image's folder below CONTENTS or the "
        "job file, . at the top: {folder}/{content}_{style}.png keeps the folders of a search "
        "with **. {index:04} sets a width, {content:.40} a length (default: %(default)s)",
    )
    add_batch_size(parser)
    add_max_pixels(parser)
    parser.add_argument(
        "--shard",
        metavar="I/N",
        help="do part I of N, for N processes or hosts (default: what SLURM or JAX says, else "
        "everything)",
    )
    add_distributed(parser, "do one part of the jobs in each of several processes")
    parser.add_argument(
        "--engine",
        choices=get_args(Engine),
        default="local",
        help="local: this process; ray: the workers of a Ray cluster, which see the same files "
        "under the same paths (default: local)",
    )
    parser.add_argument(
        "--address",
        metavar="auto|HOST:PORT",
        help="for --engine ray: the cluster to use (default: a new one of this machine alone)",
    )
    parser.add_argument(
        "--workers",
        type=positive,
        metavar="N",
        help="for --engine ray: number of workers (default: one for each GPU or TPU, or for each "
        "machine if there is none)",
    )
    parser.add_argument("--overwrite", action="store_true", help="do all jobs again")
    parser.add_argument("--dry-run", action="store_true", help="show the plan and do nothing")
    parser.add_argument(
        "--report",
        dest="write_report",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="write report.html and contact sheets at the end (default: on)",
    )
    add_live(parser)
    add_logging(parser)
    add_options(parser, start_file=True)


def _add_video(commands: Any) -> None:
    parser = _add_command(commands, "video", "repaint a video, with frames that agree")
    parser.add_argument(
        "clip",
        metavar="CLIP",
        type=Path,
        help="video (MP4, MOV, WebM, GIF, ...), or a folder of its frames",
    )
    add_styles(parser)
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        help="video to write: .mp4, .mov, .webm, .gif or .webp; without a suffix, a folder of "
        "frames. Frames are kept in OUTPUT.frames until it is written: the same command goes on "
        "where one ended",
    )
    parser.add_argument(
        "--mask",
        action="append",
        type=Path,
        default=[],
        metavar="FILE",
        help="where a style applies, once for each style: an image, or a video or folder with a "
        "mask for each frame",
    )
    _add_clip(parser)
    parser.add_argument(
        "--report",
        type=Path,
        metavar="FILE",
        help="write a page with frames and curves (.html), or the numbers (.json)",
    )
    parser.add_argument(
        "--keep-frames", action="store_true", help="keep the folder of frames when done"
    )
    add_live(parser)
    add_logging(parser)
    add_options(parser)


def _add_clip(parser: argparse.ArgumentParser) -> None:
    """Add which frames of a video are painted, and how."""
    parser.add_argument(
        "--from",
        dest="start",
        type=clock_time,
        default=0.0,
        metavar="TIME",
        help="start, in seconds or as 0:02 (default: 0)",
    )
    parser.add_argument("--to", dest="end", type=clock_time, metavar="TIME", help="end")
    parser.add_argument(
        "--fps",
        type=rate,
        metavar="N",
        help="frames per second (default: as the video; 25 for a folder)",
    )
    parser.add_argument(
        "--every",
        type=positive,
        default=1,
        metavar="N",
        help="paint one frame of N; the video keeps its speed (default: 1)",
    )
    parser.add_argument(
        "--frame-steps",
        type=positive,
        default=15,
        metavar="N",
        help="steps of each frame but the first of a shot (default: %(default)s)",
    )
    parser.add_argument(
        "--temporal-weight",
        type=weight,
        default=1500.0,
        metavar="W",
        help="weight of the loss that keeps frames alike (default: %(default)g)",
    )
    parser.add_argument(
        "--passes",
        type=positive,
        default=1,
        metavar="N",
        help="paint all frames N times, in turn after the frames before and behind them, so that "
        "the first frame does not rule (default: 1)",
    )
    parser.add_argument(
        "--fast",
        action="store_true",
        help="one pass of the network per frame (AdaIN) instead of the optimization, in seconds",
    )


def _add_rerun(commands: Any) -> None:
    parser = _add_command(commands, "rerun", "make an image again from its metadata, and compare")
    parser.add_argument("picture", metavar="IMAGE", type=Path, help="image made by jaxstyle")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        help="image to write (default: only show the inputs, what differs, and the command)",
    )
    parser.add_argument(
        "--search",
        type=Path,
        metavar="FOLDER",
        action="append",
        default=[],
        help="folder to search for the inputs, with the folders below it; may be given several "
        "times. The folders of the image and of this command are always searched. A file must "
        "have the recorded name and SHA-256",
    )
    for role, text in (
        ("content", "content image to use, whatever its name and SHA-256"),
        ("style", "style image to use; give all of them, in the order of the run"),
        ("mask", "mask to use; give all of them, in the order of the run"),
        ("start", "image to start from"),
    ):
        parser.add_argument(
            f"--{role}", type=Path, metavar="FILE", action="append", default=[], help=text
        )
    parser.add_argument(
        "--weights",
        type=Path,
        metavar="FILE",
        help="VGG19 weights file to use instead of the recorded one",
    )
    add_platform(parser)
    add_max_pixels(parser)
    add_logging(parser)


def _add_completion(commands: Any) -> None:
    parser = _add_command(commands, "completion", "print a script of shell completion")
    parser.add_argument("shell", metavar="SHELL", choices=tuple(SHELLS), help="bash, zsh or fish")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    lines = [f"  jaxstyle completion {shell} > {path}" for shell, path in SHELLS.items()]
    parser.epilog = "\n".join(["Install the script once; it starts no program:", *lines])
    parser.set_defaults(run=_print_completion)


def _print_completion(args: argparse.Namespace) -> int:
    print_product(completion_script(make_parser(), args.shell))
    return ExitCode.OK


def _add_weights(commands: Any) -> None:
    weights = commands.add_parser(
        "weights", help="show, check and convert VGG19's weights", description="VGG19's weights."
    )
    actions = weights.add_commands("actions", "ACTION")
    info = _add_command(actions, "info", "show what a weights file holds and where it came from")
    info.set_defaults(command="weights_info")
    info.add_argument("file", type=Path, nargs="?", help="weights file (default: the one in use)")
    verify = _add_command(actions, "verify", "check a weights file: shapes, values, checksums")
    verify.set_defaults(command="weights_verify")
    verify.add_argument("file", type=Path, nargs="?", help="weights file (default: the one in use)")
    convert = _add_command(actions, "convert", "convert a Keras file (.h5, .weights.h5) of VGG19")
    convert.set_defaults(command="weights_convert")
    convert.add_argument("source", metavar="SOURCE", type=Path, help="Keras weights file")
    convert.add_argument("output", metavar="OUT", type=Path, help="file to write, .h5")
    convert.add_argument("--dtype", choices=("float16", "float32"), default="float16")
    convert.add_argument(
        "--normalize",
        metavar="IMAGE",
        type=Path,
        nargs="+",
        default=[],
        help="scale every filter to a mean activation of 1 over these images",
    )
    add_max_pixels(convert)
