"""The commands `jaxstyle layers` and `jaxstyle score`."""

import contextlib
import dataclasses
import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxstyle import metrics, pyramid
from jaxstyle.analysis.cost import cpu_batch_size, estimate_cost
from jaxstyle.analysis.grid import draw_grid
from jaxstyle.analysis.layer_study import (
    STYLE_SETS,
    Panel,
    reconstructions,
    render_panels,
    share_program,
    sweep,
)
from jaxstyle.analysis.memory import check_memory, max_batch_size
from jaxstyle.cli.context import Options, RunContext
from jaxstyle.cli.run_job import STDOUT, ImageOptions, check_outputs
from jaxstyle.config import StyleConfig, parse_value
from jaxstyle.errors import ExitCode, computing
from jaxstyle.host import on_signals
from jaxstyle.io import images
from jaxstyle.io.atomic import write_bytes
from jaxstyle.io.inputs import read_start, read_style
from jaxstyle.io.provenance import metadata
from jaxstyle.reporting import Reporter
from jaxstyle.types import Params
from jaxstyle.vgg19 import limit_filters

_SCORE_SIZE = 512
"""Default limit of the long edge at which results are scored."""

Cell = tuple[np.ndarray, str]
"""An image and its caption."""


@dataclass(frozen=True, kw_only=True)
class StudyOptions(ImageOptions):
    """Options of `jaxstyle layers`.

    Attributes:
      content: file of the content image.
      style: file of the style image.
      set: style layers to compare, as typed; empty for the default sets.
      style_weights: style weights to compare.
      reconstructions: whether to show reconstructions from single layers.
      batch_size: images at once, or `None` to choose by memory.
    """

    content: Path
    style: Path
    set: Sequence[str] = ()
    style_weights: tuple[float, ...] = ()
    reconstructions: bool = True
    batch_size: int | None = None


def layers(options: StudyOptions, config: StyleConfig) -> ExitCode:
    """Run a layer study and write it as one image; after an interrupt, the part that is done.

    Raises:
      ValueError: a set of layers or a weight is not valid.
      WriteError: an output cannot be written.
    """
    inputs = {"content": [options.content], "style": [options.style]}
    if options.output == STDOUT:
        raise ValueError("`--output` needs a file to write to, not stdout.")
    check_outputs(options, inputs)
    sets = _parse_sets(options.set, config)
    check_memory(pyramid.fit_shape(images.read_shape(options.content), config.size), config)
    content = _read_content(options.content, config.size)
    style = read_style(options.style, content.shape[:2], config)
    sheet = _Sheet(sweep(config, sets, options.style_weights), content)
    if options.reconstructions:
        sheet.add_reconstructions(
            config, (content, options.content.name), (style, options.style.name)
        )
    images.check_picture(options.output, sheet.draw_largest().shape[:2])
    with options.reporter() as reporter:
        context = RunContext.load(options, decoder=config.init == "adain")
        record = context.provenance(config, inputs)
        record |= {"sets": sets, "style_weights": options.style_weights}
        record |= {"reconstructions": options.reconstructions}
        batch_size = options.batch_size or _choose_batch_size(
            context.params, content.shape[:2], sheet.panels
        )
        rendered = render_panels(
            context.params, content, style, sheet.panels, batch_size=batch_size
        )
        with computing("try a smaller --size or --batch-size"):
            done = sheet.fill(rendered, reporter)
        complete = done == len(sheet.panels)
        grid = sheet.draw()
        images.write_image(
            options.output,
            grid,
            metadata=metadata(record, device=jax.local_devices()[0].device_kind),
        )
        if options.report is not None:
            report = {**record, "complete": complete, "scores": sheet.scores}
            write_bytes(options.report, (json.dumps(report, indent=2) + "\n").encode())
        reporter.result(
            f"{options.output}: {done} of {len(sheet.panels)} images",
            output={
                "file": str(options.output),
                "width": grid.shape[1],
                "height": grid.shape[0],
            },
            images=done,
            complete=complete,
        )
    return ExitCode.OK if complete else ExitCode.INTERRUPTED


