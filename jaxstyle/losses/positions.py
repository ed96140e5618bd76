"""Feature maps as weighted sets: a feature and a weight for each position."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxstyle.types import check_floating


def positions(features: jax.Array, mask: jax.Array | None) -> tuple[jax.Array, jax.Array]:
    """Flatten a feature map and a mask into weights and features, one row per position.

    Both are float32 or higher: differences of moments lose too many digits in half precision.

    Args:
      features: feature map `[*batch, h, w, c]`.
      mask: weight of each position `[*batch, h, w]`, at least 0; `None` for equal weights.

    Returns:
      Weights `[*batch, hw, 1]`, which sum to 1 (or to 0 if `mask` is 0 everywhere), and features
      `[*batch, hw, c]`. Without a mask, the weights have no batch axes.
    """
    check_floating(features=features, mask=mask)
    dtype = np.promote_types(features.dtype, np.float32)
    flat = features.reshape(*features.shape[:-3], -1, features.shape[-1]).astype(dtype)
    if mask is None:
        n = flat.shape[-2]
        return jnp.full((n, 1), 1 / n, dtype), flat
    weights = mask.reshape(*mask.shape[:-2], -1, 1).astype(dtype)
    return weights / jnp.maximum(weights.sum(axis=-2, keepdims=True), 1e-6), flat
