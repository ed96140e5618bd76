"""A feature map as a set: its features, and how much each position counts."""

import jax
import jax.numpy as jnp
import numpy as np


def positions(features: jax.Array, mask: jax.Array | None) -> tuple[jax.Array, jax.Array]:
    """Weight of each position, adding up to 1 (or 0, where a mask vanishes), and its features.

    In float32 at least: a difference of moments would lose most of half precision.
    """
    dtype = np.promote_types(features.dtype, np.float32)
    flat = features.reshape(*features.shape[:-3], -1, features.shape[-1]).astype(dtype)
    if mask is None:
        n = flat.shape[-2]
        return jnp.full((n, 1), 1 / n, dtype), flat
    weights = mask.reshape(*mask.shape[:-2], -1, 1).astype(dtype)
    return weights / jnp.maximum(weights.sum(axis=-2, keepdims=True), 1e-6), flat
