"""Types and checks shared by the array functions."""

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

Params = Mapping[str, Mapping[str, Any]]
"""Weights: `{"kernel", "bias"}` per convolution, and `"color"`; see `vgg19.PARAM_SHAPES`."""
AnyArray = Array | np.ndarray
"""A JAX array, or a NumPy array as returned by `read_image`."""
Tap = Callable[[str, Array], tuple[Array, Any]]
"""Function of a layer's name and map; returns the map passed on and the value for the layer."""


def check_floating(image: AnyArray) -> None:
    """Raise `TypeError` unless `image` has a floating-point dtype."""
    if not jnp.issubdtype(image.dtype, jnp.floating):
        raise TypeError(
            f"`image` is {image.dtype}; it must be floating point, RGB in [0, 1]. "
            "Divide 8-bit values by 255."
        )
