"""`jaxstyle layers` and `jaxstyle score`: looking at layers, and at what came of them."""

import argparse
import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxstyle import images, metrics, weights
from jaxstyle.cache import use_compilation_cache
from jaxstyle.config import StyleConfig, parse_value
from jaxstyle.errors import ExitCode
from jaxstyle.files import write_bytes
from jaxstyle.grid import draw_grid
from jaxstyle.job import check_outputs
from jaxstyle.provenance import file_id, input_ids, metadata, provenance
from jaxstyle.sources import check_proportions, read_style
from jaxstyle.study import STYLE_SETS, paint_panels, reconstructions, sweep


def layers(args: argparse.Namespace, config: StyleConfig) -> ExitCode:
    """Paint a study and write it as one picture.

    Raises:
      ValueError: a set or a weight is none.
      WriteError: the picture cannot be written.
    """
    inputs = {"content": [args.content], "style": [args.style]}
    if str(args.output) == "-":
        raise ValueError("`--output` needs a file to write to, not stdout.")
    check_outputs(args, inputs)
    sets = [_one_set(config, text) for text in args.set]
    if not sets:
        own: Any = config.style_layers
        sets = [*(dict.fromkeys(names, 1.0) for names in STYLE_SETS), dict(own)]
    swept = sweep(config, sets, args.style_weights)
    content = _read_content(args.content, config.size)
    style = read_style(args.style, content.shape[:2], config)
    use_compilation_cache()
    params = weights.load_weights(args.weights)
    heads, panel_rows = [], swept
    if args.reconstructions:
        heads = [(content, args.content.name), (style, args.style.name)]
        panel_rows = [*reconstructions(config), *swept]
    panels = [panel for row in panel_rows for panel in row]
    # On a CPU pictures are made one at a time, which is faster.
    at_once = args.batch_size or (1 if jax.default_backend() == "cpu" else len(panels))

    def told(done: int) -> None:
        if not args.quiet and sys.stderr.isatty():
            end = "\n" if done == len(panels) else ""
            print(f"\r{done} of {len(panels)} pictures", end=end, file=sys.stderr, flush=True)

    painted = paint_panels(params, content, style, panels, at_once=at_once, told=told)
    rows, found = [], []
    for index, row in enumerate(panel_rows):
        cells = [heads[index]] if index < len(heads) else []
        for panel in row:
            image, scores = next(painted)
            text = panel.label
            if scores is not None:
                text += f": content {scores.content:.2f}, style {scores.style:.2f}"
                found.append(
                    {
                        "label": panel.label.replace("\n", ", "),
                        **jax.tree.map(float, scores._asdict()),
                    }
                )
            cells.append((image, text))
        rows.append(cells)
    weights_id = file_id(weights.weights_path(args.weights))
    origin = provenance(args.command, config, input_ids(inputs), weights_id)
    origin |= {"sets": sets, "style_weights": args.style_weights}
    images.write_image(args.output, draw_grid(rows), metadata=metadata(origin))
    if args.report is not None:
        write_bytes(
            args.report, (json.dumps({**origin, "scores": found}, indent=2) + "\n").encode()
        )
    if not args.quiet:
        print(f"{args.output}: {len(panels)} pictures", file=sys.stderr)
    return ExitCode.OK


def score(args: argparse.Namespace) -> ExitCode:
    """Print the scores of a picture.

    Raises:
      ValueError: the picture is too small, or of other proportions than the photograph.
    """
    content = _read_content(args.content, args.size)
    height, width = content.shape[:2]
    image = images.read_image(args.image)
    check_proportions(args.image, image.shape, (height, width))
    style = images.read_image(args.style, args.size, enlarge=False)
    use_compilation_cache()
    params = weights.load_weights(args.weights)
    found = jax.jit(metrics.score)(params, content, style, images.resize(image, (height, width)))
    for name, value in found._asdict().items():
        print(f"{name:10} {value:.4f}  {metrics.MEANINGS[name]}")
    return ExitCode.OK


def _one_set(config: StyleConfig, text: str) -> dict[str, float]:
    layers = parse_value("style_layers", text)
    # The configuration refuses what is no set of layers.
    dataclasses.replace(config, style_layers=layers)
    if not sum(weight for _, weight in layers):
        raise ValueError(f"`--set` is {text!r}; it must name a layer with a weight above 0.")
    return dict(layers)


def _read_content(path: Path, size: int) -> np.ndarray:
    content = images.read_image(path, size)
    height, width = content.shape[:2]
    if min(height, width) < metrics.MIN_SIDE:
        raise ValueError(
            f"{path} would be {width}x{height}; both sides must be at least {metrics.MIN_SIDE} "
            "to be scored. Raise `--size`."
        )
    return content
