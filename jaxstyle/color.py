"""Color preservation: the two methods of Gatys et al. (2016b, 2017)."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxstyle.ops.linalg import inverse_root, root
from jaxstyle.types import check_floating

# Rec. 601: Y of the YIQ space, as in the paper.
_LUMA = (0.299, 0.587, 0.114)
# Color variance below which an axis counts as constant.
_MIN_VARIANCE = 1e-6


def luminance(image: Float[Array, "*batch h w 3"]) -> Float[Array, "*batch h w 1"]:
    """Compute the luma of an RGB image, the Y of YIQ.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxstyle.color import luminance
      >>> red_and_green = jnp.array([[[1.0, 0, 0], [0, 1, 0]]])
      >>> [f"{y:.3f}" for y in luminance(red_and_green)[0, :, 0]]
      ['0.299', '0.587']
    """
    check_floating(image=image)
    return (image * jnp.asarray(_LUMA, image.dtype)).sum(axis=-1, keepdims=True)


def match_luminance(
    image: Float[Array, "h w 3"], reference: Float[Array, "_h _w 3"]
) -> Float[Array, "h w 3"]:
    """Match the luminance of an image to that of a reference; return it as a gray image.

    The luminance of `image` is shifted and scaled to the mean and the standard deviation of
    the luminance of `reference`, then clipped to [0, 1]. Gatys et al. (2017), eq. 10.

    Args:
      image: RGB in [0, 1], e.g. the style image.
      reference: RGB in [0, 1], e.g. the content image.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxstyle.color import match_luminance
      >>> dark = jnp.array([[[0.0, 0, 0], [0.2, 0.2, 0.2]]])
      >>> light = jnp.array([[[0.5, 0.5, 0.5], [0.9, 0.9, 0.9]]])
      >>> [f"{y:.1f}" for y in match_luminance(dark, light)[0, :, 0]]
      ['0.5', '0.9']
    """
    y, y_ref = luminance(image), luminance(reference)
    # sqrt has infinite slope at 0.
    deviation, deviation_ref = (jnp.sqrt(jnp.maximum(x.var(), 1e-12)) for x in (y, y_ref))
    matched = (y - y.mean()) * deviation_ref / deviation + y_ref.mean()
    return jnp.clip(jnp.broadcast_to(matched, image.shape), 0, 1)


def with_chroma(
    image: Float[Array, "h w 3"], reference: Float[Array, "h w 3"]
) -> Float[Array, "h w 3"]:
    """Combine the luminance of an image with the chroma (I and Q) of a reference.

    Adding one number to R, G and B changes Y only, so no conversion to YIQ is needed. The
    result is clipped to [0, 1]. Gatys et al. (2017).

    Args:
      image: RGB in [0, 1], e.g. the result of a style transfer.
      reference: RGB in [0, 1], e.g. the content image.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxstyle.color import luminance, with_chroma
      >>> image, reference = jnp.full((1, 1, 3), 0.5), jnp.array([[[0.4, 0.2, 0.1]]])
      >>> mixed = with_chroma(image, reference)
      >>> f"{luminance(mixed).mean():.2f}", f"{(mixed - reference).std():.2f}"
      ('0.50', '0.00')
    """
    return jnp.clip(reference + luminance(image) - luminance(reference), 0, 1)


def match_color(
    image: Float[Array, "h w 3"], reference: Float[Array, "_h _w 3"]
) -> Float[Array, "h w 3"]:
    """Give an image the mean and the covariance of a reference's colors.

    x' = Σ_r^½ Σ_i^-½ (x - μ_i) + μ_r, clipped to [0, 1]. Gatys et al. (2017), section 5.2,
    in the form of image analogies.

    Args:
      image: RGB in [0, 1], e.g. the style image.
      reference: RGB in [0, 1], e.g. the content image.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxstyle.color import match_color
      >>> image = jnp.linspace(0.4, 0.6, 48).reshape(4, 4, 3)
      >>> reference = jnp.full((2, 2, 3), 0.5).at[..., 0].set(0.7)
      >>> matched = jax.jit(match_color)(image, reference)
      >>> [f"{mean:.2f}" for mean in matched.mean((0, 1))]
      ['0.70', '0.50', '0.50']
    """
    check_floating(image=image, reference=reference)
    mean, covariance = _color_statistics(image)
    mean_ref, covariance_ref = _color_statistics(reference)
    # A gray image has no variance along two axes; scaling them would amplify rounding errors.
    transform = root(covariance_ref) @ inverse_root(covariance, _MIN_VARIANCE)
    return jnp.clip((image - mean) @ transform.T + mean_ref, 0, 1)


def _color_statistics(image: Array) -> tuple[Array, Array]:
    """Return the mean and the covariance of an image's colors."""
    pixels = image.reshape(-1, 3)
    mean = pixels.mean(axis=0)
    centered = pixels - mean
    return mean, centered.T @ centered / pixels.shape[0]
