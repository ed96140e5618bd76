"""Images beside the result of a run: its timelapse, and the sheet that compares it."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxstyle.config import StyleConfig
from jaxstyle.io import images
from jaxstyle.io.sheet import compare_sheet
from jaxstyle.io.timelapse import Timelapse, record_timelapse, timelapse_steps
from jaxstyle.loop.driver import Callback, Progress


class Sources(NamedTuple):
    """Images that a result is made from.

    Attributes:
      content: content image, or `None`.
      styles: style images.
      masks: one mask per style image, or none.
      alpha: opacity of the content image and of the result, `[h, w, 1]`, or `None`.
    """

    content: np.ndarray | None = None
    styles: Sequence[np.ndarray] = ()
    masks: Sequence[np.ndarray] = ()
    alpha: np.ndarray | None = None


class Companions:
    """Images that are written beside a result.

    Attributes:
      steps: steps after which the callback has to be called.
    """

    def __init__(
        self,
        sources: Sources,
        steps: tuple[int, ...],
        timelapse: Timelapse | None,
        compare: Path | None,
    ):
        self._sources, self.steps = sources, steps
        self._timelapse, self._compare = timelapse, compare

    def watch(self, callback: Callback) -> Callback:
        """Return a callback that calls `callback` and records the timelapse."""

        def callback_and_record(progress: Progress) -> bool:
            if self._timelapse is not None:
                self._timelapse(progress)
            return bool(callback(progress))

        return callback_and_record

    def write(self, image: np.ndarray, metadata: Mapping[str, str]) -> None:
        """Write the images beside a result, which has opacity if its content image has.

        Raises:
          WriteError: one cannot be written.
        """
        if self._compare is not None:
            sheet = _draw_sheet(self._sources, image)
            images.write_image(self._compare, sheet, metadata=metadata)
        if self._timelapse is not None:
            self._timelapse.write(image[..., :3])


@contextlib.contextmanager
def open_companions(
    timelapse: Path | None,
    compare: Path | None,
    sources: Sources,
    shape: tuple[int, int],
    config: StyleConfig,
    *,
    rows: int = 1,
    writes: bool = True,
) -> Iterator[Companions]:
    """Prepare the images beside a result, and check that they can be written.

    Args:
      timelapse: animation to write, or `None`.
      compare: sheet to write, or `None`.
      sources: images that the result is made from.
      shape: height and width of the result.
      config: configuration of the run.
      rows: number of devices that the rows of the image are split over.
      writes: whether this process writes. The others take the same steps at a time.

    Raises:
      WriteError: one cannot be written.
    """
    steps = () if timelapse is None else timelapse_steps(shape, config, rows)
    if not writes:
        yield Companions(sources, steps, None, None)
        return
    if compare is not None and sources.content is not None:
        images.check_picture(compare, _draw_sheet(sources, sources.content).shape)
    with contextlib.ExitStack() as stack:
        recorded = None
        if timelapse is not None:
            options: dict[str, Any] = {"first": sources.content, "alpha": sources.alpha}
            recorded = stack.enter_context(
                record_timelapse(timelapse, shape, config, rows=rows, **options)
            )
        yield Companions(sources, steps, recorded, compare)


def _draw_sheet(sources: Sources, result: np.ndarray) -> np.ndarray:
    content, styles, masks, alpha = sources
    if content is None:
        raise ValueError("`content` is missing; a sheet compares it with the result.")
    if alpha is not None:
        content = np.concatenate([content, alpha], axis=-1)
    return compare_sheet(content, styles, result, masks=masks)
