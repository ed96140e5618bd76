"""Style as distributions: the features' values along directions, or in every channel.

They see what mean and covariance do not, such as two colors where their mix would do.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxstyle.losses.positions import positions

# Values that are kept of a distribution.
_LEVELS = 512
# Directions that are looked along, fixed so that the loss stays one function of the picture.
_DIRECTIONS = 256


def channel_quantiles(features: Float[Array, "*batch h w c"]) -> Float[Array, "*batch 512 c"]:
    """Values of every channel, in order, at 512 levels from 1/1024 to 1023/1024."""
    _, flat = positions(features, None)
    levels = (jnp.arange(_LEVELS, dtype=flat.dtype)[:, None] + 0.5) / _LEVELS
    return _value(
        jnp.sort(flat, axis=-2),
        jnp.broadcast_to(levels, (*flat.shape[:-2], _LEVELS, flat.shape[-1])),
    )


def sliced_quantiles(features: Float[Array, "*batch h w c"]) -> Float[Array, "*batch 512 256"]:
    """`channel_quantiles` along 256 random directions."""
    return channel_quantiles(_along_directions(features))


def histogram_loss(
    features: Float[Array, "*batch h w c"],
    target: Float[Array, "*batch 512 c"],
    mask: Float[Array, "*batch h w"] | None = None,
) -> Float[Array, "*batch"]:
    """Squared distance of every channel's values from the style's of the same rank, a mean.

    Risser, Wilmot and Barnes (2017), "Stable and Controllable Neural Texture Synthesis and Style
    Transfer Using Histogram Losses", section 4.1, with ranks in place of 256 bins. The target is
    from `channel_quantiles`. It sorts all positions: on a CPU a matter for small pictures.
    """
    weights, flat = positions(features, mask)
    values, weights = jax.lax.sort(
        (flat, jnp.broadcast_to(weights, flat.shape)), dimension=flat.ndim - 2, num_keys=1
    )
    ranks = jnp.cumsum(weights, axis=-2) - 0.5 * weights
    squares = jnp.square(values - _value(target, ranks))
    return (weights * squares).sum(axis=-2).mean(axis=-1)


def sliced_loss(
    features: Float[Array, "*batch h w c"],
    target: Float[Array, "*batch 512 256"],
    mask: Float[Array, "*batch h w"] | None = None,
) -> Float[Array, "*batch"]:
    """`histogram_loss` along 256 directions: the squared sliced Wasserstein distance.

    Heitz et al. (2021), "A Sliced Wasserstein Loss for Neural Texture Synthesis", eq. 4. They draw
    new directions at every step. The target is from `sliced_quantiles`.
    """
    return histogram_loss(_along_directions(features), target, mask)


def _along_directions(features: jax.Array) -> jax.Array:
    channels = features.shape[-1]
    directions = jax.random.normal(jax.random.key(0), (channels, _DIRECTIONS))
    directions /= jnp.linalg.norm(directions, axis=0)
    dtype = np.promote_types(features.dtype, np.float32)
    full = {"precision": "highest", "preferred_element_type": dtype}
    return jnp.einsum("...c,cd->...d", features, directions.astype(features.dtype), **full)


def _value(values: jax.Array, ranks: jax.Array) -> jax.Array:
    """Values at ranks in [0, 1], between those of [..., m, c] at (i + ½) / m."""
    count = values.shape[-2]
    at = jnp.clip(ranks * count - 0.5, 0, count - 1)
    below = jnp.floor(at)
    index = below.astype(jnp.int32)
    low = jnp.take_along_axis(values, index, axis=-2)
    high = jnp.take_along_axis(values, jnp.minimum(index + 1, count - 1), axis=-2)
    return low + (at - below) * (high - low)
