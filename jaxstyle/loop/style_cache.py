"""What is known of paintings: each is measured once, however many pictures are made of it."""

from collections.abc import Hashable

from jaxtyping import Float

from jaxstyle.config import LossSpec
from jaxstyle.loop import programs
from jaxstyle.objective import StyleStatistics
from jaxstyle.types import AnyArray, Params


class StyleCache:
    """Remembers the statistics of paintings by the identity of their arrays.

    Args:
      limit: most statistics to remember, of up to 6 MiB each; the oldest go first.
    """

    def __init__(self, limit: int = 64):
        self._limit = limit
        # With the array, whose identity would else be free for another.
        self._known: dict[Hashable, tuple[AnyArray, StyleStatistics]] = {}

    def get(
        self,
        params: Params,
        style: Float[AnyArray, "_h _w 3"],
        spec: LossSpec,
        shape: tuple[int, int],
    ) -> StyleStatistics:
        """Statistics of a style image at the height and width `shape`."""
        key = id(style), spec, shape
        if key not in self._known:
            while len(self._known) >= self._limit:
                self._known.pop(next(iter(self._known)))
            measured = programs.compute_style(params, style, spec=spec, shape=shape)
            self._known[key] = style, measured
        return self._known[key][1]
