"""One result from files to a file: progress, previews, checkpoints, interruption, report."""

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxstyle import pyramid
from jaxstyle.cli.companions import Companions, Sources, open_companions
from jaxstyle.cli.context import Options, RunContext
from jaxstyle.cli.distributed import check_equal
from jaxstyle.cli.live import show
from jaxstyle.config import StyleConfig
from jaxstyle.errors import DivergedError, ExitCode, WriteError, computing
from jaxstyle.host import on_signals, release_memory
from jaxstyle.io import images
from jaxstyle.io.animation import check_animation
from jaxstyle.io.atomic import RealPaths, check_output, write_bytes
from jaxstyle.io.checkpoint import Checkpoints
from jaxstyle.io.provenance import Inputs, metadata
from jaxstyle.live.views import Page, PictureView
from jaxstyle.loop.driver import Callback, Progress, Result
from jaxstyle.loop.plateau import count_steps
from jaxstyle.reporting import Reporter, check_stdout, logger
from jaxstyle.types import Params

Transfer = Callable[[Params, Callback, Collection[int], Progress | None], Result]
"""Makes a result from weights, a callback and its steps, and the progress of an earlier run."""
Plan = list[tuple[tuple[int, int], int]]
STDOUT = Path("-")


@dataclass(frozen=True, kw_only=True)
class ImageOptions(Options):
    """Options of a command that writes one image.

    Attributes:
      output: image to write; `-` writes a PNG to stdout.
      report: JSON report to write, or `None`.
      timelapse: animation of the run to write, or `None`.
      compare: sheet with content image, style images and result to write, or `None`.
      preview_every: seconds between previews, or `None` for no previews.
      checkpoint: folder of checkpoints, or `None`.
      checkpoint_every: seconds between checkpoints.
      distributed: how the processes that make the image together are joined, or `None`.
      live: page that shows the run, or `None`.
    """

    output: Path
    report: Path | None = None
    timelapse: Path | None = None
    compare: Path | None = None
    preview_every: float | None = None
    checkpoint: Path | None = None
    checkpoint_every: float = 60.0
    distributed: str | None = None
    live: Page | None = None

    @property
    def writes(self) -> bool:
        """Whether this process writes and reports; of several, the first one does."""
        return self.distributed is None or jax.process_index() == 0

    def reporter(self) -> contextlib.AbstractContextManager[Reporter]:
        """Return the reporter that the options ask for, or a silent one."""
        return super().reporter() if self.writes else contextlib.nullcontext(Reporter())


def check_outputs(options: ImageOptions, inputs: Inputs) -> None:
    """Check, before any work is done, that the outputs can be written.

    Raises:
      WriteError: an output cannot be written.
      ValueError: an output would overwrite an input or another output.
    """
    output, report = options.output, options.report
    # Not `Path.resolve`, which raises on a loop of links.
    real_path = RealPaths()
    used = {real_path(path) for paths in inputs.values() for path in paths}
    for path in (output, report, options.timelapse, options.compare):
        if path is None or path == STDOUT:
            continue
        if os.path.realpath(path) in used:
            raise ValueError(f"{path} is also an input or another output; give it another name.")
        used.add(os.path.realpath(path))
    if report == STDOUT:
        raise ValueError("`--report` needs a file to write to, not stdout.")
    if output == STDOUT and options.preview_every is not None:
        raise ValueError("`--preview-every` needs a file to write to, not stdout.")
    if output == STDOUT and options.log_format == "json":
        raise ValueError("`--log-format json` writes to stdout, as `-o -` does; name a file.")
    if options.checkpoint is not None and not _is_utf8(options.checkpoint.absolute()):
        raise ValueError(f"`--checkpoint` is {str(options.checkpoint)!r}; use a name in UTF-8.")
    if output == STDOUT:
        check_stdout()
    else:
        images.check_picture(output)
    if report is not None:
        check_output(report)
    if options.compare is not None:
        images.check_picture(options.compare)
    if options.timelapse is not None:
        check_animation(options.timelapse)


