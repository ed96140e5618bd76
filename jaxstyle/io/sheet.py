"""Comparison sheets: content image, style images and result side by side in one image."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from jaxstyle.io.images import composite, resize
from jaxstyle.pyramid import fit_shape

# In pixels: largest long edge of the result on a sheet, and the gap at a long edge of 512.
_MAX_EDGE = 2048
_GAP, _GAP_EDGE = 8, 512
# A light gray, against which white parts of an image end visibly.
_BACKGROUND = 0.93
# Opacity of the content image outside of a region.
_OUTSIDE = 0.15
# Styles in one column, and the largest width of the style columns in long edges of the result.
_COLUMN_LENGTH = 3
_MAX_STYLES_WIDTH = 2.5

Cell = Float[ndarray, "_h _w c"]


def compare_sheet(
    content: Float[ndarray, "_h _w c"],
    styles: Sequence[Float[ndarray, "_hs _ws 3"]],
    result: Float[ndarray, "_hr _wr cr"],
    *,
    masks: Sequence[Float[ndarray, "_hm _wm"]] = (),
) -> Float[ndarray, "hh ww 3"]:
    """Draw the content image, the style images and the result side by side.

    All columns have the height of the result, which is reduced to a long edge of at most 2048
    pixels. Several styles are stacked in columns. With masks, each style has a column of its
    own, with its region of the content image below.

    Args:
      content: content image in [0, 1]; the fourth channel is opacity, if there is one.
      styles: one or more style images.
      result: the result, like the content image.
      masks: one mask per style image, in the proportions of the content image, or none.

    Returns:
      The sheet, RGB in [0, 1].

    Raises:
      ValueError: there are no styles, or masks for some of them only.

    Example:
      >>> import numpy as np
      >>> from jaxstyle.io.sheet import compare_sheet
      >>> content, style = np.zeros((40, 64, 3)), np.ones((32, 32, 3))
      >>> compare_sheet(content, [style], content).shape
      (42, 172, 3)
    """
    if not styles:
        raise ValueError("`styles` is empty; give at least one style image.")
    if len(masks) not in (0, len(styles)):
        raise ValueError(f"{len(masks)} masks for {len(styles)} styles; give one for each.")
    shape = result.shape[:2]
    shape = fit_shape(shape, min(max(shape), _MAX_EDGE))
    gap = max(1, round(_GAP * max(shape) / _GAP_EDGE))
    content, result = (resize(composite(image, _BACKGROUND), shape) for image in (content, result))
    columns = [[style] for style in styles] if len(masks) else _split(styles)
    for column, mask in zip(columns, masks, strict=False):
        weight = resize(np.asarray(mask, np.float32)[..., None], shape)
        opacity = _OUTSIDE + (1 - _OUTSIDE) * weight
        column.append(composite(np.concatenate([content, opacity], axis=-1), _BACKGROUND))
    widths = [_fit_width(column, shape[0], gap) for column in columns]
    limit = _MAX_STYLES_WIDTH * max(shape) / sum(widths)
    drawn = [
        _stack(column, max(1, round(width * min(1.0, limit))), shape[0], gap)
        for column, width in zip(columns, widths, strict=True)
    ]
    return _join([content, *drawn, result], shape[0], gap)


def _split(styles: Sequence[Cell]) -> list[list[Cell]]:
    """Distribute styles over as few columns as needed, evenly."""
    count = -(-len(styles) // _COLUMN_LENGTH)
    ends = [len(styles) * i // count for i in range(count + 1)]
    return [list(styles[a:b]) for a, b in pairwise(ends)]


def _fit_width(column: Sequence[Cell], height: int, gap: int) -> float:
    """Return the common width at which the images of a column fill a height."""
    return max(1, height - gap * (len(column) - 1)) / sum(i.shape[0] / i.shape[1] for i in column)


def _stack(column: Sequence[Cell], width: int, height: int, gap: int) -> ndarray:
    """Draw images below each other, at one width, centered in a height."""
    ideal = np.cumsum([0.0, *(image.shape[0] / image.shape[1] * width for image in column)])
    ends = np.round(ideal).astype(int)
    sheet = np.full((height, width, 3), _BACKGROUND, np.float32)
    room = height - gap * (len(column) - 1)
    top = max(0, room - int(ends[-1])) // 2
    for index, image in enumerate(column):
        begin = top + gap * index + int(ends[index])
        rows = max(1, min(int(ends[index + 1] - ends[index]), height - begin))
        sheet[begin : begin + rows] = resize(np.asarray(image, np.float32), (rows, width))
    return sheet


def _join(columns: Sequence[ndarray], height: int, gap: int) -> ndarray:
    """Put drawn columns side by side, with a gap around each."""
    width = sum(column.shape[1] for column in columns) + gap * (len(columns) + 1)
    sheet = np.full((height + 2 * gap, width, 3), _BACKGROUND, np.float32)
    x = gap
    for column in columns:
        sheet[gap : gap + height, x : x + column.shape[1]] = column
        x += column.shape[1] + gap
    return sheet
