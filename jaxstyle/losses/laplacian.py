"""Matting Laplacian loss: keeps the result photorealistic.

In every small window, colors may change only by an affine map.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxstyle.ops.bands import sum_over_bands
from jaxstyle.types import check_floating

# Regularization of the affine map in a window, in squared units of [0, 1].
_EPSILON = 1e-5


class Windows(NamedTuple):
    """Target of `laplacian_loss`.

    Attributes:
      image: the content image.
      inverse: inverse color covariance of every 3x3 window, regularized.
    """

    image: Float[Array, "*batch h w 3"]
    inverse: Float[Array, "*batch h-2 w-2 3 3"]


def color_windows(image: Float[Array, "*batch h w 3"]) -> Windows:
    """Compute the target of `laplacian_loss` from the content image.

    Args:
      image: the content image, RGB in [0, 1], with both sides at least 3.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxstyle.losses import color_windows
      >>> color_windows(jnp.ones((4, 6, 3))).inverse.shape
      (2, 4, 3, 3)
    """
    check_floating(image=image)
    covariances = _window_covariances(image, image)
    identity = jnp.broadcast_to(jnp.eye(3, dtype=image.dtype), covariances.shape)
    return Windows(image, jnp.linalg.inv(covariances + _EPSILON / 9 * identity))


def laplacian_loss(image: Float[Array, "*batch h w 3"], target: Windows) -> Float[Array, "*batch"]:
    """Compute how far an image is from a locally affine color transform of the content image.

    In every 3x3 window, each channel of `image` is fitted by an affine function of the content
    image's colors. The loss is the squared residual, averaged over pixels and windows and summed
    over channels. It equals vᵀ L v divided by the number of pixels in all windows, where L is the
    matting Laplacian of Levin, Lischinski and Weiss (2008), "A Closed-Form Solution to Natural
    Image Matting", eq. 12, used by Luan et al. (2017), "Deep Photo Style Transfer", eq. 2.
    L is never formed.

    Args:
      image: the optimized image, RGB.
      target: result of `color_windows`.

    Example:
      A change of brightness and contrast costs almost nothing; moved edges do:

      >>> import jax
      >>> from jaxstyle.losses import color_windows, laplacian_loss
      >>> content = jax.random.uniform(jax.random.key(0), (8, 8, 3))
      >>> target = color_windows(content)
      >>> bool(laplacian_loss(0.5 * content + 0.2, target) < 1e-5)
      True
      >>> bool(laplacian_loss(content[::-1], target) > 0.1)
      True
    """
    check_floating(image=image)
    return _residuals(image, target).mean(axis=(-2, -1))


def banded_laplacian_loss(image: Float[Array, "h w 3"], target: Windows) -> Float[Array, ""]:
    """Compute `laplacian_loss` of an image, in the memory of a few of its rows."""
    check_floating(image=image)

    def evaluate(band: tuple[Array, Windows]) -> Array:
        return _residuals(*band).sum(axis=-1)

    height, width = target.inverse.shape[:2]
    return sum_over_bands(evaluate, (image, target), overlap=2) / (height * width)


def _residuals(image: Array, target: Windows) -> Array:
    """Compute the residual of each window, summed over channels."""
    covariances = _window_covariances(target.image, image)
    # Elements of the inverse reach 10⁶, so lower precision would lose all digits.
    factors = covariances, target.inverse, covariances
    explained = jnp.einsum("...ic,...ij,...jc->...c", *factors, precision="highest")
    variance = _window_means(jnp.square(image)) - jnp.square(_window_means(image))
    return (variance - explained).sum(axis=-1)


def _window_covariances(a: jax.Array, b: jax.Array) -> jax.Array:
    """Compute the covariances between the channels of two images in every 3x3 window."""
    products = _window_means(a[..., :, None] * b[..., None, :], axes=(-4, -3))
    return products - _window_means(a)[..., :, None] * _window_means(b)[..., None, :]


def _window_means(x: jax.Array, axes: tuple[int, int] = (-3, -2)) -> jax.Array:
    """Average over every 3x3 window that lies inside the image."""
    for axis in axes:
        count = x.shape[axis] - 2
        a, b, c = (jax.lax.slice_in_dim(x, i, i + count, axis=axis % x.ndim) for i in range(3))
        x = (a + b + c) / 3
    return x
