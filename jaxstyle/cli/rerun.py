"""`jaxstyle rerun`: make an image again from the metadata that it carries, and compare both."""

import argparse
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from jaxstyle import __version__
from jaxstyle.cli.context import Options
from jaxstyle.cli.rerun_command import make_command
from jaxstyle.cli.rerun_inputs import Input, check_found, find_inputs, find_weights
from jaxstyle.cli.run_job import STDOUT
from jaxstyle.errors import ExitCode, printable
from jaxstyle.io import images
from jaxstyle.io.fields import FIELDS
from jaxstyle.io.formats import MAX_PIXELS
from jaxstyle.io.origin import Origin, read_origin
from jaxstyle.io.provenance import package_versions
from jaxstyle.io.weights import weights_path
from jaxstyle.options import Platform
from jaxstyle.reporting import Reporter

_PLACEHOLDER = Path("NEW.png")
_MAX_NAME = 80


@dataclass(frozen=True, kw_only=True)
class RerunOptions(Options):
    """Options of `jaxstyle rerun`.

    Attributes:
      picture: the image to repeat.
      output: image to write, or `None` to show what would be done.
      search: folders to search for inputs, with the folders below them.
      content: content image to use, as a list of at most one.
      style: style images to use.
      mask: masks to use.
      start: image to start from, as a list of at most one.
      platform: where to compute, or `None` for JAX's choice.
      max_pixels: largest image that is read.
    """

    picture: Path
    output: Path | None = None
    search: Sequence[Path] = ()
    content: Sequence[Path] = ()
    style: Sequence[Path] = ()
    mask: Sequence[Path] = ()
    start: Sequence[Path] = ()
    platform: Platform | None = None
    max_pixels: int = MAX_PIXELS


def rerun(
    options: RerunOptions,
    parse: Callable[[list[str]], argparse.Namespace],
    run: Callable[[argparse.Namespace], int],
) -> int:
    """Run the command that made an image again; without an output, show what it would be.

    Args:
      options: options of the command.
      parse: parses the arguments of a command.
      run: runs a command from its parsed arguments.

    Raises:
      ImageReadError: the image or an input cannot be found or read.
      ValueError: the image carries no metadata, or the metadata is damaged.
    """
    picture, output = options.picture, options.output
    origin = read_origin(picture)
    given = {role: getattr(options, role) for role in ("content", "style", "mask", "start")}
    folders = [picture.parent, Path(), *options.search]
    inputs = find_inputs(origin, given, folders)
    weights = find_weights(origin, options.weights, folders)
    command = make_command(origin, _paths_by_role(inputs, weights), picture, output or _PLACEHOLDER)
    device = jax.local_devices()[0].device_kind
    differences = list(describe_differences(origin, [*inputs, weights], device))
    if output is None:
        with options.reporter() as reporter:
            _show(reporter, origin, [*inputs, weights], differences, command)
        check_found(inputs)
        return ExitCode.OK
    check_found(inputs)
    if output == STDOUT:
        raise ValueError("`--output` needs a file to compare, not stdout.")
    if output.exists() and output.samefile(picture):
        raise ValueError(f"{output} is the image to repeat; give the new one another name.")
    before = _read_pixels(picture)
    with options.reporter() as reporter:
        for text in differences:
            reporter.note(text)
    args = parse([command[0], *_passed_on(options), *command[1:]])
    # Also options that the command sets itself, such as the style weight of `layers`.
    args.configured = origin.config
    if code := run(args):
        return code
    with options.reporter() as reporter:
        fields = compare(before, _read_pixels(output))
        formats = [images.FORMATS.get(path.suffix.lower()) for path in (output, picture)]
        also = "" if formats[0] == formats[1] or fields["same"] else ", which has another format"
        reporter.row(f"{output}: {_describe(fields)} {picture}{also}", **fields)
    return ExitCode.OK