class _Sheet:
    """The grid of a study: rows of panels, the first of which may start with an input image.

    Attributes:
      panels: all panels, row by row.
      scores: scores of the finished panels, for the report.
    """

    def __init__(self, rows: Sequence[Sequence[Panel]], content: np.ndarray):
        self._rows, self._heads = [list(row) for row in rows], []
        self._blank = np.ones_like(content)
        self._cells: dict[int, Cell] = {}
        self.scores: list[dict[str, Any]] = []

    def add_reconstructions(self, config: StyleConfig, *heads: Cell) -> None:
        """Add the rows of reconstructions at the top, each with its input image."""
        self._rows = [*map(list, reconstructions(config)), *self._rows]
        self._heads = list(heads)

    @property
    def panels(self) -> list[Panel]:
        return [panel for row in self._rows for panel in row]

    def fill(
        self,
        rendered: Iterator[tuple[np.ndarray, metrics.Scores | None]],
        reporter: Reporter,
    ) -> int:
        """Take the rendered panels until all are done or a signal arrives; return their number."""
        panels, stopped = self.panels, threading.Event()
        reporter.plan(float(len(panels)))
        with contextlib.ExitStack() as stack:
            for index, (image, scores) in enumerate(rendered):
                if not index:
                    # Before there is an image to keep, a signal ends the process.
                    stack.enter_context(on_signals(stopped.set))
                panel = panels[index]
                self._cells[index] = image, _caption(panel, scores)
                if scores is not None:
                    label = panel.label.replace("\n", ", ")
                    self.scores.append({"label": label, **jax.tree.map(float, scores._asdict())})
                done = index + 1
                reporter.progress(float(done), f"{done} of {len(panels)} images")
                if stopped.is_set():
                    break
        return len(self._cells)

    def draw(self) -> np.ndarray:
        """Draw the sheet, with blank images for panels that are not done."""
        return self._draw([(self._blank, panel.label) for panel in self.panels])

    def draw_largest(self) -> np.ndarray:
        """Draw the sheet with all captions at their full length, to know its size."""
        scores = metrics.Scores(*jnp.zeros(len(metrics.MEANINGS)))
        return self._draw([(self._blank, _caption(panel, scores)) for panel in self.panels])

    def _draw(self, cells: list[Cell]) -> np.ndarray:
        rows, index = [], 0
        for number, row in enumerate(self._rows):
            last = index + len(row)
            head = self._heads[number : number + 1]
            rows.append([*head, *(self._cells.get(i, cells[i]) for i in range(index, last))])
            index = last
        return draw_grid(rows)


def _caption(panel: Panel, scores: metrics.Scores | None) -> str:
    if scores is None or not panel.scored:
        return panel.label
    return f"{panel.label}: content {scores.content:.2f}, style {scores.style:.2f}"


def _choose_batch_size(params: Params, shape: tuple[int, int], panels: Sequence[Panel]) -> int:
    """Choose how many panels to render at once: a few on a CPU, else as many as memory allows."""
    if jax.default_backend() == "cpu":
        return cpu_batch_size(shape)
    config = share_program([panel.config for panel in panels])[0]
    return max_batch_size(estimate_cost(params, shape, config, pixel_seconds=0).bytes)


def _parse_sets(texts: Sequence[str], config: StyleConfig) -> list[dict[str, float]]:
    """Parse the sets of style layers; by default, pairs, the papers' five, and the preset's."""
    if not texts:
        preset: Any = config.style_layers
        return [*(dict.fromkeys(names, 1.0) for names in STYLE_SETS), dict(preset)]
    return [_parse_set(config, text) for text in texts]


def _parse_set(config: StyleConfig, text: str) -> dict[str, float]:
    terms = parse_value("style_layers", text)
    # The configuration checks the names and weights.
    dataclasses.replace(config, style_layers=terms)
    if not sum(weight for _, weight in terms):
        raise ValueError(f"`--set` is {text!r}; it must name a layer with a weight above 0.")
    return dict(terms)


def _read_content(path: Path, size: int) -> np.ndarray:
    content = images.read_image(path, size)
    height, width = content.shape[:2]
    if min(height, width) < metrics.MIN_SIDE:
        raise ValueError(
            f"{path} would be {width}x{height}; both sides must be at least {metrics.MIN_SIDE} "
            "to be scored. Raise `--size`."
        )
    return content


@dataclass(frozen=True, kw_only=True)
class ScoreOptions(Options):
    """Options of `jaxstyle score`.

    Attributes:
      content: file of the content image.
      style: file of the style image.
      image: file of the result.
      size: long edge at which to compare, or `None` for the result's own, at most 512.
    """

    content: Path
    style: Path
    image: Path
    size: int | None = None


def score(options: ScoreOptions) -> ExitCode:
    """Print the scores of a result.

    Raises:
      ValueError: the result is too small, or its proportions differ from the content image's.
    """
    size = options.size or min(max(images.read_shape(options.image)), _SCORE_SIZE)
    content = _read_content(options.content, size)
    shape = content.shape[:2]
    image = read_start(options.image, shape, shape)
    style = images.read_image(options.style, size, enlarge=False)
    with options.reporter() as reporter:
        params = limit_filters(RunContext.load(options).params)
        with computing("try a smaller --size"):
            scores = jax.jit(metrics.score)(params, content, style, image)
            jax.block_until_ready(scores)
        for name, value in scores._asdict().items():
            meaning = metrics.MEANINGS[name]
            reporter.row(f"{name:12} {value:.4f}  {meaning}", score=name, value=float(value))
    return ExitCode.OK
