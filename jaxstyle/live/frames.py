"""JPEG files of images, small enough to be sent to a page often."""

import io

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from PIL import Image

from jaxstyle.io.images import read_thumbnail
from jaxstyle.io.remote import FilePath

MAX_SIDE = 1024
"""Limit of the long edge of a frame."""
THUMBNAIL_SIDE = 320
"""Long edge of a thumbnail."""


def encode_frame(image: Float[ndarray, "h w 3"], max_side: int = MAX_SIDE) -> bytes:
    """Return an image as a JPEG file whose edges have at most `max_side` pixels.

    Args:
      image: RGB in [0, 1].
      max_side: limit of the long edge; a smaller image keeps its size.

    Example:
      >>> import numpy as np
      >>> from jaxstyle.live.frames import encode_frame
      >>> with Image.open(io.BytesIO(encode_frame(np.full((60, 300, 3), 0.5), 100))) as frame:
      ...     frame.size
      (100, 20)
    """
    factor = max(image.shape[:2]) // max_side
    if factor > 1:
        image = _average_blocks(image, factor)
    frame = Image.fromarray(np.round(np.clip(image, 0, 1) * 255).astype(np.uint8))
    frame.thumbnail((max_side, max_side), Image.Resampling.LANCZOS)
    return _to_jpeg(frame)


def encode_file(path: FilePath, max_side: int) -> bytes:
    """Return an image file as a JPEG file with a long edge of `max_side` pixels.

    Raises:
      ImageReadError: the file cannot be read as an image.
      OSError: it cannot be read at all.
    """
    return _to_jpeg(read_thumbnail(path, max_side))


def _to_jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90, subsampling=0)
    return buffer.getvalue()


def _average_blocks(image: Float[ndarray, "_h _w 3"], factor: int) -> Float[ndarray, "h w 3"]:
    """Average blocks of `factor` x `factor` pixels, without a copy of the whole image."""
    height, width = (side // factor for side in image.shape[:2])
    total = np.zeros((height, width, 3), np.float32)
    for y in range(factor):
        for x in range(factor):
            total += image[y::factor, x::factor][:height, :width]
    return total / np.float32(factor**2)
