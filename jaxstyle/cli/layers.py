"""`jaxstyle layers` and `jaxstyle score`: looking at layers, and at what came of them."""

import argparse
import dataclasses
import json
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxstyle import metrics
from jaxstyle.analysis.cost import cpu_batch_size, estimate_cost, max_batch_size
from jaxstyle.analysis.grid import draw_grid
from jaxstyle.analysis.layer_study import (
    STYLE_SETS,
    Panel,
    reconstructions,
    render_panels,
    share_program,
    sweep,
)
from jaxstyle.cli.run_job import check_outputs
from jaxstyle.config import StyleConfig, parse_value
from jaxstyle.errors import ExitCode
from jaxstyle.host import enable_compilation_cache, on_signals
from jaxstyle.io import images, weights
from jaxstyle.io.atomic import write_bytes
from jaxstyle.io.inputs import check_proportions, read_style
from jaxstyle.io.provenance import file_id, input_ids, metadata, provenance
from jaxstyle.types import Params

_SCORE_SIZE = 512
"""Long edge at which larger pictures are scored, unless told otherwise."""


def layers(args: argparse.Namespace, config: StyleConfig) -> ExitCode:
    """Paint a study and write it as one picture; interrupted, what there is of it.

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
    heads, rows = [], sweep(config, sets, args.style_weights)
    content = _read_content(args.content, config.size)
    style = read_style(args.style, content.shape[:2], config)
    if args.reconstructions:
        heads = [(content, args.content.name), (style, args.style.name)]
        rows = [*reconstructions(config), *rows]
    # In place of pictures to come, and, as wide as they will be, of their scores.
    blank, unknown = np.ones_like(content), metrics.Scores(*jnp.zeros(len(metrics.MEANINGS)))
    scored = [[(blank, _text(panel, unknown)) for panel in row] for row in rows]
    images.check_picture(args.output, _grid(heads, scored).shape[:2])
    cells = [[(blank, panel.label) for panel in row] for row in rows]
    enable_compilation_cache()
    weights_id = file_id(weights.weights_path(args.weights))
    origin = provenance(args.command, config, input_ids(inputs), weights_id)
    origin |= {"sets": sets, "style_weights": args.style_weights}
    params = weights.load_weights(args.weights, decoder=config.init == "adain")
    places = [(i, j) for i, row in enumerate(rows) for j in range(len(row))]
    panels = [rows[i][j] for i, j in places]
    at_once = args.batch_size
    if at_once is None:
        at_once = _at_once(params, content.shape[:2], panels)
    painted = render_panels(params, content, style, panels, at_once=at_once)
    found, done, stopped = [], 0, threading.Event()
    with on_signals(stopped.set):
        for done, ((i, j), (image, scores)) in enumerate(zip(places, painted, strict=True), 1):
            cells[i][j] = image, _text(rows[i][j], scores)
            if scores is not None:
                label = rows[i][j].label.replace("\n", ", ")
                found.append({"label": label, **jax.tree.map(float, scores._asdict())})
            if sys.stderr.isatty() and not args.quiet:
                end = "\n" if done == len(panels) or stopped.is_set() else ""
                print(f"\r{done} of {len(panels)} pictures", end=end, file=sys.stderr, flush=True)
            if stopped.is_set():
                break
    images.write_image(args.output, _grid(heads, cells), metadata=metadata(origin))
    if args.report is not None:
        report = {**origin, "complete": done == len(panels), "scores": found}
        write_bytes(args.report, (json.dumps(report, indent=2) + "\n").encode())
    if not args.quiet:
        print(f"{args.output}: {done} of {len(panels)} pictures", file=sys.stderr)
    return ExitCode.OK if done == len(panels) else ExitCode.INTERRUPTED


def _text(panel: Panel, scores: metrics.Scores | None) -> str:
    if scores is None or not panel.scored:
        return panel.label
    return f"{panel.label}: content {scores.content:.2f}, style {scores.style:.2f}"


def _grid(
    heads: Sequence[tuple[np.ndarray, str]], cells: Sequence[Sequence[tuple[np.ndarray, str]]]
) -> np.ndarray:
    """The picture of a study: rows of cells, the first of which have heads."""
    first = [[head, *row] for head, row in zip(heads, cells, strict=False)]
    return draw_grid([*first, *cells[len(first) :]])


def _at_once(params: Params, shape: tuple[int, int], panels: Sequence[Panel]) -> int:
    """Pictures to paint in one program: on a CPU a few small ones, else as many as find room."""
    if jax.default_backend() == "cpu":
        return cpu_batch_size(shape)
    config = share_program([panel.config for panel in panels])[0]
    return max_batch_size(estimate_cost(params, shape, config, pixel_seconds=0).bytes)


def score(args: argparse.Namespace) -> ExitCode:
    """Print the scores of a picture.

    Raises:
      ValueError: the picture is too small, or of other proportions than the photograph.
    """
    image = images.read_image(args.image)
    size = args.size or min(max(image.shape[:2]), _SCORE_SIZE)
    content = _read_content(args.content, size)
    height, width = content.shape[:2]
    check_proportions(args.image, image.shape, (height, width))
    style = images.read_image(args.style, size, enlarge=False)
    enable_compilation_cache()
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
