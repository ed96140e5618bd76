"""The commands: from parsed arguments to a call. See `jaxstyle.cli.parser` for the arguments."""

import argparse
import contextlib
import dataclasses
import os
from pathlib import Path
from typing import Any, get_args

import jax
import numpy as np

from jaxstyle import pyramid, transfer, vgg19
from jaxstyle.analysis.memory import check_memory, count_row_devices, fit_tile
from jaxstyle.batch.find import find_images, find_skipped, search_root
from jaxstyle.batch.jobs import (
    Defaults,
    check_jobs,
    pair_jobs,
    read_job_file,
)
from jaxstyle.batch.ledger import Ledger, Shard
from jaxstyle.cli import distributed
from jaxstyle.cli import layers as studies
from jaxstyle.cli import plan as plans
from jaxstyle.cli import rerun as reruns
from jaxstyle.cli import video as videos
from jaxstyle.cli.batch import BatchOptions, run_batch
from jaxstyle.cli.companions import Sources
from jaxstyle.cli.context import RunContext
from jaxstyle.cli.live import live_page
from jaxstyle.cli.parser import make_parser
from jaxstyle.cli.run_job import STDOUT, ImageOptions, check_outputs, run_job, write_image
from jaxstyle.config import StyleConfig, parse_value
from jaxstyle.errors import ExitCode, WeightsError, computing, printable
from jaxstyle.host import use_platform
from jaxstyle.io import images, weights
from jaxstyle.io.atomic import check_name, check_output, file_sha256, name_limit
from jaxstyle.io.hdf5 import check_file
from jaxstyle.io.inputs import STDIN, copy_stdin, read_mask, read_start, read_style
from jaxstyle.io.keras import from_keras
from jaxstyle.io.pillow import pixel_limit, quiet
from jaxstyle.io.provenance import metadata
from jaxstyle.io.remote import FilePath, to_path
from jaxstyle.loop.placement import rows_sharding
from jaxstyle.options import Init, suggest
from jaxstyle.presets import PRESETS
from jaxstyle.reporting import print_product

# Numbers of characters that `weights info` prints of an attribute.
_NAME_LENGTH, _VALUE_LENGTH = 40, 200


def run(args: argparse.Namespace) -> int:
    """Run the command that the arguments name."""
    with contextlib.ExitStack() as stack:
        if "max_pixels" in args:
            stack.enter_context(pixel_limit(args.max_pixels))
            # Other threads may read images.
            stack.enter_context(quiet())
        if getattr(args, "content", None) == STDIN:
            args.content = stack.enter_context(copy_stdin())
        if "platform" in args:
            # The driver of a cluster leaves the accelerators to its workers.
            on_cluster = getattr(args, "engine", "local") == "ray"
            joined = getattr(args, "distributed", None) is not None
            if joined and on_cluster:
                raise ValueError("`--engine ray` starts its own workers; leave --distributed out.")
            if joined:
                distributed.join(args.distributed)
            use_platform("cpu" if on_cluster else args.platform)
            if joined:
                stack.enter_context(distributed.connected(together=args.command == "stylize"))
        if getattr(args, "live", None) is not None:
            stack.enter_context(live_page(args))
        return globals()[args.command](args)


def config_of(args: argparse.Namespace) -> StyleConfig:
    """Return the preset with the given flags applied.

    Raises:
      ValueError: a flag's value is not of its type, or outside its range.
    """
    return dataclasses.replace(PRESETS[args.preset], **flags_of(args))


def flags_of(args: argparse.Namespace) -> dict[str, Any]:
    """Return the fields of `StyleConfig` that were given as flags, or in a configuration file."""
    given = getattr(args, "configured", {}) | vars(args)
    values = ((f.name, given[f.name]) for f in dataclasses.fields(StyleConfig) if f.name in given)
    return {n: parse_value(n, value) if isinstance(value, str) else value for n, value in values}


def stylize(args: argparse.Namespace) -> int:
    """`jaxstyle stylize CONTENT STYLE... -o OUT`."""
    start_path = take_start_file(args)
    options, config = ImageOptions.of(args), config_of(args)
    inputs = {
        "content": [args.content],
        "style": args.styles,
        "mask": args.mask,
        "start": [] if start_path is None else [start_path],
    }
    if options.writes:
        check_outputs(options, inputs)
    if args.mask and len(args.mask) != len(args.styles):
        raise ValueError(
            f"{len(args.mask)} masks for {len(args.styles)} styles; give one --mask for each."
        )
    shape = _read_shape(args.content, config)
    rows = count_row_devices(shape, config)
    if args.distributed is not None:
        if config.tile:
            raise ValueError("`--distributed` splits the rows of the image; leave `--tile` out.")
        rows = jax.device_count()
    if rows > 1:
        config, warning = dataclasses.replace(config, tile=0), ""
    else:
        config, warning = _fit_memory(shape, config)
    content, alpha = _read_content(args.content, config)
    shape = content.shape[:2]
    styles = [read_style(path, shape, config) for path in args.styles]
    masks = [read_mask(path, shape) for path in args.mask]
    start = None if start_path is None else read_start(start_path, shape, shape)
    return run_job(
        options,
        config,
        inputs,
        shape,
        lambda params, callback, steps, resume: transfer.stylize(
            params,
            content,
            styles,
            config,
            callback=callback,
            callback_steps=steps,
            start=start,
            masks=np.stack(masks) if masks else None,
            resume=resume,
            sharding=rows_sharding(rows),
        ),
        rows=rows,
        sources=Sources(content, styles, masks, alpha if alpha.size else None),
        warning=warning,
    )


