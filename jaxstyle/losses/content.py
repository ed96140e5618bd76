"""Content loss: the distance between two feature maps."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxstyle.options import ContentNorm, check_option
from jaxstyle.types import check_floating


def content_loss(
    features: Float[Array, "*batch h w c"],
    target: Float[Array, "*batch h w c"],
    *,
    norm: ContentNorm = "mean",
) -> Float[Array, "*batch"]:
    """Compute the squared distance between two feature maps.

    `mean`: (1 / hwc) Σ (F - P)², comparable across layers and image sizes.
    `gatys`: ½ Σ (F - P)². Gatys et al. (2016), eq. 1.

    Args:
      features: features of the optimized image.
      target: features of the content image.
      norm: normalization, `mean` or `gatys`.

    Raises:
      ValueError: If `norm` is unknown.

    Example:
      >>> import jax.numpy as jnp
      >>> import jaxstyle
      >>> a, b = jnp.zeros((2, 3, 4)), jnp.full((2, 3, 4), 0.5)
      >>> print(jaxstyle.content_loss(a, b))
      0.25
      >>> print(jaxstyle.content_loss(a, b, norm="gatys"))
      3.0
    """
    check_option("norm", norm, ContentNorm)
    check_floating(features=features, target=target)
    dtype = np.promote_types(features.dtype, np.float32)
    squares = jnp.square(features.astype(dtype) - target.astype(dtype))
    if norm == "gatys":
        return 0.5 * squares.sum(axis=(-3, -2, -1))
    return squares.mean(axis=(-3, -2, -1))
