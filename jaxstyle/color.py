"""Colors of the photograph kept: the two ways of Gatys et al. (2016b, 2017)."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxstyle.ops.linalg import eigh

# Rec. 601, the Y of the YIQ space that the paper uses.
_LUMA = (0.299, 0.587, 0.114)


def luminance(image: Float[Array, "*batch h w 3"]) -> Float[Array, "*batch h w 1"]:
    """Luma of an RGB image: Y of YIQ."""
    return (image * jnp.asarray(_LUMA, image.dtype)).sum(axis=-1, keepdims=True)


def match_luminance(
    image: Float[Array, "h w 3"], reference: Float[Array, "_h _w 3"]
) -> Float[Array, "h w 3"]:
    """Gray image with the luminance of `image`, moved to mean and deviation of `reference`'s.

    Gatys et al. (2017), eq. 10.
    """
    y, target = luminance(image), luminance(reference)
    matched = (y - y.mean()) * target.std() / jnp.maximum(y.std(), 1e-6) + target.mean()
    return jnp.clip(jnp.broadcast_to(matched, image.shape), 0, 1)


def with_chroma(
    image: Float[Array, "h w 3"], reference: Float[Array, "h w 3"]
) -> Float[Array, "h w 3"]:
    """Luminance of `image` with the I and Q of `reference`.

    Adding one number to R, G and B moves Y alone, so no matrix is inverted.
    """
    return jnp.clip(reference + luminance(image) - luminance(reference), 0, 1)


def match_color(
    image: Float[Array, "h w 3"], reference: Float[Array, "_h _w 3"]
) -> Float[Array, "h w 3"]:
    """`image` under the linear map that gives it mean and covariance of `reference`'s colors.

    x' = Σ_r^½ Σ_i^-½ (x - μ_i) + μ_r, clipped to [0, 1]: Gatys et al. (2017), section 5.2,
    in the form of image analogies.
    """
    mean, covariance = _color_statistics(image)
    mean_r, covariance_r = _color_statistics(reference)
    transform = _power(covariance_r, 0.5) @ _power(covariance, -0.5)
    return jnp.clip((image - mean) @ transform.T + mean_r, 0, 1)


def _color_statistics(image: Array) -> tuple[Array, Array]:
    pixels = image.reshape(-1, 3)
    mean = pixels.mean(axis=0)
    centered = pixels - mean
    return mean, centered.T @ centered / pixels.shape[0]


def _power(covariance: Array, exponent: float) -> Array:
    values, vectors = eigh(covariance)
    # A gray image has no extent along two of the axes: nothing is to be stretched there.
    powers = jnp.where(values > 1e-6, jnp.maximum(values, 1e-6) ** exponent, 0.0)
    return (vectors * powers) @ vectors.T
