"""Style as single features: every place is to look like some place of the painting.

They copy what the painting has, where statistics only mix it in the right amounts. They hold all
pairs of places, so they are for deep layers. Only directions of features count, not their size:
a loss of a shallow layer has to bring the palette.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxstyle.losses.positions import positions

# Places of a painting that are kept.
_POINTS = 1024


def points(features: Float[Array, "*batch h w c"]) -> Float[Array, "*batch 1024 c"]:
    """Features at 1024 random places; where there are fewer, some come again."""
    _, flat = positions(features, None)
    count = flat.shape[-2]
    order = jax.random.permutation(jax.random.key(0), count)
    return jnp.take(flat, order[jnp.arange(_POINTS) % count], axis=-2)


def blend_points(
    styles: Float[Array, "styles *batch 1024 c"], weights: Float[Array, " styles"]
) -> Float[Array, "*batch 1024 c"]:
    """Points of several paintings, of each as many as its weight, out of 1, says."""
    ends = jnp.cumsum(weights)
    shares = (jnp.arange(_POINTS, dtype=ends.dtype) + 0.5) / _POINTS
    chosen = jnp.minimum(jnp.searchsorted(ends, shares), len(weights) - 1)
    rows = jnp.moveaxis(styles, -2, 0)
    picked = jnp.take_along_axis(
        rows, chosen.reshape(-1, *[1] * (rows.ndim - 1)).astype(jnp.int32), axis=1
    )
    return jnp.moveaxis(picked[:, 0], 0, -2)


def nearest_loss(
    features: Float[Array, "*batch h w c"],
    target: Float[Array, "*batch 1024 c"],
    mask: Float[Array, "*batch h w"] | None = None,
) -> Float[Array, "*batch"]:
    """Mean of 1 - cos between every feature and the nearest of the painting's.

    Both sets are centered first. Kolkin et al. (2022), "Neural Neighbor Style Transfer", eq. 3; the
    painting's places are a sample, and not turned. The target is from `points`.
    """
    weights, flat = positions(features, mask)
    found = _unit(flat - (weights * flat).sum(axis=-2, keepdims=True))
    wanted = _unit(target - target.mean(axis=-2, keepdims=True))
    # The gradient is that of the nearest alone: the others need not be kept for it.
    cosines = _products(*map(jax.lax.stop_gradient, (found, wanted)))
    nearest = jnp.take_along_axis(wanted, cosines.argmax(axis=-1)[..., None], axis=-2)
    return (weights * (1 - (found * nearest).sum(axis=-1, keepdims=True))).sum(axis=(-2, -1))


def transport_loss(
    features: Float[Array, "*batch h w c"],
    target: Float[Array, "*batch 1024 c"],
    mask: Float[Array, "*batch h w"] | None = None,
) -> Float[Array, "*batch"]:
    """Relaxed earth mover's distance, of 1 - cos: also all of the painting is to be used.

    The larger of two means: of distances of all features to their nearest of the painting, and of
    the painting's to their nearest. Kolkin, Salavon and Shakhnarovich (2019), "Style Transfer by
    Relaxed Optimal Transport and Self-Similarity", eq. 5. The target is from `points`.
    """
    weights, flat = positions(features, mask)
    distances = 1 - _products(_unit(flat), _unit(target))
    there = (weights[..., 0] * distances.min(axis=-1)).sum(axis=-1)
    # What the mask leaves out, or all but leaves out, is no neighbor: cosine distances end at 2.
    inside = weights > 0.5 * weights.max(axis=-2, keepdims=True)
    back = jnp.where(inside, distances, 2).min(axis=-2).mean(axis=-1)
    return jnp.maximum(there, back)


def _products(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.matmul(a, b.swapaxes(-1, -2), precision="highest")


def _unit(features: jax.Array) -> jax.Array:
    # The norm's gradient is not finite at 0.
    squares = jnp.square(features).sum(axis=-1, keepdims=True)
    return features * jax.lax.rsqrt(jnp.maximum(squares, 1e-12))
