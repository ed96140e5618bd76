"""Pooling of windows of 2x2: maxima, with a gradient that keeps one byte, and averages."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def max_pool(x: Float[Array, "*batch h w c"]) -> Float[Array, "*batch h//2 w//2 c"]:
    """Compute the maximum of each window of 2x2; a last odd row or column is left out.

    The gradient goes to the first position of the window that has the maximum.

    Args:
      x: feature map.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxstyle.ops.pooling import max_pool
      >>> print(max_pool(jnp.arange(8.0).reshape(2, 4, 1))[..., 0])
      [[5. 7.]]
    """
    return jax.lax.platform_dependent(_even(x), tpu=_max_of_windows, default=_max_with_position)


def average_pool(x: Float[Array, "*batch h w c"]) -> Float[Array, "*batch h//2 w//2 c"]:
    """Compute the mean of each window of 2x2; a last odd row or column is left out.

    Args:
      x: feature map.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxstyle.ops.pooling import average_pool
      >>> print(average_pool(jnp.arange(8.0).reshape(2, 4, 1))[..., 0])
      [[2.5 4.5]]
    """
    return _windows(_even(x)).mean(axis=(-4, -2))


def _even(x: jax.Array) -> jax.Array:
    height, width = x.shape[-3] // 2, x.shape[-2] // 2
    return x[..., : 2 * height, : 2 * width, :]


def _windows(x: jax.Array) -> jax.Array:
    *batch, height, width, channels = x.shape
    return x.reshape(*batch, height // 2, 2, width // 2, 2, channels)


# TPUs have operations for this and its gradient. Strided positions would be copied.
def _max_of_windows(x: jax.Array) -> jax.Array:
    window = (*[1] * (x.ndim - 3), 2, 2, 1)
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, window, "VALID")


# Elsewhere the gradient needs only the position of each maximum, not the map.
@jax.custom_vjp
def _max_with_position(x: jax.Array) -> jax.Array:
    return _max_and_position(x)[0]


def _max_and_position(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    windows = _windows(x)
    values = [windows[..., i, :, j, :] for i in (0, 1) for j in (0, 1)]
    largest = jnp.maximum(jnp.maximum(*values[:2]), jnp.maximum(*values[2:]))
    position = jnp.full(largest.shape, 3, jnp.uint8)
    for number in (2, 1, 0):
        position = jnp.where(values[number] == largest, jnp.uint8(number), position)
    # Without the barrier XLA would keep the map, and compute the position from it later.
    return jax.lax.optimization_barrier((largest, position))


def _unpool(position: jax.Array, y_bar: jax.Array) -> tuple[jax.Array]:
    position, y_bar = (jnp.expand_dims(a, (-4, -2)) for a in (position, y_bar))
    around = (1,) * (position.ndim - 5)
    numbers = np.arange(4, dtype=np.uint8).reshape(*around, 1, 2, 1, 2, 1)
    x_bar = jnp.where(position == numbers, y_bar, 0)
    *batch, height, _, width, _, channels = x_bar.shape
    return (x_bar.reshape(*batch, 2 * height, 2 * width, channels),)


_max_with_position.defvjp(_max_and_position, _unpool)
