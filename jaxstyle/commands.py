"""What each command does, once its arguments are parsed."""

import argparse
from pathlib import Path

import numpy as np

from jaxstyle import images, pyramid, transfer, vgg19, weights
from jaxstyle.cli import config_of, start_file
from jaxstyle.config import StyleConfig, parse_value
from jaxstyle.convert import from_keras
from jaxstyle.errors import ExitCode, WeightsError
from jaxstyle.job import check_outputs, file_sha256, paint_file


def stylize(args: argparse.Namespace) -> int:
    """`jaxstyle stylize CONTENT STYLE... -o OUT`."""
    config = config_of(args)
    check_outputs(args)
    if args.mask and len(args.mask) != len(args.styles):
        raise ValueError(
            f"{len(args.mask)} masks for {len(args.styles)} styles; give one --mask for each."
        )
    content = images.read_image(args.content, config.size, alpha=True)
    content, alpha = content[..., :3], content[..., 3:]
    shape = content.shape[:2]
    styles = [_read_style(path, config) for path in args.styles]
    masks = [_read_mask(path, shape) for path in args.mask]
    start_path = start_file(args)
    start = None if start_path is None else images.read_image(start_path, config.size)
    extra = [] if start_path is None else [start_path]
    return paint_file(
        args,
        config,
        [args.content, *args.styles, *args.mask, *extra],
        shape,
        lambda params, callback: transfer.stylize(
            params,
            content,
            styles,
            config,
            callback=callback,
            start=start,
            masks=np.stack(masks) if masks else None,
        ),
        alpha=alpha if alpha.size else None,
    )


def texture(args: argparse.Namespace) -> int:
    """`jaxstyle texture STYLE... -o OUT`."""
    config = config_of(args)
    check_outputs(args)
    if not 1 / 64 <= args.aspect <= 64:
        raise ValueError(f"`--aspect` is {args.aspect}; it must be between 1/64 and 64.")
    _no_start(args)
    styles = [_read_style(path, config) for path in args.styles]
    shape = pyramid.fit_shape((1, args.aspect), config.size)
    return paint_file(
        args,
        config,
        args.styles,
        shape,
        lambda params, callback: transfer.synthesize_texture(
            params, styles, config, callback=callback, shape=shape
        ),
    )


def reconstruct(args: argparse.Namespace) -> int:
    """`jaxstyle reconstruct IMAGE --layers LAYERS -o OUT`."""
    config = config_of(args)
    check_outputs(args)
    _no_start(args)
    layers = [name for name, _ in parse_value("content_layers", args.layers)]
    image = images.read_image(args.image, config.size)
    return paint_file(
        args,
        config,
        [args.image],
        image.shape[:2],
        lambda params, callback: transfer.reconstruct(
            params, image, layers, config, callback=callback, of=args.of
        ),
    )


def _no_start(args: argparse.Namespace) -> None:
    if path := start_file(args):
        raise ValueError(f"`--init {path}`: only `stylize` starts from a file.")


def _read_style(path: Path, config: StyleConfig) -> np.ndarray:
    """A painting no larger than it will be looked at."""
    return images.read_image(path, round(config.size * config.style_scale), enlarge=False)


def _read_mask(path: Path, shape: tuple[int, int]) -> np.ndarray:
    mask = images.read_image(path).mean(axis=-1)
    height, width = mask.shape
    if abs(height / width / (shape[0] / shape[1]) - 1) > 0.02:
        raise ValueError(
            f"mask {path} is {width}x{height}, of other proportions than the picture "
            f"({shape[1]}x{shape[0]}); crop it to them."
        )
    if not mask.any():
        raise ValueError(f"mask {path} is black everywhere, so its style would act nowhere.")
    return images.resize(mask[..., None], shape)[..., 0]


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
    if sums.is_file():
        listed = dict(line.split()[::-1] for line in sums.read_text().splitlines())
        if path.name in listed:
            if listed[path.name] != file_sha256(path):
                raise WeightsError(f"{path} is not the file that {sums} lists; copy it again.")
            checked.append("checksum of the file")
    print(f"{path}: good ({', '.join(checked)})")
    return ExitCode.OK


def weights_convert(args: argparse.Namespace) -> int:
    """`jaxstyle weights convert SOURCE OUT`."""
    images.check_folder(args.output)
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
