"""Grids of captioned images."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

# In pixels.
_GAP = 6
_FONT_SIZE = 12


def draw_grid(rows: Sequence[Sequence[tuple[np.ndarray, str]]]) -> np.ndarray:
    """Draw images in rows on a white sheet, each with its caption below.

    All columns have the width of the widest image or caption. Each row has the height of
    its tallest image. Rows may differ in length.

    Args:
      rows: rows of (image, caption) pairs. Images are RGB in [0, 1] with shape `[h, w, 3]`;
        values outside are clipped. Captions have one or more lines.

    Returns:
      The sheet, float32 RGB in [0, 1] with shape `[h, w, 3]`.

    Example:
      >>> import numpy as np
      >>> image = np.zeros((20, 30, 3))
      >>> draw_grid([[(image, "1"), (image, "2")], [(image, "3")]]).shape
      (90, 78, 3)
    """
    font = ImageFont.load_default(_FONT_SIZE)
    cells = [cell for row in rows for cell in row]
    width = max(max(_text_width(text, font), pixels.shape[1]) for pixels, text in cells) + _GAP
    lines = max(text.count("\n") + 1 for _, text in cells)
    heights = [
        max(pixels.shape[0] for pixels, _ in row) + lines * (_FONT_SIZE + 4) + _GAP for row in rows
    ]
    size = width * max(map(len, rows)) + _GAP, sum(heights) + _GAP
    sheet = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(sheet)
    y = _GAP
    for row, height in zip(rows, heights, strict=True):
        for column, (pixels, text) in enumerate(row):
            x = _GAP + column * width
            sheet.paste(Image.fromarray(np.uint8(np.clip(pixels, 0, 1) * 255 + 0.5)), (x, y))
            draw.text((x, y + pixels.shape[0] + 2), text, fill="black", font=font)
        y += height
    return np.asarray(sheet, np.float32) / 255


def _text_width(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> int:
    """Return the width of the longest line, in pixels."""
    return max(int(font.getlength(line)) for line in text.split("\n"))
