"""Style losses on nearest neighbors between single features.

They reproduce features of the style image; losses on statistics match only overall amounts. They
compute the distances between all pairs of positions, so use them on deep layers. They use
cosine distance; add a loss on a shallow layer for color.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxstyle.losses.positions import positions
from jaxstyle.ops.linalg import matmul, unit_vectors

# Number of positions sampled from a style image.
_POINTS = 1024


def points(features: Float[Array, "*batch h w c"]) -> Float[Array, "*batch 1024 c"]:
    """Sample the features at 1024 random positions.

    Smaller maps are sampled completely, with repetitions. The sample is the same in every call.

    Args:
      features: features of the style image.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxstyle.losses import points
      >>> points(jnp.zeros((40, 50, 3))).shape
      (1024, 3)
    """
    _, flat = positions(features, None)
    count = flat.shape[-2]
    order = jax.random.permutation(jax.random.key(0), count)
    return jnp.take(flat, order[jnp.arange(_POINTS) % count], axis=-2)


def blend_points(
    styles: Float[Array, "styles *batch 1024 c"], weights: Float[Array, " styles"]
) -> Float[Array, "*batch 1024 c"]:
    """Take points from several style images, from each a number proportional to its weight.

    Args:
      styles: `points` of each style image.
      weights: weights of the style images, which sum to 1.
    """
    cumulative = jnp.cumsum(weights)
    fractions = (jnp.arange(_POINTS, dtype=cumulative.dtype) + 0.5) / _POINTS
    style_index = jnp.minimum(jnp.searchsorted(cumulative, fractions), len(weights) - 1)
    rows = jnp.moveaxis(styles, -2, 0)
    blended = jnp.take_along_axis(
        rows, style_index.reshape(-1, *[1] * (rows.ndim - 1)).astype(jnp.int32), axis=1
    )
    return jnp.moveaxis(blended[:, 0], 0, -2)


def nearest_loss(
    features: Float[Array, "*batch h w c"],
    target: Float[Array, "*batch 1024 c"],
    mask: Float[Array, "*batch h w"] | None = None,
) -> Float[Array, "*batch"]:
    """Compute the mean cosine distance of each feature to its nearest neighbor in the style image.

    Both sets of features are centered first. Kolkin et al. (2022), "Neural Neighbor Style
    Transfer", eq. 3. Departures: the style image is sampled at 1024 positions, and rotated
    copies of it are not added.

    Args:
      features: features of the optimized image.
      target: `points` of the features of the style image.
      mask: weight of each position, at least 0; `None` for equal weights.

    Example:
      The loss is 0 if every feature has the direction of some feature of the style image:

      >>> import jax.numpy as jnp
      >>> from jaxstyle.losses import nearest_loss, points
      >>> style = jnp.eye(4).reshape(2, 2, 4)
      >>> bool(nearest_loss(style[::-1], points(style)) < 1e-5)
      True
    """
    weights, flat = positions(features, mask)
    image_units = unit_vectors(flat - (weights * flat).sum(axis=-2, keepdims=True))
    style_units = unit_vectors(target - target.mean(axis=-2, keepdims=True))
    # Only the nearest neighbors receive a gradient, so the others need not be stored for it.
    cosines = _cosines(*map(jax.lax.stop_gradient, (image_units, style_units)))
    nearest = jnp.take_along_axis(style_units, cosines.argmax(axis=-1)[..., None], axis=-2)
    distances = 1 - (image_units * nearest).sum(axis=-1, keepdims=True)
    return (weights * distances).sum(axis=(-2, -1))


def transport_loss(
    features: Float[Array, "*batch h w c"],
    target: Float[Array, "*batch 1024 c"],
    mask: Float[Array, "*batch h w"] | None = None,
) -> Float[Array, "*batch"]:
    """Compute the relaxed earth mover's distance between two sets of features.

    The larger of two mean cosine distances: of the optimized image's features to their nearest
    neighbors in the style image, and of the style image's to theirs. The second mean requires
    that all of the style image is used. Kolkin, Salavon and Shakhnarovich (2019), "Style Transfer
    by Relaxed Optimal Transport and Self-Similarity", eq. 5.

    Args:
      features: features of the optimized image.
      target: `points` of the features of the style image.
      mask: weight of each position, at least 0; `None` for equal weights.

    Example:
      An image that repeats one feature of the style image has a high loss:

      >>> import jax.numpy as jnp
      >>> from jaxstyle.losses import points, transport_loss
      >>> style = jnp.eye(4).reshape(2, 2, 4)
      >>> repeated = jnp.broadcast_to(style[0, 0], (2, 2, 4))
      >>> print(transport_loss(style, points(style)), transport_loss(repeated, points(style)))
      0.0 0.75
    """
    weights, flat = positions(features, mask)
    distances = 1 - _cosines(unit_vectors(flat), unit_vectors(target))
    image_to_style = (weights[..., 0] * distances.min(axis=-1)).sum(axis=-1)
    # Positions with less than half the largest weight cannot be neighbors: 2 is the maximum.
    is_inside = weights > 0.5 * weights.max(axis=-2, keepdims=True)
    style_to_image = jnp.where(is_inside, distances, 2).min(axis=-2).mean(axis=-1)
    return jnp.maximum(image_to_style, style_to_image)


def _cosines(a: jax.Array, b: jax.Array) -> jax.Array:
    """Compute the cosine similarity of each pair of unit vectors."""
    return matmul(a, b.swapaxes(-1, -2))
