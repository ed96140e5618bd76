"""Style as Gram matrices: which features occur together, wherever they are."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxstyle.options import GramNorm, check_option


def gram_matrix(
    features: Float[Array, "*batch h w c"],
    mask: Float[Array, "*batch h w"] | None = None,
) -> Float[Array, "*batch c c"]:
    """Channel correlations of a feature map, averaged over positions.

    G_ij = (1 / hw) Σ_p F_pi F_pj. Gatys et al. (2016), eq. 3; dividing by hw makes
    the value independent of image size.

    Args:
      features: feature map.
      mask: weight of each position, at least 0; the average is taken under it, as in
        Gatys et al. (2017), eq. 3, with their guidance channel equal to √mask.
    """
    flat = features.reshape(*features.shape[:-3], -1, features.shape[-1])
    if mask is None:
        return inner_products(flat) / flat.shape[-2]
    weight = mask.reshape(*mask.shape[:-2], -1, 1)
    # A mask may vanish at a deep layer: its Gram matrix is then 0, not NaN.
    total = jnp.maximum(weight.sum(axis=(-2, -1)), 1e-6)[..., None, None]
    return _products(flat, flat * weight.astype(flat.dtype)) / total


@jax.custom_jvp
def inner_products(x: jax.Array) -> jax.Array:
    """XᵀX, summed in float32 at least; its gradient X (Ḡ + Ḡᵀ) is one matrix product, not two."""
    return _products(x, x)


@inner_products.defjvp
def _inner_products_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    half = _products(*primals, *tangents)
    return inner_products(*primals), half + half.swapaxes(-1, -2)


def _products(a: jax.Array, b: jax.Array) -> jax.Array:
    # In float32's full precision also where a device's own is less: losses are differences of
    # such sums.
    dtype = np.promote_types(a.dtype, np.float32)
    full = {"precision": "highest", "preferred_element_type": dtype}
    return jnp.einsum("...pi,...pj->...ij", a, b, **full)


def gram_loss(
    gram: Float[Array, "*batch c c"],
    target: Float[Array, "*batch c c"],
    *,
    norm: GramNorm = "mean",
) -> Float[Array, "*batch"]:
    """Squared distance of two Gram matrices, per pair of channels.

    `mean`: (1 / c²) Σ (G - Ĝ)².
    `gatys`: a quarter of it: Gatys et al. (2016), eq. 4, 1 / (4 c² (hw)²) Σ (hwG - hwĜ)²,
    where both images have one size hw, as in the paper; with averaged Gram matrices
    it holds for a style of any size.
    """
    check_option("norm", norm, GramNorm)
    loss = jnp.square(gram - target).mean(axis=(-2, -1))
    return 0.25 * loss if norm == "gatys" else loss
