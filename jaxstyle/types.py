"""Types of the values that functions share."""

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

Params = Mapping[str, Mapping[str, Any]]
"""Weights: `{"kernel", "bias"}` per convolution, and `"color"`; see `vgg19.PARAM_SHAPES`."""
AnyArray = Array | np.ndarray
"""Images may come as NumPy arrays, as `read_image` returns them, or as JAX arrays."""
Tap = Callable[[str, Array], tuple[Array, Any]]
"""Of a layer's name and map: the map to go on with, and what is returned of the layer."""


def check_floating(image: AnyArray) -> None:
    """Raise `TypeError` for an image of integers: bytes must be divided by 255 first."""
    if not jnp.issubdtype(image.dtype, jnp.floating):
        raise TypeError(f"`image` is {image.dtype}; it must be floating point, RGB in [0, 1].")
