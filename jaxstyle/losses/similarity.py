"""Content loss on self-similarity: which positions of an image have similar features."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxstyle.ops.linalg import matmul, unit_vectors
from jaxstyle.types import check_floating

# Positions per side. The number of pairs grows with the fourth power of this.
_MAX_SIDE = 32


def self_similarity(features: Float[Array, "*batch h w c"]) -> Float[Array, "*batch n n"]:
    """Compute the cosine distances between all positions, each row divided by its mean.

    Larger maps are sampled on a grid of at most 32 x 32 positions.

    Args:
      features: features of the content image.

    Example:
      The first two positions have the same feature:

      >>> import jax.numpy as jnp
      >>> from jaxstyle.losses import self_similarity
      >>> features = jnp.array([[[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]])
      >>> print(self_similarity(features))
      [[0.  0.  3. ]
       [0.  0.  3. ]
       [1.5 1.5 0. ]]
    """
    check_floating(features=features)
    row_stride, column_stride = (-(-side // _MAX_SIDE) for side in features.shape[-3:-1])
    sampled = features[..., ::row_stride, ::column_stride, :]
    flat = sampled.reshape(*sampled.shape[:-3], -1, sampled.shape[-1])
    units = unit_vectors(flat.astype(np.promote_types(flat.dtype, np.float32)))
    distances = 1 - matmul(units, units.swapaxes(-1, -2))
    return distances / jnp.maximum(distances.mean(axis=-1, keepdims=True), 1e-6)


def self_similarity_loss(
    features: Float[Array, "*batch h w c"], target: Float[Array, "*batch n n"]
) -> Float[Array, "*batch"]:
    """Compute the mean absolute difference between two self-similarity matrices.

    Kolkin, Salavon and Shakhnarovich (2019), "Style Transfer by Relaxed Optimal Transport and
    Self-Similarity", eq. 8. Departure: rows are divided by their mean, not by their sum.

    Args:
      features: features of the optimized image.
      target: `self_similarity` of the features of the content image.

    Example:
      The loss ignores a change of all features, but not of their arrangement:

      >>> import jax.numpy as jnp
      >>> from jaxstyle.losses import self_similarity, self_similarity_loss
      >>> content = jnp.array([[[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]])
      >>> target = self_similarity(content)
      >>> print(self_similarity_loss(2 * content[..., ::-1], target))
      0.0
      >>> print(self_similarity_loss(content[:, ::-1], target))
      1.3333334
    """
    return jnp.abs(self_similarity(features) - target).mean(axis=(-2, -1))
