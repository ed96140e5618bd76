"""One picture from files to a file: progress, previews, interruption, report."""

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxstyle import pyramid
from jaxstyle.config import StyleConfig
from jaxstyle.errors import DivergedError, ExitCode, WriteError
from jaxstyle.host import enable_compilation_cache, on_signals, release_memory
from jaxstyle.io import images, weights
from jaxstyle.io.atomic import check_output, write_bytes
from jaxstyle.io.checkpoint import Checkpoints
from jaxstyle.io.provenance import Inputs, file_id, input_ids, metadata, provenance
from jaxstyle.loop.driver import Callback, Progress, Result
from jaxstyle.types import Params

Paint = Callable[[Params, Callback, Progress | None], Result]
Plan = list[tuple[tuple[int, int], int]]


def check_outputs(args: argparse.Namespace, inputs: Inputs) -> None:
    """Raise where an output could not or should not be written, before any work is done.

    Raises:
      WriteError: it cannot be written.
      ValueError: it would overwrite an input or another output.
    """
    outputs = [path for path in (args.output, args.report) if path and str(path) != "-"]
    taken = {path.resolve() for paths in inputs.values() for path in paths}
    for path in outputs:
        if path.resolve() in taken:
            raise ValueError(f"{path} is an input or another output too; give it another name.")
        taken.add(path.resolve())
    if str(args.report) == "-":
        raise ValueError("`--report` needs a file to write to, not stdout.")
    if str(args.output) == "-" and args.preview_every is not None:
        raise ValueError("`--preview-every` needs a file to write to, not stdout.")
    if str(args.output) != "-":
        images.check_picture(args.output)
    if args.report is not None:
        check_output(args.report)


def paint_file(
    args: argparse.Namespace,
    config: StyleConfig,
    inputs: Inputs,
    shape: tuple[int, int],
    paint: Paint,
    *,
    alpha: np.ndarray | None = None,
) -> ExitCode:
    """Paint, and write picture, report and a line on what happened.

    Args:
      args: the command's arguments: `command`, `output`, `report`, `weights`,
        `preview_every`, `quiet`; `checkpoint` and `checkpoint_every` if the command has them.
      config: what is run, for the record.
      inputs: files that the picture is made of, for the record.
      shape: height and width of the picture.
      paint: makes the picture from weights, a callback, and where an earlier run stood.
      alpha: transparency to return with the picture, `[h, w, 1]`.

    Raises:
      DivergedError: loss or gradient left the finite numbers.
      WriteError: an output cannot be written.
    """
    began = time.perf_counter()
    if str(args.output) != "-":
        images.check_picture(args.output, shape)
    enable_compilation_cache()
    weights_id = file_id(weights.weights_path(args.weights))
    origin = provenance(args.command, config, input_ids(inputs), weights_id)
    params = weights.load_weights(args.weights, decoder=config.init == "adain")
    text = metadata(origin)

    def save(image: Any) -> None:
        pixels = images.resize(np.asarray(image), shape)
        if alpha is not None:
            pixels = np.concatenate([pixels, alpha], axis=-1)
        write_picture(args.output, pixels, text)

    plan = pyramid.levels(shape, config)
    checkpoints = None
    if getattr(args, "checkpoint", None) is not None:
        checkpoints = Checkpoints(args.checkpoint, origin, config, plan, args.checkpoint_every)
    # The picture is written before the last checkpoint is waited for, which may fail.
    kept = contextlib.closing(checkpoints) if checkpoints else contextlib.nullcontext()
    with _watch(args, plan, save) as watch, kept:
        if checkpoints is None:
            result = paint(params, watch, None)
        else:
            result = paint(params, checkpoints.watch(watch), checkpoints.resume)
        losses = np.asarray(result.trace.loss)
        complete = len(losses) == sum(count for _, count in plan)
        if not bool(result.trace.finite[-1]):
            lbfgs = config.optimizer == "lbfgs"
            way_out = "--optimizer pyramid_adam" if lbfgs else "a lower --learning-rate"
            raise DivergedError(
                f"the loss left the finite numbers at step {len(losses)}; try {way_out}."
            )
        save(result.image)
    seconds = time.perf_counter() - began
    if args.report is not None:
        terms = {name: np.asarray(values).tolist() for name, values in result.trace.terms.items()}
        report = {
            **origin,
            "output": {"file": str(args.output), "width": shape[1], "height": shape[0]},
            "complete": complete,
            "seconds": round(seconds, 3),
            "device": str(jax.devices()[0]),
            "trace": {"loss": losses.tolist(), "terms": terms},
        }
        write_bytes(args.report, (json.dumps(report, indent=2) + "\n").encode())
    if not args.quiet:
        print(
            f"{args.output}: {shape[1]}x{shape[0]}, {len(losses)} steps, "
            f"loss {losses[-1]:.4g}, {seconds:.1f} s"
            + ("" if complete else ", interrupted: the picture so far"),
            file=sys.stderr,
        )
    return ExitCode.OK if complete else ExitCode.INTERRUPTED


class _Watch:
    """The callback of a run: shows progress, writes previews, stops when interrupted."""

    def __init__(self, save: Callable[[Any], None], every: float | None):
        self.show: Callable[[Progress], None] | None = None
        self._save, self._every = save, every
        self._interrupted, self._saved = False, -np.inf

    def __call__(self, progress: Progress) -> bool:
        release_memory()
        if self.show is not None:
            self.show(progress)
        now = time.monotonic()
        last = progress.step == progress.steps
        if self._every is not None and now - self._saved >= self._every and not last:
            self._save(progress.image)
            self._saved = now
        return self._interrupted

    def interrupt(self) -> None:
        self._interrupted = True


@contextlib.contextmanager
def _watch(args: argparse.Namespace, plan: Plan, save: Callable[[Any], None]) -> Iterator[_Watch]:
    watch = _Watch(save, args.preview_every)
    with contextlib.ExitStack() as stack:
        stack.enter_context(on_signals(watch.interrupt))
        if sys.stderr.isatty() and not args.quiet:
            watch.show = stack.enter_context(_progress_bar(plan))
        yield watch


@contextlib.contextmanager
def _progress_bar(plan: Plan) -> Iterator[Callable[[Progress], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("compiling", total=pyramid.work(plan))

        def show(progress: Any) -> None:
            text = f"step {progress.step}/{progress.steps}  loss {progress.loss:.4g}"
            bar.update(task, completed=pyramid.work(plan, progress.step), description=text)

        yield show


def write_picture(path: Path, pixels: np.ndarray, text: dict[str, str]) -> None:
    """Write a picture to a file, or as a PNG to stdout for the path `-`.

    Raises:
      WriteError: it cannot be written.
    """
    if str(path) != "-":
        images.write_image(path, pixels, metadata=text)
        return
    try:
        sys.stdout.buffer.write(images.encode_image(pixels, "PNG", metadata=text))
        sys.stdout.buffer.flush()
    except OSError as error:
        raise WriteError(f"cannot write to stdout: {error.strerror or error}.") from error
