"""Timelapses: animations of how a result comes about."""

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from jaxstyle import pyramid
from jaxstyle.config import StyleConfig
from jaxstyle.io.animation import Animation, open_animation
from jaxstyle.io.images import resize
from jaxstyle.loop.driver import Progress

# How long the frames are shown: the first one, all steps together, the last one.
_FIRST, _STEPS, _LAST = 1000, 5000, 2000
# Largest number of steps that are shown. Each of them ends a chunk, which takes time.
_MAX_FRAMES = 60
# Times are multiples of this, in all formats.
_UNIT = 40
# With frames at the steps k^2.5 of a level, neighbors differ by about the same.
_POWER = 2.5


def frame_steps(level_steps: Sequence[int], limit: int) -> tuple[int, ...]:
    """Choose the steps after which a timelapse has a frame: dense at the start of each level.

    Args:
      level_steps: number of steps of each level.
      limit: largest number of frames; every level has one, however small it is.

    Example:
      >>> from jaxstyle.io.timelapse import frame_steps
      >>> frame_steps([3, 2], 10)
      (1, 2, 3, 4, 5)
      >>> frame_steps([100], 9)
      (1, 3, 7, 14, 24, 37, 54, 76, 100)
    """
    if sum(level_steps) <= limit:
        return tuple(range(1, sum(level_steps) + 1))
    ends = np.cumsum(level_steps)
    density, chosen, more = 0.1, ends, ends
    while len(more) <= limit:
        chosen = more
        steps = [_level_steps(count, density) for count in level_steps]
        more = np.concatenate([s + end - s[-1] for s, end in zip(steps, ends, strict=True)])
        density *= 1.02
    return tuple(chosen.tolist())


def timelapse_steps(shape: Sequence[int], config: StyleConfig, rows: int = 1) -> tuple[int, ...]:
    """Return the steps of a run after which its timelapse has a frame.

    Args:
      shape: height and width of the content image, or their proportions.
      config: configuration of the run.
      rows: number of devices that the rows of the image are split over.
    """
    plan = pyramid.levels(shape, config, rows)
    return frame_steps([count for _, count in plan], _MAX_FRAMES)


def _level_steps(count: int, density: float) -> ndarray:
    """Return the steps of a level of `count` steps that get a frame, with the last one."""
    marks = np.arange(1, 2 + int(density * count ** (1 / _POWER)))
    steps = np.ceil((marks / density) ** _POWER).astype(int)
    return np.unique(np.append(steps[steps < count], count))


@contextlib.contextmanager
def record_timelapse(
    path: str | os.PathLike[str],
    shape: Sequence[int],
    config: StyleConfig,
    *,
    rows: int = 1,
    first: Float[ndarray, "_h _w 3"] | None = None,
    alpha: Float[ndarray, "_ha _wa 1"] | None = None,
) -> Iterator["Timelapse"]:
    """Record a run as an animation of 6 to 10 seconds.

    The first frame is shown for a second, the last one for two.

    Args:
      path: animation to write: .gif, .webp or .mp4. Its frames are as large as the result, but
        their long edge is at most 640 pixels as GIF, else 1024.
      shape: height and width of the content image, or their proportions.
      config: configuration of the run.
      rows: number of devices that the rows of the image are split over.
      first: image to start with, e.g. the content image.
      alpha: opacity of all frames, which are put on white.

    Raises:
      WriteError: it cannot be written.

    Example:
      >>> import tempfile
      >>> from pathlib import Path
      >>> import numpy as np
      >>> import jaxstyle
      >>> from jaxstyle.io.timelapse import record_timelapse
      >>> content = np.full((24, 32, 3), 0.2)
      >>> config = jaxstyle.StyleConfig(size=32, steps=(4,), style_layers=("relu1_1",))
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = Path(folder, "process.gif")
      ...     with record_timelapse(path, content.shape, config, first=content) as timelapse:
      ...         options = {"callback": timelapse, "callback_steps": timelapse.steps}
      ...         # result = jaxstyle.stylize(params, content, style, config, **options)
      ...         timelapse.write(1 - content)  # result.image
      ...     path.exists()
      True
    """
    path = Path(path)
    steps = timelapse_steps(shape, config, rows)
    with open_animation(path, pyramid.fit_shape(shape, config.size)) as animation:
        yield Timelapse(animation, steps, first, alpha)


class Timelapse:
    """A callback of `stylize` that records frames; see `record_timelapse`.

    Attributes:
      steps: steps that get a frame, for `callback_steps` of `stylize`. Without that, frames are
        those of the chunks.
    """

    def __init__(
        self,
        animation: Animation,
        steps: Sequence[int],
        first: ndarray | None,
        alpha: ndarray | None,
    ):
        self.steps = tuple(steps)
        self._animation, self._alpha = animation, alpha
        self._due = list(reversed(self.steps))
        self._has_first = first is not None
        if first is not None:
            self._append(first)

    def __call__(self, progress: Progress) -> None:
        """Record the current image if a frame is due. The last one is left to `write`."""
        if self._due and progress.step >= self._due[-1] and progress.step < progress.steps:
            self._append(progress.image)
        while self._due and progress.step >= self._due[-1]:
            self._due.pop()

    def write(self, image: Any) -> None:
        """Write the animation, with `image` as its last frame.

        Raises:
          WriteError: it cannot be written.
        """
        self._append(image)
        count = len(self._animation) - 1 - self._has_first
        each = _UNIT * max(1, round(_STEPS / max(1, count) / _UNIT))
        first = [_FIRST] if self._has_first else []
        self._animation.write([*first, *[each] * count, _LAST])

    def _append(self, image: Any) -> None:
        pixels = np.asarray(image, np.float32)
        if self._alpha is not None:
            pixels = resize(pixels, self._alpha.shape)
            pixels = np.concatenate([pixels, self._alpha], axis=-1)
        self._animation.append(pixels)
