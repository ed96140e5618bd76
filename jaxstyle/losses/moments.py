"""Style as the Gaussian of the features: their means and how they vary together.

Unlike a Gram matrix, which mixes both, a Gaussian cannot trade a mean that is too low for a
few spots that are too strong.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxstyle.linalg import eigh
from jaxstyle.losses.gram import gram_matrix, products


class Moments(NamedTuple):
    """First and second raw moment of features over positions: both blend linearly."""

    mean: Float[Array, "*batch c"]
    second: Float[Array, "*batch c c"]


class Gaussian(NamedTuple):
    """Mean, and the root of the covariance matrix."""

    mean: Float[Array, "*batch c"]
    root: Float[Array, "*batch c c"]


def moments(
    features: Float[Array, "*batch h w c"], mask: Float[Array, "*batch h w"] | None = None
) -> Moments:
    """Moments of a feature map, averaged over positions, under `mask` if there is one."""
    weights, flat = _positions(features, mask)
    return Moments((weights * flat).sum(axis=-2), gram_matrix(features, mask))


def gaussian(moments: Moments) -> Gaussian:
    """The Gaussian with these moments; its root by eigenvectors, once per target."""
    mean, second = moments
    values, vectors = eigh(second - mean[..., :, None] * mean[..., None, :])
    roots = jnp.sqrt(jnp.maximum(values, 0))[..., None, :]
    return Gaussian(mean, (vectors * roots) @ vectors.swapaxes(-1, -2))


def wasserstein_loss(
    features: Float[Array, "*batch h w c"],
    target: Gaussian,
    mask: Float[Array, "*batch h w"] | None = None,
) -> Float[Array, "*batch"]:
    """Squared 2-Wasserstein distance of two Gaussians, per channel.

    (1/c) (|μ - μ̂|² + tr Σ + tr Σ̂ - 2 tr (Σ̂^½ Σ Σ̂^½)^½). With X the centered features
    over √n, Σ = XᵀX, and the last trace is the nuclear norm of Y = X Σ̂^½, found from the
    smaller of YᵀY and YYᵀ. style-transfer-pytorch
    has the same loss with Σ + 10⁻⁴ I, and the mean's part averaged as here.
    """
    weights, flat = _positions(features, mask)
    mean = (weights * flat).sum(axis=-2)
    x = jnp.sqrt(weights) * (flat - mean[..., None, :])
    spread = jnp.square(x).sum(axis=(-2, -1)) + jnp.square(target.root).sum(axis=(-2, -1))
    # Products of Y itself: Σ̂^½ Σ Σ̂^½ from a rounded Σ may have eigenvalues far below 0.
    y = _matmul(x, target.root)
    common = root_trace(products(y if y.shape[-2] >= y.shape[-1] else y.swapaxes(-1, -2)))
    loss = jnp.square(mean - target.mean).sum(axis=-1) + spread - 2 * common
    return loss / features.shape[-1]


@jax.custom_vjp
def root_trace(m: Float[Array, "*batch c c"]) -> Float[Array, "*batch"]:
    """Trace of M^½ of a positive semidefinite matrix. Reverse-mode differentiable, once."""
    return _root_trace(m)[0]


def _root_trace(m: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Trace of M^½, and its gradient ½ M^-½."""
    root, inverse = _roots(m)
    return jnp.trace(root, axis1=-2, axis2=-1), 0.5 * inverse


root_trace.defvjp(_root_trace, lambda half, g: (g[..., None, None] * half,))


def _scales(least: float) -> list[float]:
    """Scale of each Newton-Schulz step that brings singular values from `least` on to 1.

    Chen and Chow (2014), "A Stable Scaling of Newton-Schulz for Improving the Sign Function
    Computation": with α² = 3 / (1 + l + l²), ½ α x (3 - α² x²) maps [l, 1] onto the smallest
    interval around 1, whose ends are equal after the map.
    """
    scales = []
    while least < 0.9999:
        scales.append(math.sqrt(3 / (1 + least + least**2)))
        least *= 0.5 * scales[-1] * (3 - (scales[-1] * least) ** 2)
    return scales


# Singular values down to 1/600 of the norm are found; what is smaller is damped, for float32 sums
# of products do not know it: with 1/1000 rounding began to show in pictures.
_SCALES = _scales(1 / 600)


def _roots(m: jax.Array) -> tuple[jax.Array, jax.Array]:
    """M^½ and M^-½ of a positive semidefinite matrix, by coupled Newton-Schulz steps.

    Matrix products alone, so that accelerators and `vmap` like it.
    """
    norm = jnp.maximum(jnp.linalg.norm(m, axis=(-2, -1), keepdims=True), 1e-30)
    one = jnp.eye(m.shape[-1], dtype=m.dtype)

    def step(i: jax.Array, pair: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        y, z = pair
        scale = jnp.asarray(_SCALES, m.dtype)[i]
        correction = scale * (1.5 * one - 0.5 * scale**2 * _matmul(z, y))
        return _matmul(y, correction), _matmul(correction, z)

    first = m / norm, jnp.broadcast_to(one, m.shape)
    y, z = jax.lax.fori_loop(0, len(_SCALES), step, first)
    return y * jnp.sqrt(norm), z / jnp.sqrt(norm)


def _matmul(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.matmul(a, b, precision="highest")


def _positions(features: jax.Array, mask: jax.Array | None) -> tuple[jax.Array, jax.Array]:
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
