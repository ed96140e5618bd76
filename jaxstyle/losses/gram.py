"""Gram matrices: which features occur together, independent of position."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxstyle.options import GramNorm, check_option
from jaxstyle.types import check_floating


def gram_matrix(
    features: Float[Array, "*batch h w c"],
    mask: Float[Array, "*batch h w"] | None = None,
) -> Float[Array, "*batch c c"]:
    """Compute the Gram matrix of a feature map, averaged over positions.

    G_ij = (1 / hw) Σ_p F_pi F_pj. Gatys et al. (2016), eq. 3, without the mean. Dividing by hw
    makes the value independent of image size.

    Args:
      features: feature map.
      mask: weight of each position, at least 0. The result is the weighted average, as in
        Gatys et al. (2017), eq. 3, with their guidance channel equal to √mask.

    Returns:
      The Gram matrix, summed in float32 or higher precision. It is 0 where `mask` is 0 everywhere.

    Example:
      >>> import jax.numpy as jnp
      >>> import jaxstyle
      >>> features = jnp.array([[[1.0, 0.0], [1.0, 2.0]]])
      >>> print(jaxstyle.gram_matrix(features))
      [[1. 1.]
       [1. 2.]]
      >>> print(jaxstyle.gram_matrix(features, mask=jnp.array([[1.0, 0.0]])))
      [[1. 0.]
       [0. 0.]]
    """
    check_floating(features=features, mask=mask)
    flat = features.reshape(*features.shape[:-3], -1, features.shape[-1])
    if mask is None:
        return inner_products(flat) / flat.shape[-2]
    weight = mask.reshape(*mask.shape[:-2], -1, 1)
    # A resized mask may be 0 everywhere in a deep layer: return 0, not NaN.
    total = jnp.maximum(weight.sum(axis=(-2, -1)), 1e-6)[..., None, None]
    return _cross_products(flat, flat * weight.astype(flat.dtype)) / total


@jax.custom_jvp
def inner_products(x: jax.Array) -> jax.Array:
    """Compute XᵀX, summed in float32 or higher precision.

    The gradient X (Ḡ + Ḡᵀ) takes one matrix product instead of two.

    Args:
      x: matrices `[*batch, n, c]`.
    """
    return _cross_products(x, x)


@inner_products.defjvp
def _inner_products_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    # The gradient is a map of the dtype of X, and so are the factors of its product.
    half = _cross_products(*primals, *tangents, round_to=primals[0].dtype)
    return inner_products(*primals), half + half.swapaxes(-1, -2)


def _cross_products(a: jax.Array, b: jax.Array, round_to: Any = None) -> jax.Array:
    """Compute AᵀB in full float32 precision: losses are differences of such sums."""
    dtype = np.promote_types(a.dtype, np.float32)
    full = {"precision": "highest", "preferred_element_type": round_to or dtype}
    return jnp.einsum("...pi,...pj->...ij", a, b, **full).astype(dtype)


def gram_loss(
    gram: Float[Array, "*batch c c"],
    target: Float[Array, "*batch c c"],
    *,
    norm: GramNorm = "mean",
) -> Float[Array, "*batch"]:
    """Compute the squared distance between two Gram matrices, per pair of channels.

    `mean`: (1 / c²) Σ (G - Ĝ)².
    `gatys`: a quarter of that. Gatys et al. (2016), eq. 4, is 1 / (4 c² (hw)²) Σ (hwG - hwĜ)² for
    two images of the same size hw. With averaged Gram matrices, the sizes may differ.

    Args:
      gram: Gram matrix of the optimized image.
      target: Gram matrix of the style image.
      norm: normalization, `mean` or `gatys`.

    Raises:
      ValueError: If `norm` is unknown.

    Example:
      The loss does not depend on where features are:

      >>> import jax.numpy as jnp
      >>> import jaxstyle
      >>> style = jaxstyle.gram_matrix(jnp.arange(12.0).reshape(2, 3, 2))
      >>> flipped = jaxstyle.gram_matrix(jnp.arange(12.0).reshape(2, 3, 2)[::-1])
      >>> print(jaxstyle.gram_loss(flipped, style), jaxstyle.gram_loss(style + 2, style))
      0.0 4.0
    """
    check_option("norm", norm, GramNorm)
    check_floating(gram=gram, target=target)
    loss = jnp.square(gram - target).mean(axis=(-2, -1))
    return 0.25 * loss if norm == "gatys" else loss
