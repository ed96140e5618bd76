"""What each command does, once its arguments are parsed."""

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import Any, get_args

import jax
import numpy as np

from jaxstyle import pyramid, transfer, vgg19
from jaxstyle.analysis.cost import (
    available_bytes,
    estimate_cost,
    peak_process_bytes,
    time_pixel_step,
)
from jaxstyle.batch.jobs import Defaults, check_jobs, find_pictures, pair, read_job_file
from jaxstyle.batch.ledger import Shard
from jaxstyle.cli import layers as study_command
from jaxstyle.cli.batch import run_batch
from jaxstyle.cli.run_job import check_outputs, paint_file, write_picture
from jaxstyle.config import StyleConfig, parse_value
from jaxstyle.errors import ExitCode, WeightsError
from jaxstyle.host import enable_compilation_cache
from jaxstyle.io import images, weights
from jaxstyle.io.atomic import check_output, file_sha256
from jaxstyle.io.inputs import check_proportions, read_mask, read_style
from jaxstyle.io.keras import from_keras
from jaxstyle.io.provenance import file_id, input_ids, metadata, provenance
from jaxstyle.options import Init
from jaxstyle.presets import PRESETS

# Memory of a step on a CPU, by that of the compiler's analysis: convolutions pack what they read.
_PACKED = 1.1


def config_of(args: argparse.Namespace) -> StyleConfig:
    """The preset, with the flags that were given on top.

    Raises:
      ValueError: a flag's value is not of its type, or outside its range.
    """
    return dataclasses.replace(PRESETS[args.preset], **flags_of(args))


def flags_of(args: argparse.Namespace) -> dict[str, Any]:
    """Fields of `StyleConfig` that were given as flags."""
    names = [f.name for f in dataclasses.fields(StyleConfig) if f.name in args]
    values = ((name, getattr(args, name)) for name in names)
    return {n: parse_value(n, value) if isinstance(value, str) else value for n, value in values}


def stylize(args: argparse.Namespace) -> int:
    """`jaxstyle stylize CONTENT STYLE... -o OUT`."""
    start_path = _start_file(args)
    config = config_of(args)
    inputs = {
        "content": [args.content],
        "style": args.styles,
        "mask": args.mask,
        "start": [] if start_path is None else [start_path],
    }
    check_outputs(args, inputs)
    if args.mask and len(args.mask) != len(args.styles):
        raise ValueError(
            f"{len(args.mask)} masks for {len(args.styles)} styles; give one --mask for each."
        )
    content = images.read_image(args.content, config.size, alpha=True)
    content, alpha = content[..., :3], content[..., 3:]
    height, width = content.shape[:2]
    styles = [read_style(path, (height, width), config) for path in args.styles]
    masks = [read_mask(path, (height, width)) for path in args.mask]
    start = None if start_path is None else images.read_image(start_path)
    if start_path is not None and start is not None:
        check_proportions(start_path, start.shape, (height, width))
    return paint_file(
        args,
        config,
        inputs,
        (height, width),
        lambda params, callback, resume: transfer.stylize(
            params,
            content,
            styles,
            config,
            callback=callback,
            start=start,
            masks=np.stack(masks) if masks else None,
            resume=resume,
        ),
        alpha=alpha if alpha.size else None,
    )


def preview(args: argparse.Namespace) -> int:
    """`jaxstyle preview CONTENT STYLE... -o OUT`."""
    config = dataclasses.replace(config_of(args), init="adain")
    inputs = {"content": [args.content], "style": args.styles}
    check_outputs(args, inputs)
    if not 0 <= args.strength <= 1:
        raise ValueError(f"`--strength` is {args.strength}; it must be between 0 and 1.")
    content = images.read_image(args.content, config.size, alpha=True)
    content, alpha = content[..., :3], content[..., 3:]
    shape = content.shape[:2]
    if str(args.output) != "-":
        images.check_picture(args.output, shape)
    styles = [read_style(path, shape, config) for path in args.styles]
    enable_compilation_cache()
    weights_id = file_id(weights.weights_path(args.weights))
    origin = provenance(args.command, config, input_ids(inputs), weights_id)
    origin |= {"strength": args.strength}
    params = weights.load_weights(args.weights, decoder=True)
    image = transfer.preview(params, content, styles, config, strength=args.strength)
    write_picture(args.output, np.concatenate([image, alpha], axis=-1), metadata(origin))
    if not args.quiet:
        print(f"{args.output}: {shape[1]}x{shape[0]}, in one pass", file=sys.stderr)
    return ExitCode.OK


def texture(args: argparse.Namespace) -> int:
    """`jaxstyle texture STYLE... -o OUT`."""
    config = transfer.texture_config(config_of(args))
    inputs = {"style": args.styles}
    check_outputs(args, inputs)
    _check_aspect(args.aspect)
    shape = pyramid.fit_shape((1, args.aspect), config.size)
    styles = [read_style(path, shape, config) for path in args.styles]
    return paint_file(
        args,
        config,
        inputs,
        shape,
        lambda params, callback, _: transfer.synthesize_texture(
            params, styles, config, callback=callback, shape=shape
        ),
    )


def reconstruct(args: argparse.Namespace) -> int:
    """`jaxstyle reconstruct IMAGE --layers LAYERS -o OUT`."""
    layers = parse_value("content_layers", args.layers)
    config = transfer.reconstruction_config(config_of(args), layers, of=args.of)
    inputs = {args.of: [args.image]}
    check_outputs(args, inputs)
    image = images.read_image(args.image, config.size)
    height, width = image.shape[:2]
    return paint_file(
        args,
        config,
        inputs,
        (height, width),
        lambda params, callback, _: transfer.reconstruct(
            params, image, layers, config, callback=callback, of=args.of
        ),
    )


