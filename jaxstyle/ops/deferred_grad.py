"""Gradients of losses that are computed only when backpropagation reaches their layer."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def deferred_grad(
    function: Callable[..., Any], x: Float[Array, "..."], targets: Any
) -> tuple[Float[Array, "..."], Any]:
    """Return `x` and `function(x, targets)`; the gradient of the second waits for the first's.

    The gradient of `function` is computed once the gradient of everything that follows `x` is
    available. Without this, XLA computes the loss gradients of all layers early. It then keeps
    them, each as large as a feature map, until backpropagation reaches their layer.
    Reverse-mode differentiable in `x` and `targets`.

    Args:
      function: function of a feature map and its targets; hashable.
      x: feature map.
      targets: a pytree of arrays.

    Returns:
      `x`, for the rest of the chain, and `function(x, targets)`.

    Example:
      The gradient has the same value as without `deferred_grad`, here 2 + 2x:

      >>> import jax
      >>> import jax.numpy as jnp
      >>> from jaxstyle.ops.deferred_grad import deferred_grad
      >>> def squared_error(x, target):
      ...     return jnp.sum((x - target) ** 2)
      >>> def total(x):
      ...     x, loss = deferred_grad(squared_error, x, jnp.zeros(3))
      ...     return jnp.sum(2 * x) + loss
      >>> print(jax.grad(total)(jnp.arange(3.0)))
      [2. 4. 6.]
    """
    return x, function(x, targets)


def _forward(function: Callable[..., Any], x: Array, targets: Any) -> tuple[tuple[Array, Any], Any]:
    value, vjp = jax.vjp(function, x, targets)
    return (x, value), vjp


def _backward(_: Callable[..., Any], vjp: Any, cotangents: tuple[Array, Any]) -> tuple[Array, Any]:
    x_bar, value_bar = cotangents
    # Adding a zero that depends on `x_bar` keeps XLA from computing the gradient earlier. XLA's
    # scheduler ignores optimization barriers. Map-sized residuals of `function` are then
    # recomputed from what the network itself stores.
    zero = 0 * x_bar[(0,) * x_bar.ndim]

    def delay(residual: Any) -> Any:
        is_map = residual.size == x_bar.size and jnp.issubdtype(residual.dtype, jnp.floating)
        return residual + zero.astype(residual.dtype) if is_map else residual

    function_x_bar, targets_bar = jax.tree.map(delay, vjp)(value_bar)
    return x_bar + function_x_bar, targets_bar


deferred_grad.defvjp(_forward, _backward)
