"""Regions: which style acts where, as one mask per style over the picture."""

from collections.abc import Mapping

import jax
from jaxtyping import Array, Float


def resize_masks(
    masks: Float[Array, "styles h w"], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, Float[Array, "styles h_l w_l"]]:
    """Masks at the size of each layer, by antialiased linear interpolation.

    Args:
      masks: weight of each style at each pixel, at least 0.
      shapes: shape `(..., h_l, w_l, c_l)` of each layer's feature map.
    """
    count = masks.shape[0]
    return {
        layer: jax.image.resize(masks, (count, *shape[-3:-1]), "linear")
        for layer, shape in shapes.items()
    }


def coverage(masks: Float[Array, "styles h w"]) -> Float[Array, " styles"]:
    """Part of the picture that each mask covers, 0 to 1."""
    return masks.mean(axis=(-2, -1))
