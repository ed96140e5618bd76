"""Content: how far feature maps are from those of the photograph."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxstyle.options import ContentNorm, check_option


def content_loss(
    features: Float[Array, "*batch h w c"],
    target: Float[Array, "*batch h w c"],
    *,
    norm: ContentNorm = "mean",
) -> Float[Array, "*batch"]:
    """Squared distance of two feature maps.

    `mean`: (1 / hwc) Σ (F - P)², comparable across layers and image sizes.
    `gatys`: ½ Σ (F - P)², Gatys et al. (2016), eq. 1.
    """
    check_option("norm", norm, ContentNorm)
    dtype = np.promote_types(features.dtype, np.float32)
    squares = jnp.square(features.astype(dtype) - target.astype(dtype))
    if norm == "gatys":
        return 0.5 * squares.sum(axis=(-3, -2, -1))
    return squares.mean(axis=(-3, -2, -1))
