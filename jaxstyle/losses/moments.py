"""Style as the Gaussian of the features: their means and how they vary together.

Unlike a Gram matrix, which mixes both, a Gaussian cannot trade a mean that is too low for a
few spots that are too strong.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxstyle.linalg import eigh
from jaxstyle.losses.gram import gram_matrix
from jaxstyle.losses.positions import positions


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
    weights, flat = positions(features, mask)
    return Moments((weights * flat).sum(axis=-2), gram_matrix(features, mask))


def deviation(moments: Moments) -> Float[Array, "*batch c"]:
    """Standard deviation of every channel; its gradient is finite where a channel is flat."""
    variance = jnp.diagonal(moments.second, axis1=-2, axis2=-1) - jnp.square(moments.mean)
    # sqrt has infinite slope at 0.
    return jnp.sqrt(jnp.maximum(variance, 1e-8))


def mean_std_loss(
    features: Float[Array, "*batch h w c"],
    target: Moments,
    mask: Float[Array, "*batch h w"] | None = None,
) -> Float[Array, "*batch"]:
    """Squared differences of means and of deviations, per channel.

    (1/c) (|μ - μ̂|² + |σ - σ̂|²): the style loss of Huang and Belongie (2017), eq. 13, squared; the
    Wasserstein loss of features whose channels are independent.
    """
    found = moments(features, mask)
    means = jnp.square(found.mean - target.mean).mean(axis=-1)
    return means + jnp.square(deviation(found) - deviation(target)).mean(axis=-1)


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
    over √n, Σ = XᵀX, and the last trace is the nuclear norm of Y = X Σ̂^½, whose gradient is
    Y's polar factor: it is found from the smaller of YᵀY and YYᵀ. style-transfer-pytorch
    has the same loss with Σ + 10⁻⁴ I, and the mean's part averaged as here.
    """
    weights, flat = positions(features, mask)
    mean = (weights * flat).sum(axis=-2)
    x = jnp.sqrt(weights) * (flat - mean[..., None, :])
    spread = jnp.square(x).sum(axis=(-2, -1)) + jnp.square(target.root).sum(axis=(-2, -1))
    common = nuclear_norm(jnp.matmul(x, target.root, precision="highest"))
    loss = jnp.square(mean - target.mean).sum(axis=-1) + spread - 2 * common
    return loss / features.shape[-1]


@jax.custom_vjp
def nuclear_norm(y: Float[Array, "*batch n c"]) -> Float[Array, "*batch"]:
    """Sum of singular values: tr (YᵀY)^½. Reverse-mode differentiable, once."""
    return _nuclear_norm(y)[0]


def _nuclear_norm(y: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Sum of singular values, and the polar factor."""
    wide = y.shape[-2] < y.shape[-1]
    transposed = y.swapaxes(-1, -2)
    matmul = partial(jnp.matmul, precision="highest")
    root, inverse = _roots(matmul(y, transposed) if wide else matmul(transposed, y))
    polar = matmul(inverse, y) if wide else matmul(y, inverse)
    return jnp.trace(root, axis1=-2, axis2=-1), polar


nuclear_norm.defvjp(_nuclear_norm, lambda polar, g: (g[..., None, None] * polar,))

# Enough for singular values down to 1/400 of the norm; what is smaller is damped.
_STEPS = 15


def _roots(m: jax.Array) -> tuple[jax.Array, jax.Array]:
    """M^½ and M^-½ of a positive semidefinite matrix, by coupled Newton-Schulz steps.

    Matrix products alone, so that accelerators and `vmap` like it.
    """
    matmul = partial(jnp.matmul, precision="highest")
    norm = jnp.maximum(jnp.linalg.norm(m, axis=(-2, -1), keepdims=True), 1e-30)
    one = jnp.eye(m.shape[-1], dtype=m.dtype)

    def step(_: jax.Array, pair: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        y, z = pair
        correction = 1.5 * one - 0.5 * matmul(z, y)
        return matmul(y, correction), matmul(correction, z)

    y, z = jax.lax.fori_loop(0, _STEPS, step, (m / norm, jnp.broadcast_to(one, m.shape)))
    return y * jnp.sqrt(norm), z / jnp.sqrt(norm)
