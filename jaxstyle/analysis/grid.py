"""Pictures side by side, with what they are written below."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

_GAP = 6
_TEXT = 12


def draw_grid(rows: Sequence[Sequence[tuple[np.ndarray, str]]]) -> np.ndarray:
    """One picture of rows of pictures, float32 RGB in [0, 1].

    Args:
      rows: pictures, RGB in [0, 1], each with its text, of one or more lines.
    """
    font = ImageFont.load_default(_TEXT)
    cells = [cell for row in rows for cell in row]
    width = max(max(_width(text, font), pixels.shape[1]) for pixels, text in cells) + _GAP
    lines = max(text.count("\n") + 1 for _, text in cells)
    heights = [
        max(pixels.shape[0] for pixels, _ in row) + lines * (_TEXT + 4) + _GAP for row in rows
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


def _width(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> int:
    return max(int(font.getlength(line)) for line in text.split("\n"))