def preview(args: argparse.Namespace) -> int:
    """`jaxstyle preview CONTENT STYLE... -o OUT`."""
    options = ImageOptions.of(args)
    config = dataclasses.replace(config_of(args), init="adain")
    inputs = {"content": [args.content], "style": args.styles}
    check_outputs(options, inputs)
    if not 0 <= args.strength <= 1:
        raise ValueError(f"`--strength` is {args.strength}; it must be between 0 and 1.")
    # One pass keeps no features for gradients.
    shallow = {"content_layers": (), "style_layers": ("relu1_2",)}
    check_memory(_read_shape(args.content, config), dataclasses.replace(config, **shallow, tile=0))
    content, alpha = _read_content(args.content, config)
    height, width = shape = content.shape[:2]
    if options.output != STDOUT:
        images.check_picture(options.output, shape)
    styles = [read_style(path, shape, config) for path in args.styles]
    with options.reporter() as reporter:
        context = RunContext.load(options, decoder=True)
        record = context.provenance(config, inputs) | {"strength": args.strength}
        with computing("try a smaller --size"):
            image = transfer.preview(
                context.params, content, styles, config, strength=args.strength
            )
        pixels = np.concatenate([image, alpha], axis=-1)
        device = jax.local_devices()[0].device_kind
        write_image(options.output, pixels, metadata(record, device=device))
        output = {"file": str(options.output), "width": width, "height": height}
        reporter.result(f"{options.output}: {width}x{height}, in one pass", output=output)
    return ExitCode.OK


def texture(args: argparse.Namespace) -> int:
    """`jaxstyle texture STYLE... -o OUT`."""
    options, config = ImageOptions.of(args), transfer.texture_config(config_of(args))
    inputs = {"style": args.styles}
    check_outputs(options, inputs)
    _check_aspect(args.aspect)
    shape = pyramid.fit_shape((1, args.aspect), config.size)
    config, warning = _fit_memory(shape, config)
    styles = [read_style(path, shape, config) for path in args.styles]
    return run_job(
        options,
        config,
        inputs,
        shape,
        lambda params, callback, steps, _: transfer.synthesize_texture(
            params, styles, config, callback=callback, callback_steps=steps, shape=shape
        ),
        warning=warning,
    )


def reconstruct(args: argparse.Namespace) -> int:
    """`jaxstyle reconstruct IMAGE --layers LAYERS -o OUT`."""
    options, layers = ImageOptions.of(args), parse_value("content_layers", args.layers)
    config = transfer.reconstruction_config(config_of(args), layers, of=args.of)
    inputs = {args.of: [args.image]}
    check_outputs(options, inputs)
    config, warning = _fit_memory(_read_shape(args.image, config), config)
    image = images.read_image(args.image, config.size)
    return run_job(
        options,
        config,
        inputs,
        image.shape[:2],
        lambda params, callback, steps, _: transfer.reconstruct(
            params, image, layers, config, callback=callback, callback_steps=steps, of=args.of
        ),
        warning=warning,
    )


def rerun(args: argparse.Namespace) -> int:
    """`jaxstyle rerun IMAGE -o OUT`."""
    return reruns.rerun(reruns.RerunOptions.of(args), make_parser().parse_args, run)


def plan(args: argparse.Namespace) -> int:
    """`jaxstyle plan`."""
    config = config_of(args)
    configs = [dataclasses.replace(config, size=size) for size in args.sizes]
    _check_aspect(args.aspect)
    shapes = [pyramid.fit_shape((1, args.aspect), config.size) for config in configs]
    for config in configs:
        pyramid.levels((1, args.aspect), config)
    return plans.plan(plans.PlanOptions.of(args), list(zip(configs, shapes, strict=True)))


def layers(args: argparse.Namespace) -> int:
    """`jaxstyle layers CONTENT STYLE -o OUT`."""
    return studies.layers(studies.StudyOptions.of(args), config_of(args))


def score(args: argparse.Namespace) -> int:
    """`jaxstyle score CONTENT STYLE RESULT`."""
    return studies.score(studies.ScoreOptions.of(args))