def _is_utf8(path: Path) -> bool:
    """Return whether the name of a file is valid UTF-8, as the library of checkpoints needs."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return False
    return True


def run_job(
    options: ImageOptions,
    config: StyleConfig,
    inputs: Inputs,
    shape: tuple[int, int],
    transfer: Transfer,
    *,
    sources: Sources = Sources(),  # noqa: B008 - immutable
    rows: int = 1,
    warning: str = "",
) -> ExitCode:
    """Make a result; write the image, the report and a final line.

    Args:
      options: outputs of the command.
      config: configuration of the run, for the record.
      inputs: input files, for the record.
      shape: height and width of the result.
      transfer: makes the result.
      sources: images that the result is made from.
      rows: number of devices that the rows of the image are split over.
      warning: a message to report first, or nothing.

    Raises:
      DivergedError: the loss or its gradient is not finite.
      OutOfMemoryError: the computation ran out of memory.
      WriteError: an output cannot be written.
    """
    began = time.perf_counter()
    if options.output != STDOUT and options.writes:
        images.check_picture(options.output, shape)
    beside, writes = (options.timelapse, options.compare), options.writes
    opened = open_companions(*beside, sources, shape, config, rows=rows, writes=writes)
    with opened as companions, options.reporter() as reporter:
        if warning:
            reporter.note(warning)
        context = RunContext.load(options, decoder=config.init == "adain")
        record = context.provenance(config, inputs)
        device = jax.local_devices()[0].device_kind

        def text(step: int) -> dict[str, str]:
            part = {"step": step} if step < steps else {}
            return metadata(record, device=device, tile=config.tile, **part)

        def save(image: Any, step: int) -> np.ndarray:
            pixels = images.resize(np.asarray(image), shape)
            if sources.alpha is not None:
                pixels = np.concatenate([pixels, sources.alpha], axis=-1)
            if options.writes:
                write_image(options.output, pixels, text(step))
            return pixels

        if config.tile:
            logger.info("in tiles of %d pixels", config.tile)
        if rows > 1:
            logger.info("rows over %d devices", rows)
        plan = pyramid.levels(shape, config, rows)
        steps = sum(count for _, count in plan)
        reporter.plan(pyramid.work(plan), levels=[size for size, _ in plan])
        with contextlib.ExitStack() as stack:
            view = None
            if options.live is not None:
                save_now = None if options.output == STDOUT else save
                view = PictureView(options.output.name, plan, inputs, save_now)
                show(options.live, view, reporter)
            callback = _Callback(reporter, plan, save, options.preview_every, stack, view)
            checkpoints = None
            if options.checkpoint is not None:
                checkpoints = Checkpoints(
                    options.checkpoint,
                    record,
                    config,
                    plan,
                    options.checkpoint_every,
                    warn=reporter.note,
                )
                stack.enter_context(contextlib.closing(checkpoints))
            if options.distributed is not None:
                resume = checkpoints and checkpoints.resume
                check_equal(record=record, plan=plan, step=resume.step if resume else 0)
            result = _transfer(context.params, transfer, callback, companions, checkpoints, config)
            if view is not None:
                view.close_saving()
            pixels = save(result.image, len(result.trace.loss))
            seconds = time.perf_counter() - began
            summary = _summarize(options, result, shape, plan, config.stop, seconds)
            if options.report is not None and options.writes:
                _write_report(options.report, record, summary, result)
            companions.write(pixels, text(len(result.trace.loss)))
        reporter.result(_final_line(summary), **summary)
        if view is not None:
            view.finish(result.image, _final_line(summary), complete=summary["complete"])
    return ExitCode.OK if summary["complete"] else ExitCode.INTERRUPTED


def _transfer(
    params: Params,
    transfer: Transfer,
    callback: Callback,
    companions: Companions,
    checkpoints: Checkpoints | None,
    config: StyleConfig,
) -> Result:
    """Run or resume a transfer, and check that it did not diverge."""
    callback = companions.watch(callback)
    resume = None
    if checkpoints is not None:
        callback, resume = checkpoints.watch(callback), checkpoints.resume
    with computing("try a smaller --size"):
        result = transfer(params, callback, companions.steps, resume)
    if not bool(result.trace.finite[-1]):
        lbfgs = config.optimizer == "lbfgs"
        advice = "--optimizer pyramid_adam" if lbfgs else "a lower --learning-rate"
        steps = len(result.trace.loss)
        raise DivergedError(f"the loss is not finite any more at step {steps}; try {advice}.")
    return result


class _Callback:
    """The callback of a run: reports and shows progress, writes previews, stops if interrupted."""

    def __init__(
        self,
        reporter: Reporter,
        plan: Plan,
        save: Callable[[Any, int], object],
        preview_every: float | None,
        stack: contextlib.ExitStack,
        view: PictureView | None,
    ):
        self._reporter, self._plan, self._stack = reporter, plan, stack
        self._save, self._preview_every, self._view = save, preview_every, view
        self._interrupted, self._last_preview = False, -np.inf
        self._level, self._began = -1, time.monotonic()
        if view is not None:
            view.on_stop(self.interrupt)

    def __call__(self, progress: Progress) -> bool:
        if self._level < 0:
            # Before there is an image to keep, a signal ends the process.
            self._stack.enter_context(on_signals(self.interrupt))
        release_memory()
        loss, now = float(progress.loss), time.monotonic()
        if progress.level != self._level:
            self._level = progress.level
            (height, width), _ = self._plan[progress.level]
            seconds = now - self._began
            logger.info("level %dx%d: first steps after %.1f s", width, height, seconds)
        self._reporter.progress(
            pyramid.work(self._plan, progress.step),
            f"step {progress.step}/{progress.steps}  loss {loss:.4g}",
            step=progress.step,
            loss=loss,
        )
        if self._view is not None:
            self._view.update(progress)
        last = progress.step == progress.steps
        due = self._preview_every is not None and now - self._last_preview >= self._preview_every
        if due and not last:
            self._save(progress.image, progress.step)
            self._last_preview = now
        return self._interrupted

    def interrupt(self) -> None:
        self._interrupted = True


def _summarize(
    options: ImageOptions,
    result: Result,
    shape: tuple[int, int],
    plan: Plan,
    stop: float,
    seconds: float,
) -> dict[str, Any]:
    losses = np.asarray(result.trace.loss)
    return {
        "output": {"file": str(options.output), "width": shape[1], "height": shape[0]},
        "steps": count_steps(plan, losses, stop),
        "planned": sum(count for _, count in plan),
        "loss": float(losses[-1]),
        "complete": len(losses) == sum(count for _, count in plan),
        "seconds": round(seconds, 3),
    }


def _final_line(summary: dict[str, Any]) -> str:
    output, steps = summary["output"], str(summary["steps"])
    if summary["complete"] and summary["steps"] < summary["planned"]:
        steps += f" of {summary['planned']}"
    end = "" if summary["complete"] else ", interrupted: this is the result so far"
    return (
        f"{output['file']}: {output['width']}x{output['height']}, {steps} steps, "
        f"loss {summary['loss']:.4g}, {summary['seconds']:.1f} s{end}"
    )


def _write_report(
    path: Path, record: dict[str, Any], summary: dict[str, Any], result: Result
) -> None:
    trace = {
        "loss": np.asarray(result.trace.loss).tolist(),
        "terms": {name: np.asarray(v).tolist() for name, v in result.trace.terms.items()},
    }
    report = {**record, **summary, "device": jax.local_devices()[0].device_kind, "trace": trace}
    write_bytes(path, (json.dumps(report, indent=2) + "\n").encode())


def write_image(path: Path, pixels: np.ndarray, text: dict[str, str]) -> None:
    """Write an image to a file, or as a PNG to stdout for the path `-`.

    Raises:
      WriteError: it cannot be written.
    """
    if path != STDOUT:
        images.write_image(path, pixels, metadata=text)
        return
    try:
        sys.stdout.buffer.write(images.encode_image(pixels, "PNG", metadata=text))
        sys.stdout.buffer.flush()
    except OSError as error:
        raise WriteError(f"cannot write to stdout: {error.strerror or error}.") from error
