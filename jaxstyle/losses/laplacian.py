"""Photographs that stay photographs: colors may change by what is affine in small windows."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# Of a window's colors around its affine map, in squares of [0, 1].
_EPSILON = 1e-5


class Windows(NamedTuple):
    """What is kept of a photograph: of every 3x3 window the mean and the inverse covariance."""

    image: Float[Array, "*batch h w 3"]
    inverse: Float[Array, "*batch h-2 w-2 3 3"]


def color_windows(image: Float[Array, "*batch h w 3"]) -> Windows:
    """Windows of the photograph that `laplacian_loss` compares with."""
    centered = _products(image, image)
    return Windows(image, jnp.linalg.inv(centered + _EPSILON / 9 * jnp.eye(3)))


def laplacian_loss(image: Float[Array, "*batch h w 3"], target: Windows) -> Float[Array, "*batch"]:
    """What of a picture's channels no affine function of the photograph's colors explains.

    In every 3x3 window the squared residual of the best such function, a mean over windows,
    summed over channels: vᵀ L v with the matting Laplacian of Levin, Lischinski and Weiss (2008),
    "A Closed-Form Solution to Natural Image Matting", eq. 12, over the number of pixels in all
    windows; as used by Luan et al. (2017), "Deep Photo Style Transfer", eq. 2.
    The matrix is never formed. The target is from `color_windows`.
    """
    across = _products(target.image, image)
    # In full precision: of inverses up to 10^6 nothing would be left.
    parts = across, target.inverse, across
    explained = jnp.einsum("...ic,...ij,...jc->...c", *parts, precision="highest")
    variance = _mean(jnp.square(image)) - jnp.square(_mean(image))
    return (variance - explained).sum(axis=-1).mean(axis=(-2, -1))


def _products(a: jax.Array, b: jax.Array) -> jax.Array:
    """Covariances of the channels of two pictures in every window."""
    both = _mean(a[..., :, None] * b[..., None, :], axes=(-4, -3))
    return both - _mean(a)[..., :, None] * _mean(b)[..., None, :]


def _mean(x: jax.Array, axes: tuple[int, int] = (-3, -2)) -> jax.Array:
    """Means over all whole 3x3 windows."""
    for axis in axes:
        count = x.shape[axis] - 2
        a, b, c = (jax.lax.slice_in_dim(x, i, i + count, axis=axis % x.ndim) for i in range(3))
        x = (a + b + c) / 3
    return x
