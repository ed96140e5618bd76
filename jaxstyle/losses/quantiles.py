"""Style losses on distributions of feature values, per channel or along random directions.

They distinguish distributions with equal mean and covariance, e.g. two colors and their mixture.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxstyle.losses.positions import positions
from jaxstyle.types import check_floating

# Number of quantiles per distribution.
_LEVELS = 512
_DIRECTIONS = 256


def channel_quantiles(features: Float[Array, "*batch h w c"]) -> Float[Array, "*batch 512 c"]:
    """Compute 512 quantiles of each channel, at levels from 1/1024 to 1023/1024.

    Args:
      features: features of the style image.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxstyle.losses import channel_quantiles
      >>> quantiles = channel_quantiles(jnp.arange(2048.0).reshape(32, 64, 1))
      >>> print(quantiles[:3, 0])
      [1.5 5.5 9.5]
    """
    _, flat = positions(features, None)
    levels = (jnp.arange(_LEVELS, dtype=flat.dtype)[:, None] + 0.5) / _LEVELS
    return _interpolate(
        jnp.sort(flat, axis=-2),
        jnp.broadcast_to(levels, (*flat.shape[:-2], _LEVELS, flat.shape[-1])),
    )


def sliced_quantiles(features: Float[Array, "*batch h w c"]) -> Float[Array, "*batch 512 256"]:
    """Compute `channel_quantiles` of the features projected on 256 random directions.

    The directions are the same in every call.

    Args:
      features: features of the style image.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxstyle.losses import sliced_quantiles
      >>> sliced_quantiles(jnp.zeros((8, 8, 3))).shape
      (512, 256)
    """
    return channel_quantiles(project(features, _DIRECTIONS))


def histogram_loss(
    features: Float[Array, "*batch h w c"],
    target: Float[Array, "*batch 512 c"],
    mask: Float[Array, "*batch h w"] | None = None,
) -> Float[Array, "*batch"]:
    """Compute the mean squared difference between values of equal rank, per channel.

    Risser, Wilmot and Barnes (2017), "Stable and Controllable Neural Texture Synthesis and Style
    Transfer Using Histogram Losses", section 4.1. Departure: ranks replace their 256 bins.
    All positions are sorted, which is slow for large images on a CPU.

    Args:
      features: features of the optimized image.
      target: `channel_quantiles` of the features of the style image.
      mask: weight of each position, at least 0; `None` for equal weights.

    Example:
      Values at other positions cost nothing; values that all differ by 3 cost 9:

      >>> import jax.numpy as jnp
      >>> from jaxstyle.losses import channel_quantiles, histogram_loss
      >>> style = jnp.arange(512.0).reshape(16, 32, 1)
      >>> target = channel_quantiles(style)
      >>> print(histogram_loss(style[::-1], target).round(3))
      0.0
      >>> print(histogram_loss(style + 3, target).round(3))
      9.0
    """
    weights, flat = positions(features, mask)
    values, weights = jax.lax.sort(
        (flat, jnp.broadcast_to(weights, flat.shape)), dimension=flat.ndim - 2, num_keys=1
    )
    levels = jnp.cumsum(weights, axis=-2) - 0.5 * weights
    squares = jnp.square(values - _interpolate(target, levels))
    return (weights * squares).sum(axis=-2).mean(axis=-1)


def sliced_loss(
    features: Float[Array, "*batch h w c"],
    target: Float[Array, "*batch 512 256"],
    mask: Float[Array, "*batch h w"] | None = None,
) -> Float[Array, "*batch"]:
    """Compute the squared sliced Wasserstein distance, along 256 random directions.

    Equal to `histogram_loss` of the projected features. Heitz et al. (2021), "A Sliced
    Wasserstein Loss for Neural Texture Synthesis", eq. 4. Departure: the directions are fixed,
    where they draw new ones at every step.

    Args:
      features: features of the optimized image.
      target: `sliced_quantiles` of the features of the style image.
      mask: weight of each position, at least 0; `None` for equal weights.

    Example:
      Unlike `histogram_loss`, it depends on the correlation between channels:

      >>> import jax.numpy as jnp
      >>> from jaxstyle.losses import sliced_loss, sliced_quantiles
      >>> x = jnp.linspace(0, 1, 512).reshape(16, 32)
      >>> target = sliced_quantiles(jnp.stack([x, x], axis=-1))
      >>> loss = sliced_loss(jnp.stack([x, x[::-1, ::-1]], axis=-1), target)
      >>> bool(loss > 0.01)
      True
    """
    return histogram_loss(project(features, _DIRECTIONS), target, mask)


def project(features: Float[Array, "*batch c"], directions: int) -> Float[Array, "*batch d"]:
    """Project features on random directions: unit vectors that depend only on their number.

    Fixed directions make a loss a deterministic function of the image.

    Args:
      features: features, channels last.
      directions: number of directions.
    """
    check_floating(features=features)
    channels = features.shape[-1]
    vectors = jax.random.normal(jax.random.key(0), (channels, directions), jnp.float32)
    vectors /= jnp.linalg.norm(vectors, axis=0)
    dtype = np.promote_types(features.dtype, np.float32)
    full = {"precision": "highest", "preferred_element_type": dtype}
    return jnp.einsum("...c,cd->...d", features, vectors.astype(features.dtype), **full)


def _interpolate(values: jax.Array, levels: jax.Array) -> jax.Array:
    """Interpolate sorted values `[..., m, c]`, at levels (i + ½) / m, at the given levels."""
    count = values.shape[-2]
    position = jnp.clip(levels * count - 0.5, 0, count - 1)
    below = jnp.floor(position)
    index = below.astype(jnp.int32)
    low = jnp.take_along_axis(values, index, axis=-2)
    high = jnp.take_along_axis(values, jnp.minimum(index + 1, count - 1), axis=-2)
    return low + (position - below) * (high - low)
