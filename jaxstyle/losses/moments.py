"""Style as the Gaussian of the features: their means and how they vary together.

Unlike a Gram matrix, which mixes both, a Gaussian cannot trade a mean that is too low for a
few spots that are too strong.
"""

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxstyle.losses.gram import gram_matrix, inner_products
from jaxstyle.losses.positions import positions
from jaxstyle.ops.linalg import eigh


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

    (1/c) (|μ - μ̂|² + tr Σ + tr Σ̂ - 2 tr (Σ̂^½ Σ Σ̂^½)^½). With X the centered features over √n,
    Σ = XᵀX, and the last trace is also that of (X Σ̂ Xᵀ)^½, the smaller matrix in maps of fewer
    positions than channels. style-transfer-pytorch has the same loss with Σ + 10⁻⁴ I, and the
    mean's part averaged as here.
    """
    weights, flat = positions(features, mask)
    mean = (weights * flat).sum(axis=-2)
    # Centered before it is squared: of a flat map nothing but rounding would be left after.
    x = jnp.sqrt(weights) * (flat - mean[..., None, :])
    spread = jnp.square(x).sum(axis=(-2, -1)) + jnp.square(target.root).sum(axis=(-2, -1))
    if x.shape[-2] < x.shape[-1]:
        y = _matmul(x, target.root)
        middle = _matmul(y, y.swapaxes(-1, -2))
    else:
        middle = _matmul(_matmul(target.root, inner_products(x)), target.root)
    means = jnp.square(mean - target.mean).sum(axis=-1)
    return (means + spread - 2 * root_trace(middle)) / x.shape[-1]


@jax.custom_vjp
def root_trace(m: Float[Array, "*batch c c"]) -> Float[Array, "*batch"]:
    """Trace of M^½, of a positive semidefinite matrix. Reverse-mode differentiable, once."""
    return _root_trace(m)[0]


def _root_trace(m: jax.Array) -> tuple[jax.Array, jax.Array]:
    root, inverse = _roots(m)
    return jnp.trace(root, axis1=-2, axis2=-1), inverse


root_trace.defvjp(_root_trace, lambda inverse, g: (0.5 * g[..., None, None] * inverse,))

# Square roots of eigenvalues are exact to 0.5 % from this share of the norm's on, and damped below.
_LEAST = 1 / 1000
_STEPS = 10


def _scales() -> list[float]:
    """Factor before each Newton-Schulz step that lifts the least root most, with none above 1."""
    least, scales = _LEAST, []
    for _ in range(_STEPS):
        scale = math.sqrt(3 / (1 + least + least**2))
        least = scale * least * (1.5 - 0.5 * (scale * least) ** 2)
        scales.append(scale)
    return scales


def _roots(m: jax.Array) -> tuple[jax.Array, jax.Array]:
    """M^½ and M^-½ of a positive semidefinite matrix, by coupled Newton-Schulz steps.

    Matrix products alone, so that accelerators and `vmap` like it; scaled by Chen and Chow (2014),
    "A Stable Scaling of Newton-Schulz for Improving the Sign Function Computation".
    """
    norm = jnp.maximum(jnp.linalg.norm(m, axis=(-2, -1), keepdims=True), 1e-30)
    one = jnp.eye(m.shape[-1], dtype=m.dtype)

    def step(pair: tuple[jax.Array, jax.Array], scale: jax.Array) -> tuple[Any, None]:
        y, z = pair
        correction = scale * (1.5 * one - 0.5 * scale**2 * _matmul(z, y))
        return (_matmul(y, correction), _matmul(correction, z)), None

    start = m / norm, jnp.broadcast_to(one, m.shape)
    (y, z), _ = jax.lax.scan(step, start, jnp.asarray(_scales(), m.dtype))
    return y * jnp.sqrt(norm), z / jnp.sqrt(norm)


_matmul = partial(jnp.matmul, precision="highest")
