"""Paint all frames of a video, with results on disk."""

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, UInt8

from jaxstyle.errors import DivergedError
from jaxstyle.loop.driver import Callback, Progress
from jaxstyle.video.follow import DISTANCES, Frame, Neighbor
from jaxstyle.video.paint import Painted, Painter, Repainting
from jaxstyle.video.still import StillRegions
from jaxstyle.video.store import FrameStore

Watch = Callable[[int, Progress], bool]
"""Called with the number of a frame, between chunks of steps; ends the pass by returning true."""


Paint = Callable[
    [Frame, Sequence[Neighbor], Bool[np.ndarray, "h w"] | None, Callback | None], Painted
]
"""Method `paint` of a `Painter` or a `FastPainter`."""


class FrameDone(NamedTuple):
    """What is known of a finished frame.

    Attributes:
      frame: number of the frame, from 0.
      record: its fields of `Painted` but the image.
      before: whether an earlier run has made it.
    """

    frame: int
    record: dict[str, Any]
    before: bool


def paint_forwards(
    paint: Paint, frames: Iterable[Frame], store: FrameStore, watch: Watch
) -> Iterator[FrameDone]:
    """Paint frames in their order, each after the frames before it of its shot.

    This is pass 1.

    Args:
      paint: paints a frame.
      frames: the frames.
      store: where the results are; frames that it has are not painted again.
      watch: called between chunks of steps; the iteration ends, without this frame, if it
        returns true.

    Raises:
      DivergedError: the loss of a frame is not finite.
    """
    shot: deque[Neighbor] = deque(maxlen=max(DISTANCES))
    regions = _Regions()
    for number, frame in enumerate(frames):
        still = regions.update(frame)
        record = store.get(1, number)
        before = record is not None
        if record is None:
            callback = _Stoppable(watch, number)
            with _at_frame(number):
                painted = paint(frame, _before(shot), still, callback)
            if callback.stopped:
                return
            record = store.write(1, number, painted.image, **_fields(painted))
        if record["new_shot"]:
            shot.clear()
            regions.restart(frame)
        shot.append(Neighbor(frame, store.read(1, number)))
        yield FrameDone(number, record, before)


def paint_again(
    painter: Painter, frames: Iterable[Frame], store: FrameStore, number: int, watch: Watch
) -> Iterator[FrameDone]:
    """Paint frames once more, each after its neighbors of the pass before.

    Even passes take the neighbors behind a frame, odd ones those before it. No frame waits for
    another one: with several devices each paints one, at the same time.

    Args:
      painter: paints the frames.
      frames: the frames.
      store: where the results are; frames that it has are not painted again.
      number: number of the pass, from 2.
      watch: as for `paint_forwards`.

    Raises:
      DivergedError: the loss of a frame is not finite.
    """
    group: list[Repainting] = []
    size = len(jax.local_devices())
    for item in _items(frames, store, number):
        record = store.get(number, item.number)
        if record is not None:
            yield FrameDone(item.number, record, True)
        elif not item.neighbors:
            record = store.get(number - 1, item.number) or {}
            store.write(number, item.number, item.result.astype(np.float32) / 255, **record)
            yield FrameDone(item.number, record, False)
        else:
            group.append(item)
        if len(group) == size:
            yield from _paint_group(painter, group, store, number, watch)
            if any(store.get(number, item.number) is None for item in group):
                return
            group = []
    if group:
        yield from _paint_group(painter, group, store, number, watch)


def _paint_group(
    painter: Painter, group: Sequence[Repainting], store: FrameStore, number: int, watch: Watch
) -> Iterator[FrameDone]:
    callback = _Stoppable(watch, group[0].number)
    count = len(jax.local_devices())
    padded = [*group, *[group[-1]] * (-len(group) % count)]
    with _at_frame(group[0].number):
        results = painter.repaint(padded, callback)
    if callback.stopped:
        return
    for item, painted in zip(group, results, strict=False):
        fields = _fields(painted) | {"new_shot": _is_new_shot(store, item.number)}
        record = store.write(number, item.number, painted.image, **fields)
        yield FrameDone(item.number, record, False)


def _is_new_shot(store: FrameStore, number: int) -> bool:
    """Return whether a shot begins with a frame, as the first pass has found."""
    record = store.get(1, number)
    assert record is not None
    return record["new_shot"]


def _items(frames: Iterable[Frame], store: FrameStore, number: int) -> Iterator[Repainting]:
    """Yield what `Painter.repaint` needs, from frames that are read once."""
    reach = max(DISTANCES)
    window: deque[tuple[int, Frame, Bool[np.ndarray, "h w"] | None]] = deque(maxlen=2 * reach + 1)
    regions, last = _Regions(), -1

    def item(center: int) -> Repainting:
        known = {n: frame for n, frame, _ in window}
        shots = {n: _is_new_shot(store, n) for n in known}
        step = 1 if number % 2 == 0 else -1
        neighbors = []
        for distance in DISTANCES:
            other = center + step * distance
            between = range(center + 1, other + 1) if step > 0 else range(other + 1, center + 1)
            if other in known and not any(shots[n] for n in between):
                neighbors.append(Neighbor(known[other], store.read(number - 1, other)))
        # A pixel is still as what the frame behind this one repeats, too.
        still = [one for n, _, one in window if n in (center, center + 1) and one is not None]
        kept = np.logical_or.reduce(still) if still else None
        result = store.read(number - 1, center)
        return Repainting(center, known[center], result, neighbors, kept)

    for last, frame in enumerate(frames):
        still = regions.update(frame)
        if _is_new_shot(store, last):
            regions.restart(frame)
            still = None
        window.append((last, frame, still))
        if last >= reach:
            yield item(last - reach)
    for center in range(max(0, last + 1 - reach), last + 1):
        yield item(center)


class _Regions:
    """Still regions of a shot, in which neither pixels nor masks change."""

    def __init__(self):
        self._regions: StillRegions | None = None

    def restart(self, frame: Frame) -> None:
        self._regions = StillRegions(_channels(frame))

    def update(self, frame: Frame) -> Bool[np.ndarray, "h w"] | None:
        return None if self._regions is None else self._regions.update(_channels(frame))


def _channels(frame: Frame) -> UInt8[np.ndarray, "h w c"]:
    if frame.masks is None:
        return frame.pixels
    return np.concatenate([frame.pixels, np.moveaxis(frame.masks, 0, -1)], axis=-1)


class _Stoppable:
    """A callback that remembers that it has ended a run."""

    def __init__(self, watch: Watch, number: int):
        self._watch, self._number, self.stopped = watch, number, False

    def __call__(self, progress: Progress) -> bool:
        self.stopped = self._watch(self._number, progress)
        return self.stopped


@contextlib.contextmanager
def _at_frame(number: int) -> Iterator[None]:
    """Name the frame in the error of a run that diverged."""
    try:
        yield
    except DivergedError as error:
        raise DivergedError(f"{error} at frame {number + 1}.") from None


def _before(shot: Sequence[Neighbor]) -> list[Neighbor]:
    return [shot[-distance] for distance in DISTANCES if distance <= len(shot)]


def _fields(painted: Painted) -> dict[str, Any]:
    record = painted._asdict()
    del record["image"]
    return record