def describe_differences(origin: Origin, inputs: Sequence[Input], device: str) -> Iterator[str]:
    """Yield a line for everything that is not as in a recorded run, and that may change its result.

    Args:
      origin: the record.
      inputs: its inputs and weights, as they were found.
      device: kind of the device that computes now.
    """
    for item in inputs:
        if item.path is not None and item.note:
            yield f"{item.role}: {item.path} {item.note} {printable(item.recorded['file'])!r}"
    if origin.jaxstyle != __version__:
        yield f"made with jaxstyle {origin.jaxstyle}, now {__version__}"
    # What was not recorded may not have existed; tiles are recorded only if there were any.
    absent = sorted({*FIELDS} - {*origin.config, "tile"})
    if absent:
        yield f"not recorded, so at their defaults: {', '.join(absent)}"
    now = package_versions()
    for name, version in origin.versions.items():
        if now.get(name, version) != version:
            yield f"made with {name} {version}, now {now[name]}"
    recorded = origin.details.get("device", device)
    if recorded != device:
        yield f"made on {printable(recorded, _MAX_NAME)}, now on {device}"
    step = origin.details.get("step")
    if isinstance(step, int):
        yield f"the image shows step {step} of a run that was stopped; the new one is complete"


def compare(before: UInt8[ndarray, "..."], after: UInt8[ndarray, "..."]) -> dict[str, Any]:
    """Return how two images differ.

    Returns:
      `same`; and if they differ, the mean and the largest difference of their values, from 0 to
      255, or their sizes.

    Example:
      >>> import numpy as np
      >>> from jaxstyle.cli.rerun import compare
      >>> compare(np.zeros((2, 1, 3), np.uint8), np.full((2, 1, 3), 2, np.uint8))
      {'same': False, 'mean': 2.0, 'largest': 2}
    """
    if before.shape != after.shape:
        sizes = [[*image.shape[1::-1], image.shape[2]] for image in (after, before)]
        return {"same": False, "size": sizes[0], "recorded_size": sizes[1]}
    difference = np.abs(after.astype(np.int16) - before.astype(np.int16))
    if not difference.any():
        return {"same": True}
    return {"same": False, "mean": float(difference.mean()), "largest": int(difference.max())}


def _describe(fields: dict[str, Any]) -> str:
    if fields["same"]:
        return "same pixels as"
    if "size" in fields:
        size, recorded = (_describe_size(*fields[name]) for name in ("size", "recorded_size"))
        return f"differs: {size} instead of {recorded}, from"
    return f"differs: mean {fields['mean']:.3g}, at most {fields['largest']} (of 255), from"


def _describe_size(width: int, height: int, channels: int) -> str:
    return f"{width}x{height}{' with transparency' if channels == 4 else ''}"


def _read_pixels(path: Path) -> UInt8[ndarray, "h w c"]:
    return np.round(images.read_image(path, alpha=True) * 255).astype(np.uint8)


def _paths_by_role(inputs: Sequence[Input], weights: Input) -> dict[str, list[Path]]:
    """Return the files of a run; those that are missing have their recorded name alone."""
    paths: dict[str, list[Path]] = {}
    for item in inputs:
        paths.setdefault(item.role, []).append(item.path or Path(item.recorded["file"]))
    if weights.path is not None and weights.path != weights_path(None):
        paths["weights"] = [weights.path]
    return paths


def _show(
    reporter: Reporter,
    origin: Origin,
    inputs: Sequence[Input],
    differences: Sequence[str],
    command: Sequence[str],
) -> None:
    """Print what a run would be."""
    text = f"made by `jaxstyle {origin.command}`, jaxstyle {origin.jaxstyle}"
    reporter.row(text, command=origin.command, jaxstyle=origin.jaxstyle)
    for item in inputs:
        name, found = item.recorded["file"], item.note if item.path is None else str(item.path)
        reporter.row(
            f"  {item.role:8} {printable(name)}: {found}",
            role=item.role,
            **item.recorded,
            path=None if item.path is None else str(item.path),
            same=not item.note,
        )
    for text in differences:
        reporter.row(f"  differs  {text}", difference=text)
    line = shlex.join(["jaxstyle", *command])
    reporter.row(f"  run      {line}", arguments=list(command))


def _passed_on(options: RerunOptions) -> list[str]:
    """Return the flags of this command that the repeated one gets too."""
    words = [f"--max-pixels={options.max_pixels}", f"--log-format={options.log_format}"]
    words += [f"--platform={options.platform}"] if options.platform else []
    words += ["--quiet"] if options.quiet else []
    words += ["--verbose"] if options.verbose else []
    return words
