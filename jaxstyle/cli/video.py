"""`jaxstyle video`: repaint a video, frame by frame."""

import contextlib
import dataclasses
import itertools
import shutil
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from jaxstyle import pyramid
from jaxstyle.analysis.memory import check_memory, fit_tile
from jaxstyle.cli.context import Options, RunContext
from jaxstyle.cli.live import LiveReporter
from jaxstyle.config import StyleConfig
from jaxstyle.errors import ExitCode, ImageReadError, computing
from jaxstyle.host import on_signals, release_memory
from jaxstyle.io.atomic import RealPaths, check_output
from jaxstyle.io.inputs import read_style
from jaxstyle.io.video import ffmpeg_version
from jaxstyle.live.views import Page
from jaxstyle.loop.driver import Progress
from jaxstyle.reporting import Reporter
from jaxstyle.types import AnyArray, Params
from jaxstyle.video.clip import Clip, open_clip, read_frames
from jaxstyle.video.fast import FastPainter, add_guesses
from jaxstyle.video.flow import opencv
from jaxstyle.video.follow import Frame
from jaxstyle.video.masks import MaskSource, add_masks, open_mask
from jaxstyle.video.output import check_video, max_edge, max_rate, write_frames
from jaxstyle.video.paint import Painter, Schedule
from jaxstyle.video.report import Pair, strip_numbers, write_report
from jaxstyle.video.run import FrameDone, paint_again, paint_forwards
from jaxstyle.video.store import FrameStore, open_store

# Frames that AdaIN makes together, and the long edge of those in a report.
_FAST_BATCH, _STRIP_SIZE = 4, 320


@dataclass(frozen=True, kw_only=True)
class VideoOptions(Options):
    """Options of `jaxstyle video`.

    Attributes:
      clip: video to repaint, or a folder of its frames.
      styles: style images.
      output: video or folder to write.
      mask: one mask per style image: an image, a video or a folder.
      start: seconds of the video at which to start.
      end: seconds at which to end, or `None`.
      fps: frames per second of the result, or `None` for those of the video.
      every: paint one frame of so many.
      frame_steps: steps of each frame but the first of a shot.
      temporal_weight: weight of the temporal loss.
      passes: number of times that the frames are painted.
      fast: whether to use AdaIN instead of the optimization.
      report: report to write, .html or .json.
      live: page that shows the run, or `None`.
      keep_frames: whether to keep the folder of frames.
    """

    clip: Path
    styles: list[Path]
    output: Path
    mask: list[Path] = dataclasses.field(default_factory=list)
    start: float = 0.0
    end: float | None = None
    fps: Fraction | None = None
    every: int = 1
    frame_steps: int = Schedule.steps
    temporal_weight: float = Schedule.weight
    passes: int = 1
    fast: bool = False
    report: Path | None = None
    live: Page | None = None
    keep_frames: bool = False

    @property
    def schedule(self) -> Schedule:
        """Schedule of the frames."""
        return Schedule(self.frame_steps, self.temporal_weight)


def video(options: VideoOptions, config: StyleConfig) -> ExitCode:
    """Repaint a video.

    Raises:
      ImageReadError: the video, a style image or a mask cannot be read.
      ValueError: options contradict each other, or an output is an input.
      WriteError: an output or the folder of frames cannot be written.
      DivergedError: the loss of a frame is not finite.
    """
    began = time.perf_counter()
    _check(options)
    source = _Source.open(options, config)
    config = dataclasses.replace(config, size=max(source.shape))
    output = options.output.absolute()
    folder = output.with_name(f"{output.name}.frames")
    with contextlib.ExitStack() as stack:
        reporter = stack.enter_context(options.reporter())
        if options.live is not None:
            reporter = LiveReporter(reporter, options.live, folder)
        styles = [read_style(path, source.shape, config) for path in options.styles]
        context = RunContext.load(options, decoder=options.fast or config.init == "adain")
        record = source.record(context, options, config)
        # Tiles change a result by no more than rounding: a run may go on with other ones.
        config = fit_tile(source.shape, config)
        if warning := check_memory(source.shape, config):
            reporter.note(warning)
        store = stack.enter_context(open_store(folder, record))
        if source.clip.uneven:
            reporter.note(f"the frames of {options.clip} are not evenly spaced; they will be.")
        run = _Run(reporter, options, config, source, store)
        if isinstance(reporter, LiveReporter):
            reporter.view.on_stop(run.interrupt)
        stack.enter_context(on_signals(run.interrupt))
        run.paint(context.params, styles)
        if run.error is not None:
            reporter.note(str(run.error))
        if run.count == 0:
            _raise_no_frames(run, options)
        sound = _sound(source.clip, options, run.count / source.rate)
        frames = (store.read(run.finished, number) for number in range(run.count))
        rate, shape = source.rate, source.shape
        write_frames(options.output, frames, shape, rate, scratch=folder, sound=sound)
        summary = {
            "output": {"file": str(options.output), "width": shape[1], "height": shape[0]},
            "frames": run.count,
            "passes": run.finished,
            "complete": run.complete,
            "seconds": round(time.perf_counter() - began, 3),
        }
        if options.report is not None:
            records = [store.get(run.finished, number) or {} for number in range(run.count)]
            strip = _strip(source, options, store, run)
            write_report(options.report, summary, record, records, strip)
        reporter.result(_final_line(summary), **summary)
    if run.complete and not options.keep_frames:
        shutil.rmtree(folder, ignore_errors=True)
    if run.interrupted:
        return ExitCode.INTERRUPTED
    return ExitCode.OK if run.error is None else ExitCode.UNREADABLE_INPUT