def batch(args: argparse.Namespace) -> int:
    """`jaxstyle batch CONTENTS STYLES -o FOLDER`."""
    start = take_start_file(args)
    args.output = to_path(args.output)
    options, defaults = BatchOptions.of(args), Defaults(args.preset, flags_of(args), start)
    defaults.config()
    skipped: set[FilePath] = set()
    check_name(options.output, name_limit(options.output))
    source = to_path(args.contents)
    if source.suffix.lower() in (".csv", ".toml"):
        if args.styles is not None:
            raise ValueError("a job file names its styles; leave STYLES out.")
        jobs = read_job_file(source, defaults, args.name)
    elif args.styles is None:
        raise ValueError(
            "STYLES is missing; give style images, or a job file (.csv, .toml) as CONTENTS."
        )
    else:
        keep = Ledger(options.output, Shard()).remove_outputs
        contents, styles = (
            find_images(source, keep=keep) for source in (args.contents, args.styles)
        )
        skipped = {*find_skipped(args.contents), *find_skipped(args.styles)}
        jobs = pair_jobs(
            contents,
            styles,
            defaults,
            pairing=args.pair,
            template=args.name,
            root=search_root(args.contents),
        )
    check_jobs(jobs, options.output)
    return run_batch(options, jobs, sorted(skipped, key=str))


def video(args: argparse.Namespace) -> int:
    """`jaxstyle video CLIP STYLE... -o OUT`."""
    return videos.video(videos.VideoOptions.of(args), config_of(args))


def weights_info(args: argparse.Namespace) -> int:
    """`jaxstyle weights info [FILE]`."""
    path = weights.weights_path(args.file)
    leaves, attributes = weights.read_weights(path)
    count = sum(leaf.size for group in leaves.values() for leaf in group.values())
    size = path.stat().st_size
    print_product(f"{printable(path)}\n  {count:,} weights in {len(leaves)} layers, {size:,} bytes")
    for name, value in sorted(attributes.items()):
        print_product(f"  {printable(name, _NAME_LENGTH)}: {printable(value, _VALUE_LENGTH)}")
    return ExitCode.OK


def weights_verify(args: argparse.Namespace) -> int:
    """`jaxstyle weights verify [FILE]`."""
    path = weights.weights_path(args.file)
    _, attributes = weights.read_weights(path)
    checks = ["shapes", "values"]
    if "sha256" in attributes:
        checks.append("checksum of the values")
    sums = path.with_name("SHA256SUMS")
    lines = sums.read_text(errors="replace").splitlines() if sums.is_file() else []
    # A line is a checksum, a space, a space or an asterisk, and a name.
    listed = {line[66:]: line[:64] for line in lines}
    if path.name in listed:
        if listed[path.name] != file_sha256(path):
            raise WeightsError(f"{path} is not the file that {sums} lists; copy it again.")
        checks.append("checksum of the file")
    print_product(f"{printable(path)}: good ({', '.join(checks)})")
    return ExitCode.OK


def weights_convert(args: argparse.Namespace) -> int:
    """`jaxstyle weights convert SOURCE OUT`."""
    check_file(args.source)
    check_output(args.output)
    if args.output.exists() and args.output.samefile(args.source):
        raise ValueError(f"{args.output} is also the source file; give the output another name.")
    params = from_keras(args.source)
    normalization = "none"
    if args.normalize:
        pictures = [images.read_image(path, 512, enlarge=False) for path in args.normalize]
        params = vgg19.normalize_weights(params, pictures)
        normalization = f"mean activation 1 over {len(pictures)} images"
    weights.write_weights(
        args.output,
        params,
        args.dtype,
        source=args.source.name,
        source_sha256=file_sha256(args.source),
        license="unknown",
        normalization=normalization,
    )
    text = f"{args.output}: VGG19 from {args.source}, {args.dtype}, normalization: {normalization}"
    print_product(printable(text))
    return ExitCode.OK


def take_start_file(args: argparse.Namespace) -> Path | None:
    """Remove `--init` from the arguments if it names a file, and return its path.

    Raises:
      ValueError: `--init` is neither one of its words nor looks like a file.
    """
    value = getattr(args, "init", None)
    if value is None or value in get_args(Init):
        return None
    path = Path(value)
    if not os.path.lexists(path) and not path.suffix:
        words = get_args(Init)
        hint = suggest(value, words, f"it must be {', '.join(words)} or a file.")
        raise ValueError(f"`init` is {value!r}; {hint}")
    delattr(args, "init")
    return path


def _read_shape(path: Path, config: StyleConfig) -> tuple[int, int]:
    """Return the size of a result with the proportions of an image."""
    return pyramid.fit_shape(images.read_shape(path), config.size)


def _fit_memory(shape: tuple[int, int], config: StyleConfig) -> tuple[StyleConfig, str]:
    """Choose the tiles of a result by memory; return a warning if it probably does not fit."""
    config = fit_tile(shape, config)
    return config, check_memory(shape, config)


def _read_content(path: Path, config: StyleConfig) -> tuple[np.ndarray, np.ndarray]:
    """Read a content image and its transparency, which has no channel if there is none."""
    pixels = images.read_image(path, config.size, alpha=True)
    return pixels[..., :3], pixels[..., 3:]


def _check_aspect(aspect: float) -> None:
    if not 1 / 64 <= aspect <= 64:
        raise ValueError(f"`--aspect` is {aspect}; it must be between 1/64 and 64.")
