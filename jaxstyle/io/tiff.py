"""Tags of TIFF files that Pillow does not use: size, length, and the range of gray values."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import ExifTags, Image

# Most bytes that one byte of a compression can hold, by the tag's value: none, LZW, DEFLATE (two
# numbers) and PackBits.
_MAX_RATIOS = {1: 1, 5: 4096, 8: 1032, 32946: 1032, 32773: 64}
_YCBCR = 6


@dataclass(frozen=True)
class Levels:
    """How the values of a gray image are stored.

    Attributes:
      white: value of white; black is 0. `None` if Pillow has scaled the values to 8 bits.
      inverted: whether 0 is white instead.
      dtype: type of the stored values if Pillow reads them as another type.
    """

    white: float | None = None
    inverted: bool = False
    dtype: Any = None


def gray_levels(image: Image.Image) -> Levels:
    """Return how the values of a gray image of any format are stored."""
    deep = image.mode == "F" or image.mode.startswith("I")
    white = (1.0 if image.mode == "F" else 65535.0) if deep else None
    if image.format != "TIFF":
        return Levels(white)
    tags = _tags(image)
    bits = tags.get(ExifTags.Base.BitsPerSample, (1,))[0]
    signed = tags.get(ExifTags.Base.SampleFormat, (1,))[0] == 2
    # Pillow inverts 8-bit images itself.
    inverted = deep and tags.get(ExifTags.Base.PhotometricInterpretation) == 0
    if image.mode == "L" and signed:
        return Levels(127.0, dtype=np.int8)
    if image.mode.startswith("I"):
        unsigned32 = bits == 32 and not signed
        white = float(2 ** (bits - signed) - 1)
        return Levels(white, inverted, np.uint32 if unsigned32 else None)
    return Levels(white, inverted)


def stored_size(image: Image.Image) -> tuple[int, int]:
    """Return the width and height of an image of any format before its orientation is applied."""
    if image.format != "TIFF":
        return image.size
    # Pillow has applied the orientation to `size`.
    tags = _tags(image)
    return tags[ExifTags.Base.ImageWidth], tags[ExifTags.Base.ImageLength]


def check_length(image: Image.Image, length: int) -> None:
    """Raise `OSError` if a TIFF file is too short for its width and height, however compressed.

    Args:
      image: the image, not decoded yet.
      length: length of the file in bytes.
    """
    tags = _tags(image)
    width, height = stored_size(image)
    if tags.get(ExifTags.Base.PhotometricInterpretation) == _YCBCR:
        return  # Its colors may have fewer samples than its header says pixels.
    bits = width * height * sum(tags.get(ExifTags.Base.BitsPerSample, (1,)))
    ratio = _MAX_RATIOS.get(tags.get(ExifTags.Base.Compression, 1))
    if ratio is not None and length * ratio < bits // 8:
        raise OSError("image file is truncated: it has fewer pixels than its header says")


def _tags(image: Image.Image) -> Any:
    return image.tag_v2  # pyright: ignore[reportAttributeAccessIssue]