def _check(options: VideoOptions) -> None:
    """Check, before any work is done, what can be checked without reading the video."""
    opencv()
    real_path = RealPaths()
    used = {real_path(path) for path in (options.clip, *options.styles, *options.mask)}
    for path in filter(None, (options.output, options.report)):
        if real_path(path) in used:
            raise ValueError(f"{path} is also an input or another output; give it another name.")
        used.add(real_path(path))
        if path.absolute().parent == options.clip.absolute():
            raise ValueError(f"{path} would be one of the frames in {options.clip}.")
    if options.mask and len(options.mask) != len(options.styles):
        raise ValueError(
            f"{len(options.mask)} masks for {len(options.styles)} styles; give one --mask for each."
        )
    if options.fast and options.mask:
        raise ValueError("`--fast` takes no masks; leave --mask out.")
    if options.fast and options.passes > 1:
        raise ValueError("`--fast` paints in one pass; leave --passes out.")
    if options.end is not None and options.end <= options.start:
        raise ValueError(f"--to {options.end:g} is not after --from {options.start:g}.")
    check_video(options.output)
    if options.report is not None:
        if options.report.suffix.lower() not in (".html", ".json"):
            raise ValueError(f"--report {options.report} must end in .html or .json.")
        check_output(options.report)


@dataclass(frozen=True)
class _Source:
    """The video and its masks, at the rate and size of the result."""

    clip: Clip
    shape: tuple[int, int]
    rate: Fraction
    limits: dict[str, Any]
    masks: list[MaskSource]

    @classmethod
    def open(cls, options: VideoOptions, config: StyleConfig) -> "_Source":
        clip = open_clip(options.clip)
        if clip.images and options.fps is not None:
            clip = clip.at_rate(options.fps)
        rate = min((options.fps or clip.rate) / options.every, max_rate(options.output))
        # Codecs need even sides.
        height, width = pyramid.fit_shape(clip.shape, min(config.size, max_edge(options.output)))
        shape = max(2, height // 2 * 2), max(2, width // 2 * 2)
        limits = {"start": options.start, "end": options.end, "rate": rate}
        masks = [open_mask(path, shape) for path in options.mask]
        # A folder has a mask for each frame.
        masks = [m.at_rate(clip.rate) if isinstance(m, Clip) and m.images else m for m in masks]
        return cls(clip, shape, rate, limits, masks)

    def frames(self) -> Generator[Frame, None, None]:
        frames = read_frames(self.clip, self.shape, **self.limits)
        return add_masks(frames, self.masks, self.shape, **self.limits)

    def record(
        self, context: RunContext, options: VideoOptions, config: StyleConfig
    ) -> dict[str, Any]:
        """Return what determines the frames of each pass."""
        masks = [
            [path] if isinstance(mask, np.ndarray) else mask.files
            for path, mask in zip(options.mask, self.masks, strict=True)
        ]
        inputs = {
            "content": list(self.clip.files),
            "style": options.styles,
            "mask": list(itertools.chain(*masks)),
        }
        record = context.provenance(config, inputs)
        record["schedule"] = "fast" if options.fast else dataclasses.asdict(options.schedule)
        record["versions"] = {**record["versions"], "opencv": opencv().__version__}
        if any(isinstance(item, Clip) and not item.images for item in (self.clip, *self.masks)):
            record["versions"]["ffmpeg"] = ffmpeg_version()
        record["frames"] = {"from": options.start, "to": options.end, "rate": str(self.rate)}
        return record


class _Run:
    """Paints the frames and reports; it can be interrupted.

    Attributes:
      count: number of frames that are finished.
      finished: number of the last pass that is finished, or of the first one.
      interrupted: whether a signal has ended the run.
      error: what is wrong with the video, or `None`.
    """

    def __init__(
        self,
        reporter: Reporter,
        options: VideoOptions,
        config: StyleConfig,
        source: _Source,
        store: FrameStore,
    ):
        self._reporter, self._options, self._config = reporter, options, config
        self._source, self._store = source, store
        self.count, self.finished, self.interrupted = 0, 1, False
        self.error: ImageReadError | None = None
        self._pass, self._done = 1, 0.0
        self._first, self._next = _work(config, options, source.shape)
        # The duration may be missing.
        clip = source.clip
        end = clip.seconds if options.end is None else min(options.end, clip.seconds or np.inf)
        frames = 1 if end is None else max(1, round((end - options.start) * source.rate))
        before, items = len(store), frames * options.passes
        total = self._next * max(0, items - before) + (0 if before else self._first - self._next)
        reporter.plan(total, items=0 if end is None else max(items, before), done=before)

    @property
    def complete(self) -> bool:
        """Whether all frames are painted in all passes."""
        return self.error is None and not self.interrupted

    def interrupt(self) -> None:
        self.interrupted = True

    def paint(self, params: Params, styles: Sequence[AnyArray]) -> None:
        """Paint all passes."""
        store, watch, painter = self._store, self._watch, None
        with computing("try a smaller --size"):
            with contextlib.closing(self._source.frames()) as frames:
                if self._options.fast:
                    frames = add_guesses(
                        frames, params, styles, self._config, _FAST_BATCH, partial(store.has, 1)
                    )
                    paint = FastPainter().paint
                else:
                    painter = Painter(params, styles, self._config, self._options.schedule)
                    paint = painter.paint
                self.count = self._consume(paint_forwards(paint, frames, store, watch))
            if self.interrupted:
                # Those of an earlier run that this one has not come to.
                while store.has(1, self.count):
                    self.count += 1
            for number in range(2, self._options.passes + 1):
                self._pass = number
                if painter is None or self.interrupted or not self.count:
                    return
                with contextlib.closing(self._source.frames()) as frames:
                    known = itertools.islice(frames, self.count)
                    again = paint_again(painter, known, store, number, watch)
                    if self._consume(again) < self.count or self.interrupted:
                        return
                self.finished = number

    def _consume(self, frames: Iterator[FrameDone]) -> int:
        """Report frames as they are finished; return their number."""
        count = 0
        try:
            for done in frames:
                count += 1
                if not done.before:
                    self._report(done)
                if self.interrupted:
                    break
        except ImageReadError as error:
            # Without its traceback, which would keep the video open.
            self.error = error.with_traceback(None)
        return count

    def _watch(self, number: int, progress: Progress) -> bool:
        release_memory()
        share = self._work_of(number)
        text = f"frame {number + 1}  step {progress.step}/{progress.steps}"
        work = self._done + progress.fraction * share
        self._reporter.progress(work, text, frame=number + 1, step=progress.step)
        return self.interrupted

    def _work_of(self, frame: int) -> float:
        return self._first if frame == 0 and self._pass == 1 else self._next

    def _report(self, done: FrameDone) -> None:
        self._done += self._work_of(done.frame)
        record, (height, width) = done.record, self._source.shape
        loss = record["loss"]
        text = f"frame {done.frame + 1}: " + ("" if loss is None else f"loss {loss:.4g}, ")
        text += "new shot" if record["new_shot"] else f"{record['reliable']:.0%} followed"
        fields = {**record, "frame": done.frame + 1, "width": width, "height": height}
        self._reporter.progress(self._done, text, frame=done.frame + 1)
        self._reporter.item(text, status="done", **fields)


def _work(
    config: StyleConfig, options: VideoOptions, shape: tuple[int, int]
) -> tuple[float, float]:
    """Return the work of the first frame, and that of each further one."""
    if options.fast:
        return 1.0, 1.0
    first = pyramid.work(pyramid.levels(shape, config))
    return first, pyramid.work([(shape, options.frame_steps)])


def _raise_no_frames(run: _Run, options: VideoOptions) -> None:
    if run.error is not None:
        raise run.error
    if not run.interrupted:
        raise ImageReadError(f"{options.clip} has no frames between --from and --to.")
    raise KeyboardInterrupt


def _sound(clip: Clip, options: VideoOptions, seconds: Fraction) -> list[str]:
    """Return the options of ffmpeg that name the sound track of the part of the video."""
    if not clip.sound:
        return []
    limits = ["-ss", f"{options.start:.6f}", "-t", f"{float(seconds):.6f}"]
    return [*limits, "-i", f"file:{clip.path}"]


def _strip(source: _Source, options: VideoOptions, store: FrameStore, run: _Run) -> Iterator[Pair]:
    """Yield the frames of a report and their results."""
    height, width = pyramid.fit_shape(source.shape, min(_STRIP_SIZE, max(source.shape)))
    numbers = strip_numbers(run.count)
    frames = read_frames(source.clip, (height, width), **source.limits)
    with contextlib.closing(frames):
        for number, frame in zip(range(run.count), frames, strict=False):
            if number in numbers:
                yield frame, store.read(run.finished, number)


def _final_line(summary: dict[str, Any]) -> str:
    output = summary["output"]
    end = "" if summary["complete"] else ", not complete: this is the result so far"
    return (
        f"{output['file']}: {output['width']}x{output['height']}, {summary['frames']} frames, "
        f"{summary['seconds']:.1f} s{end}"
    )
