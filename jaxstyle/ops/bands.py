"""Sums over the rows of an image, in the memory of a few rows."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_BAND = 64


def sum_over_bands(
    function: Callable[[Any], Float[Array, " rows"]], arrays: Any, *, overlap: int
) -> Float[Array, ""]:
    """Sum a function of neighboring rows, a band of rows at a time; so does the gradient.

    Args:
      function: maps a band of `rows + overlap` rows to `rows` numbers, one for each row and the
        `overlap` rows below it.
      arrays: pytree of arrays; leading axes of n rows, or of n - `overlap` for arrays that have
        one row per number.
      overlap: number of rows that a number depends on, besides its own.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxstyle.ops.bands import sum_over_bands
      >>> x = jnp.arange(200.0).reshape(100, 2)
      >>> print(sum_over_bands(lambda band: (band[1:] - band[:-1]).sum(axis=1), x, overlap=1))
      396.0
    """
    rows = max(leaf.shape[0] for leaf in jax.tree.leaves(arrays)) - overlap
    band = min(_BAND, rows)

    @partial(jax.checkpoint, prevent_cse=False)
    def evaluate(arrays: Any, begin: Array) -> Array:
        # The last band is moved up to end with the image; rows that it repeats do not count.
        start = jnp.minimum(begin, rows - band)
        parts = jax.tree.map(lambda x: _take(x, start, band + x.shape[0] - rows), arrays)
        return jnp.where(start + jnp.arange(band) >= begin, function(parts), 0).sum()

    # The gradient computes a band again instead of keeping its differences.
    return jax.lax.map(partial(evaluate, arrays), jnp.arange(0, rows, band)).sum()


def _take(x: Array, start: Array, count: int) -> Array:
    return jax.lax.dynamic_slice_in_dim(x, start, count)
