"""Animated GIF files: one palette for all frames, and colors that stay where a picture does.

A palette for each frame would make all colors flicker. So would the diffusion of errors, which
is needed against bands: a small change moves the dots of everything that follows. A pixel is
therefore drawn again only if it has changed visibly.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

# The entry of the palette that is left stands for pixels that stay.
_COLORS = 255
# Number of frames that the palette is made from, and their long edge.
_SAMPLES, _SAMPLE_EDGE = 12, 64
# Change of a channel, of 255, up to which a pixel stays.
_STAY = 5


def write_gif(path: Path, frames: Image.Image, milliseconds: Sequence[int]) -> None:
    """Write an animation that repeats forever.

    Args:
      path: file to write.
      frames: image of several RGB frames.
      milliseconds: how long each frame is shown, in multiples of 10.

    Raises:
      OSError: the file cannot be written.

    Example:
      >>> import tempfile
      >>> from pathlib import Path
      >>> from PIL import Image
      >>> from jaxstyle.io.gif import write_gif
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = Path(folder, "red.gif")
      ...     write_gif(path, Image.new("RGB", (16, 12), "red"), [100])
      ...     with Image.open(path) as image:
      ...         image.size
      (16, 12)
    """
    drawn = _draw(frames, _make_palette(frames, len(milliseconds)), len(milliseconds))
    first = next(drawn)
    options = {"append_images": drawn, "duration": list(milliseconds), "loop": 0}
    first.save(path, "GIF", save_all=True, **options)


def _make_palette(frames: Image.Image, count: int) -> Image.Image:
    """Return an image with a palette of the colors of all frames."""
    scale = min(1.0, _SAMPLE_EDGE / max(frames.size))
    width, height = (max(1, round(side * scale)) for side in frames.size)
    chosen = sorted({round(i) for i in np.linspace(0, count - 1, _SAMPLES)})
    sheet = Image.new("RGB", (width, height * len(chosen)))
    for row, index in enumerate(chosen):
        frames.seek(index)
        # An average would lose the saturated colors of small details.
        small = frames.resize((width, height), Image.Resampling.NEAREST)
        sheet.paste(small, (0, row * height))
    # Median cut would spend most colors on large regions.
    return sheet.quantize(_COLORS, method=Image.Quantize.MAXCOVERAGE, kmeans=1)


def _draw(frames: Image.Image, palette: Image.Image, count: int) -> Iterator[Image.Image]:
    """Yield the frames in the colors of a palette."""
    colors = palette.getpalette()
    shown = indices = None
    for index in range(count):
        frames.seek(index)
        pixels = np.asarray(frames.convert("RGB"), np.int16)
        dithered = frames.convert("RGB").quantize(
            palette=palette, dither=Image.Dither.FLOYDSTEINBERG
        )
        if shown is None or indices is None:
            shown, indices = pixels, np.asarray(dithered)
        else:
            changed = np.abs(pixels - shown).max(axis=-1) > _STAY
            shown = np.where(changed[..., None], pixels, shown)
            indices = np.where(changed, np.asarray(dithered), indices)
        frame = Image.fromarray(indices)
        frame.putpalette(colors or [])
        yield frame
