"""Temporal loss: a frame of a video differs little from the frames before it, where they agree."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxstyle.types import AnyArray, check_floating


def temporal_loss(
    image: Float[AnyArray, "*batch h w c"],
    warped: Float[AnyArray, "*batch h w c"],
    reliability: Float[AnyArray, "*batch h w"],
) -> Float[Array, "*batch"]:
    """Compute the mean over pixels and channels of reliability (image - warped)².

    Ruder et al. (2016), "Artistic style transfer for videos".

    Args:
      image: current frame.
      warped: another frame's result, warped to the current frame by `motion.warp`.
      reliability: weight of each pixel, from 0 to 1, e.g. `motion.reliability`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxstyle.losses import temporal_loss
      >>> image, warped = jnp.zeros((1, 2, 3)), jnp.ones((1, 2, 3))
      >>> print(temporal_loss(image, warped, jnp.array([[1.0, 0.0]])))
      0.5
    """
    check_floating(image=image, warped=warped, reliability=reliability)
    squares = jnp.square(jnp.asarray(image) - jnp.asarray(warped)).mean(axis=-1)
    return (jnp.asarray(reliability) * squares).mean(axis=(-2, -1))
