"""The order of a gradient: what is computed beside a chain of maps waits for the chain."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def deferred_grad(
    function: Callable[..., Any], x: Float[Array, "..."], known: Any
) -> tuple[Float[Array, "..."], Any]:
    """`x`, to go on with, and `function(x, known)`; reverse-mode differentiable in both.

    The function's gradient is taken when that of all that comes after `x` is there. By itself XLA
    takes it as soon as it can, and holds the gradients of the losses of all layers, each as large
    as a map, until the rest of the network has come back to them: a quarter of a step's memory.

    Args:
      function: of a map and what it is compared with; hashable.
      x: the map.
      known: a pytree of arrays.
    """
    return x, function(x, known)


def _forward(function: Callable[..., Any], x: Array, known: Any) -> tuple[tuple[Array, Any], Any]:
    found, back = jax.vjp(function, x, known)
    return (x, found), back


def _backward(_: Callable[..., Any], back: Any, bars: tuple[Array, Any]) -> tuple[Array, Any]:
    x_bar, found_bar = bars
    # A sum that XLA cannot do before: what has been kept of the map is computed again, late, from
    # what the network itself keeps. Its scheduler does not look at barriers.
    nothing = 0 * x_bar.ravel()[0]

    def late(kept: Array) -> Array:
        is_map = kept.size == x_bar.size and jnp.issubdtype(kept.dtype, jnp.floating)
        return kept + nothing.astype(kept.dtype) if is_map else kept

    own, known_bar = jax.tree.map(late, back)(found_bar)
    return x_bar + own, known_bar


deferred_grad.defvjp(_forward, _backward)
