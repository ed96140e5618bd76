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


def check_floating(**arrays: Any) -> None:
    """Raise `TypeError` unless every array has a floating-point dtype; `None` is ignored.

    Args:
      arrays: arrays by the name of the argument.
    """
    for name, array in arrays.items():
        if array is not None and not jnp.issubdtype(array.dtype, jnp.floating):
            raise TypeError(
                f"`{name}` is {array.dtype}; it must be floating point. Divide 8-bit images by 255."
            )
