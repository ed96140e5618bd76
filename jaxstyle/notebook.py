"""Progress of a run inside a Jupyter or Colab notebook.

    from jaxstyle.notebook import show_progress
    result = jaxstyle.stylize(params, content, style, callback=show_progress())

The picture stays in the notebook as one small JPEG, so it is also there when the notebook is
opened elsewhere, and without widgets.
"""

import io
import math
import time
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from PIL import Image, ImageDraw, ImageFont

from jaxstyle.errors import JaxstyleError
from jaxstyle.io.images import resize
from jaxstyle.loop.driver import Progress
from jaxstyle.reporting import clock

# In pixels: gap between the images of a batch, height and margin of the curve, size of its text.
_GAP, _CURVE_HEIGHT, _MARGIN, _FONT_SIZE = 4, 96, 8, 12
# Lines are drawn larger and reduced, so that they have no steps.
_OVERSAMPLING = 3
_CURVE_COLOR = "#1a5fb4"
_MAX_BYTES = 200_000
_QUALITIES = (90, 80, 65, 50, 35, 20)


def show_progress(
    *, every: float = 1.0, width: int = 512, max_images: int = 16
) -> "ProgressDisplay":
    """Return a callback that shows the current image, its loss, and the time left.

    For `stylize`, `stylize_batch` and the other functions with a `callback`. The output of the
    cell is updated in place. For an update after each step, pass `callback_steps`.

    Args:
      every: seconds between updates; the last step is always shown.
      width: largest width and height of what is shown of the images, in pixels.
      max_images: number of images of a batch to show.

    Raises:
      JaxstyleError: this is not a notebook.

    Example:
      >>> from jaxstyle.notebook import show_progress
      >>> show_progress(width=300)  # Here, in a script.
      Traceback (most recent call last):
      ...
      jaxstyle.errors.JaxstyleError: `show_progress` needs a notebook: Jupyter or Colab.
    """
    _display()
    return ProgressDisplay(every, width, max_images)


class ProgressDisplay:
    """A callback that shows the progress of a run in a notebook; see `show_progress`."""

    def __init__(self, every: float, width: int, max_images: int):
        self._every, self._width, self._max_images = every, width, max_images
        self._line = self._picture = None
        self._began = self._first_time = self._last_time = time.monotonic()
        self._first_fraction = 0.0

    def __call__(self, progress: Progress) -> None:
        """Update the display, if it is time."""
        now = time.monotonic()
        first = self._picture is None or progress.fraction <= self._first_fraction
        if first:
            # The first steps wait for the compiler, so they do not tell how long the others take.
            self._first_time, self._first_fraction = now, progress.fraction
            self._line = self._picture = None
        elif now - self._last_time < self._every and progress.step < progress.steps:
            return
        losses = np.asarray(progress.trace.loss)
        images = np.asarray(progress.image, np.float32)
        if images.ndim == 3:
            images, losses = images[None], losses[None]
        images, losses = images[: self._max_images], losses.mean(axis=0)
        picture = _draw(images, losses, progress.steps, self._width)
        self._update(self._describe(progress, now), _encode(picture))
        # Drawing may take long as well.
        self._last_time = time.monotonic()

    def _describe(self, progress: Progress, now: float) -> str:
        text = f"step {progress.step} of {progress.steps}, loss {np.mean(progress.loss):.4g}"
        done = progress.fraction - self._first_fraction
        if progress.step == progress.steps:
            return f"{text}, {clock(now - self._began)} in all"
        if done <= 0:
            return text
        pace = (now - self._first_time) / done
        return f"{text}, {clock(pace * (1 - progress.fraction))} left"

    def _update(self, text: str, picture: bytes) -> None:
        line: Any = {"text/plain": text}
        image: Any = {"image/jpeg": picture, "text/plain": ""}
        if self._line is None or self._picture is None:
            display = _display()
            self._line = display(line, raw=True, display_id=True)
            self._picture = display(image, raw=True, display_id=True)
        else:
            self._line.update(line, raw=True)
            self._picture.update(image, raw=True)


def _display() -> Any:
    """Return the function `display` of IPython.

    Raises:
      JaxstyleError: this is not a notebook.
    """
    problem = JaxstyleError("`show_progress` needs a notebook: Jupyter or Colab.")
    try:
        from IPython.core.getipython import get_ipython
        from IPython.display import display
    except ImportError as error:
        raise problem from error
    if get_ipython() is None:
        raise problem
    return display


def _draw(
    images: Float[ndarray, "n h w 3"], losses: Float[ndarray, " s"], steps: int, width: int
) -> ndarray:
    """Draw images in a grid, and the losses of the steps so far below; return uint8 RGB."""
    count = len(images)
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    # Coarse levels are shown at the same size as fine ones.
    room = [(width + _GAP) // number - _GAP for number in (rows, columns)]
    scale = min(a / b for a, b in zip(room, images.shape[1:3], strict=True))
    height, breadth = (max(1, round(side * scale)) for side in images.shape[1:3])
    total = max(width, (breadth + _GAP) * columns - _GAP)
    sheet = np.ones(((height + _GAP) * rows + _CURVE_HEIGHT, total, 3), np.float32)
    for index, image in enumerate(images):
        y, x = (index // columns) * (height + _GAP), (index % columns) * (breadth + _GAP)
        sheet[y : y + height, x : x + breadth] = resize(image, (height, breadth))
    pixels = np.round(np.clip(sheet, 0, 1) * 255).astype(np.uint8)
    pixels[-_CURVE_HEIGHT:] = _draw_curve(losses, steps, total)
    return pixels


def _draw_curve(losses: Float[ndarray, " s"], steps: int, width: int) -> ndarray:
    """Draw losses over the steps of a run, on a logarithmic scale, with first and last value."""
    logs = np.log10(np.maximum(np.nan_to_num(losses, posinf=1e30), 1e-12))
    low, high = float(logs.min()), float(logs.max())
    inner = width - 2 * _MARGIN, _CURVE_HEIGHT - 2 * _MARGIN
    x = _MARGIN + np.arange(len(logs)) / max(1, steps - 1) * inner[0]
    y = _MARGIN + (high - logs) / max(high - low, 1e-9) * inner[1]
    size = width * _OVERSAMPLING, _CURVE_HEIGHT * _OVERSAMPLING
    large = Image.new("RGB", size, "white")
    points = (np.stack([x, y], axis=-1) * _OVERSAMPLING).ravel().tolist()
    line = ImageDraw.Draw(large)
    line.line(points, fill=_CURVE_COLOR, width=2 * _OVERSAMPLING, joint="curve")
    curve = large.resize((width, _CURVE_HEIGHT), Image.Resampling.LANCZOS)
    draw, font = ImageDraw.Draw(curve), ImageFont.load_default(_FONT_SIZE)
    text = f"loss {losses[0]:.3g} to {losses[-1]:.3g}, log scale"
    draw.text((width - _MARGIN, _MARGIN), text, fill="black", font=font, anchor="ra")
    return np.asarray(curve)


def _encode(pixels: ndarray) -> bytes:
    """Return a JPEG file of at most `_MAX_BYTES`, unless the lowest quality needs more."""
    data = b""
    for quality in _QUALITIES:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, subsampling="4:4:4")
        data = buffer.getvalue()
        if len(data) <= _MAX_BYTES:
            break
    return data
