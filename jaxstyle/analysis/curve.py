"""Curves as SVG, for reports in HTML."""

from collections.abc import Sequence

import numpy as np

_WIDTH, _HEIGHT = 160, 80


def draw_curve(values: Sequence[float], name: str = "loss", *, logarithmic: bool = True) -> str:
    """Return the HTML of a curve, with its first and last value below.

    Args:
      values: at least one number.
      name: what the values are.
      logarithmic: whether the scale is logarithmic, for positive values.

    Example:
      >>> from jaxstyle.analysis.curve import draw_curve
      >>> "4 to 2, log scale" in draw_curve([4.0, 3.0, 2.0])
      True
    """
    heights = np.asarray(values, np.float64)
    if logarithmic:
        heights = np.log10(np.maximum(heights, 1e-12))
    low, high = float(heights.min()), float(heights.max())
    x = np.linspace(2, _WIDTH - 2, len(heights))
    y = 2 + (high - heights) / max(high - low, 1e-9) * (_HEIGHT - 4)
    points = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))
    ends = f"{values[0]:.3g} to {values[-1]:.3g}"
    return (
        f'<svg width="{_WIDTH}" height="{_HEIGHT}" role="img" aria-label="{name} from {ends}">'
        f'<polyline points="{points}" fill="none" stroke="#1a5fb4" stroke-width="1.5"/></svg><br>'
        f"<small>{ends}{', log scale' if logarithmic else ''}</small>"
    )
