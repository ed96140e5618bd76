"""A cache of style statistics: each style image is evaluated once per size, for any number of runs.

It also holds the bounded cache that the batch's loader uses for style images.
"""

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from jaxtyping import Float

from jaxstyle.loop import programs
from jaxstyle.objective import StyleStatistics
from jaxstyle.spec import LossSpec
from jaxstyle.types import AnyArray, Params

Value = TypeVar("Value")


class FifoCache(Generic[Value]):
    """A cache of at most `limit` values; the oldest is dropped first."""

    def __init__(self, limit: int):
        self._limit = limit
        self._values: dict[Hashable, Value] = {}

    def get(self, key: Hashable, compute: Callable[[], Value]) -> Value:
        """Return the value of `key`, from `compute` if it is not in the cache."""
        if key not in self._values:
            value = compute()
            while len(self._values) >= self._limit:
                self._values.pop(next(iter(self._values)))
            self._values[key] = value
        return self._values[key]


class StyleCache:
    """Statistics of style images, by the identity of their arrays.

    Args:
      limit: maximum number of statistics, of up to 6 MiB each.
    """

    def __init__(self, limit: int = 64):
        # The array is kept with its statistics, so that its identity is not reused.
        self._cache: FifoCache[tuple[AnyArray, StyleStatistics]] = FifoCache(limit)

    def get(
        self,
        params: Params,
        style: Float[AnyArray, "_h _w 3"],
        spec: LossSpec,
        shape: tuple[int, int],
    ) -> StyleStatistics:
        """Return the statistics of `style` at the height and width `shape`.

        `params` must be the same in every call.
        """

        def compute() -> tuple[AnyArray, StyleStatistics]:
            return style, programs.compute_style_statistics(params, style, spec=spec, shape=shape)

        return self._cache.get((id(style), spec, shape), compute)[1]
