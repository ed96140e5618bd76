"""Moments of feature maps that are seen in parts: sums over positions, and losses of these."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxstyle.losses.gram import inner_products
from jaxstyle.losses.moments import (
    Gaussian,
    Moments,
    deviation,
    parts_of_covariance,
    root_of_variance,
)
from jaxstyle.types import check_floating


class MomentSums(NamedTuple):
    """Sums over positions, from which the moments of a map follow that is seen in parts.

    Attributes:
      weight: sum of the weights.
      first: weighted sum of the features, or of their differences from a center.
      second: weighted sum of the products of pairs, or for `mean_std` of the squares, of these.
    """

    weight: Float[Array, ""]
    first: Float[Array, " c"]
    second: Float[Array, "*c c"]


def moment_sums(
    features: Float[Array, "h w c"],
    center: Float[Array, " c"] | None,
    weights: Float[Array, "h w"],
    *,
    products: bool = True,
) -> MomentSums:
    """Sum features and their products over positions.

    Args:
      features: feature map.
      center: what is subtracted before squaring, to be accurate where the mean is much larger
        than the deviation; `None` for nothing.
      weights: weight of each position, at least 0.
      products: whether to sum the products of all pairs of channels, or only the squares.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxstyle.losses.sums import moment_sums
      >>> features = jnp.array([[[1.0, 0.0], [3.0, 4.0], [9.0, 9.0]]])
      >>> weight, first, second = moment_sums(features, None, jnp.array([[1.0, 1.0, 0.0]]))
      >>> print(weight, first / weight)
      2.0 [2. 2.]
    """
    check_floating(features=features, weights=weights)
    dtype = np.promote_types(features.dtype, np.float32)
    flat = features.reshape(-1, features.shape[-1])
    flat_weights = weights.reshape(-1, 1).astype(dtype)
    if center is not None:
        flat = flat - center.astype(flat.dtype)
    weighted = jnp.sqrt(flat_weights).astype(flat.dtype) * flat
    # XLA's CPU compiler takes ten times as long for a weighted sum that is no product of matrices.
    first = jnp.einsum("pc,pw->c", flat.astype(dtype), flat_weights, precision="highest")
    if products:
        return MomentSums(flat_weights.sum(), first, inner_products(weighted))
    return MomentSums(flat_weights.sum(), first, jnp.square(weighted.astype(dtype)).sum(axis=0))


def moments_of_sums(sums: MomentSums) -> Moments:
    """Return the moments that `moments` computes, from sums without a center.

    Args:
      sums: sum of results of `moment_sums`.
    """
    weight = jnp.maximum(sums.weight, 1e-6)
    return Moments(sums.first / weight, sums.second / weight)


def mean_std_of_sums(sums: MomentSums, target: Moments) -> Float[Array, ""]:
    """Compute `mean_std_loss` from sums of squares around the mean of the target.

    Args:
      sums: sum of results of `moment_sums` with `target.mean` as center.
      target: as for `mean_std_loss`.
    """
    difference, squares = moments_of_sums(sums)
    deviations = root_of_variance(squares - jnp.square(difference)) - deviation(target)
    return (jnp.square(difference) + jnp.square(deviations)).mean()


def wasserstein_of_sums(
    sums: MomentSums, target: Gaussian
) -> tuple[Float[Array, ""], Float[Array, "c c"]]:
    """Compute `wasserstein_parts` from sums of products around the mean of the target.

    Args:
      sums: sum of results of `moment_sums` with `target.mean` as center.
      target: as for `wasserstein_loss`.
    """
    difference, second = moments_of_sums(sums)
    return parts_of_covariance(difference, second - difference[:, None] * difference, target)
