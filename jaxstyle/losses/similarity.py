"""Content as self-similarity: which places of a picture look alike, whatever they look like."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

# Places along an edge that are compared: a matrix of all pairs grows with the fourth power.
_EDGE = 32


def self_similarity(features: Float[Array, "*batch h w c"]) -> Float[Array, "*batch n n"]:
    """Cosine distances between places, of every row relative to their mean.

    Of large maps, places on a grid of at most 32 x 32.
    """
    rows, columns = (-(-side // _EDGE) for side in features.shape[-3:-1])
    seen = features[..., ::rows, ::columns, :]
    flat = seen.reshape(*seen.shape[:-3], -1, seen.shape[-1])
    flat = flat.astype(np.promote_types(flat.dtype, np.float32))
    # The norm's gradient is not finite at 0.
    squares = jnp.square(flat).sum(axis=-1, keepdims=True)
    unit = flat * jax.lax.rsqrt(jnp.maximum(squares, 1e-12))
    distances = 1 - jnp.matmul(unit, unit.swapaxes(-1, -2), precision="highest")
    return distances / jnp.maximum(distances.mean(axis=-1, keepdims=True), 1e-6)


def self_similarity_loss(
    features: Float[Array, "*batch h w c"], target: Float[Array, "*batch n n"]
) -> Float[Array, "*batch"]:
    """Mean difference of two pictures' `self_similarity`.

    Kolkin, Salavon and Shakhnarovich (2019), "Style Transfer by Relaxed Optimal Transport and
    Self-Similarity", eq. 8, relative to the mean instead of the sum of a row.
    """
    return jnp.abs(self_similarity(features) - target).mean(axis=(-2, -1))