def plan(args: argparse.Namespace) -> int:
    """`jaxstyle plan`."""
    config = config_of(args)
    configs = [dataclasses.replace(config, size=size) for size in args.sizes]
    _check_aspect(args.aspect)
    for config in configs:
        pyramid.levels((1, args.aspect), config)
    enable_compilation_cache()
    params = weights.load_weights(args.weights)
    shapes = [pyramid.fit_shape((1, args.aspect), config.size) for config in configs]
    # What a run has taken when its program is compiled, and nothing painted.
    estimate_cost(params, shapes[0], configs[0], 0.0)
    own_bytes = peak_process_bytes()
    pixel_seconds = time_pixel_step(params, configs[0])
    device = f"{jax.devices()[0].device_kind}, {available_bytes() / 2**30:.1f} GiB free"
    print(f"{'picture':>11} {'steps':>6} {'memory':>9} {'time':>8}   ({device})")
    for shape, config in zip(shapes, configs, strict=True):
        found = estimate_cost(params, shape, config, pixel_seconds)
        steps = sum(count for _, count in found.levels)
        total_bytes = own_bytes + _PACKED * found.bytes if own_bytes else found.bytes
        print(
            f"{shape[1]:>6}x{shape[0]:<4} {steps:>6} {total_bytes / 2**30:>5.2f} GiB "
            f"{found.seconds / 60:>4.1f} min",
            flush=True,
        )
    return ExitCode.OK


def _check_aspect(aspect: float) -> None:
    if not 1 / 64 <= aspect <= 64:
        raise ValueError(f"`--aspect` is {aspect}; it must be between 1/64 and 64.")


def layers(args: argparse.Namespace) -> int:
    """`jaxstyle layers CONTENT STYLE -o OUT`."""
    return study_command.layers(args, config_of(args))


def score(args: argparse.Namespace) -> int:
    """`jaxstyle score CONTENT STYLE RESULT`."""
    return study_command.score(args)


def _start_file(args: argparse.Namespace) -> Path | None:
    """File given as `--init`, which is then taken out of the flags."""
    value = getattr(args, "init", None)
    if value is None or value in get_args(Init):
        return None
    path = Path(value)
    if not path.exists() and not path.suffix:
        raise ValueError(f"`init` is {value!r}; it must be {', '.join(get_args(Init))} or a file.")
    delattr(args, "init")
    return path


def batch(args: argparse.Namespace) -> int:
    """`jaxstyle batch CONTENTS STYLES -o FOLDER`."""
    start = _start_file(args)
    defaults = Defaults(args.preset, flags_of(args), start)
    defaults.config()
    shard = Shard.parse(args.shard)
    source = Path(args.contents)
    if source.suffix.lower() in (".csv", ".toml"):
        if args.styles is not None:
            raise ValueError("a job file names its styles; leave STYLES out.")
        jobs = read_job_file(source, defaults, args.name)
    elif args.styles is None:
        raise ValueError("STYLES is missing; only a job file (.csv, .toml) does without.")
    else:
        contents = find_pictures(args.contents, outside=args.output)
        styles = find_pictures(args.styles, outside=args.output)
        jobs = pair(contents, styles, defaults, pairing=args.pair, template=args.name)
    check_jobs(jobs, args.output)
    return run_batch(args, jobs, shard)


def weights_info(args: argparse.Namespace) -> int:
    """`jaxstyle weights info [FILE]`."""
    path = weights.weights_path(args.file)
    leaves, attributes = weights.read_weights(path)
    count = sum(leaf.size for group in leaves.values() for leaf in group.values())
    print(f"{path}\n  {count:,} weights in {len(leaves)} layers, {path.stat().st_size:,} bytes")
    for name, value in sorted(attributes.items()):
        print(f"  {name}: {value}")
    return ExitCode.OK


def weights_verify(args: argparse.Namespace) -> int:
    """`jaxstyle weights verify [FILE]`."""
    path = weights.weights_path(args.file)
    _, attributes = weights.read_weights(path)
    checked = ["shapes", "values"]
    if "sha256" in attributes:
        checked.append("checksum of the values")
    sums = path.with_name("SHA256SUMS")
    lines = sums.read_text().splitlines() if sums.is_file() else []
    # A line is a checksum, a space, a space or an asterisk, and a name.
    listed = {line[66:]: line[:64] for line in lines}
    if path.name in listed:
        if listed[path.name] != file_sha256(path):
            raise WeightsError(f"{path} is not the file that {sums} lists; copy it again.")
        checked.append("checksum of the file")
    print(f"{path}: good ({', '.join(checked)})")
    return ExitCode.OK


def weights_convert(args: argparse.Namespace) -> int:
    """`jaxstyle weights convert SOURCE OUT`."""
    if args.source.resolve() == args.output.resolve():
        raise ValueError(f"{args.output} is the source too; give it another name.")
    check_output(args.output)
    params = from_keras(args.source)
    normalization = "none"
    if args.normalize:
        pictures = [images.read_image(path, 512, enlarge=False) for path in args.normalize]
        params = vgg19.normalize_weights(params, pictures)
        normalization = f"mean activation 1 over {len(pictures)} pictures"
    weights.write_weights(
        args.output,
        params,
        args.dtype,
        source=args.source.name,
        source_sha256=file_sha256(args.source),
        license="unknown",
        normalization=normalization,
    )
    print(f"{args.output}: VGG19 from {args.source}, {args.dtype}, normalization: {normalization}")
    return ExitCode.OK
