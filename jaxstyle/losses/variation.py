"""Total variation: squared differences between neighboring pixels."""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxstyle.options import TVForm, check_option
from jaxstyle.types import check_floating


def total_variation(
    image: Float[Array, "*batch h w c"], *, form: TVForm = "nine_point"
) -> Float[Array, "*batch"]:
    """Compute the mean squared difference between neighboring pixels.

    `squared`: mean squared vertical difference plus mean squared horizontal difference.
    `nine_point`: differences to all eight neighbors, as in style-transfer-pytorch: twice the sum
    of the vertical and horizontal means divided by 3 and the two diagonal means divided by 12.
    The image is first padded with one copy of its edge pixels. Isotropic; unlike `squared`,
    it includes diagonal differences.

    Args:
      image: image or feature map.
      form: neighbors to compare with, `nine_point` or `squared`.

    Raises:
      ValueError: If `form` is unknown.

    Example:
      >>> import jax.numpy as jnp
      >>> import jaxstyle
      >>> ramp = jnp.broadcast_to(jnp.arange(3.0)[None, :, None], (4, 3, 3))
      >>> print(jaxstyle.total_variation(ramp, form="squared"))
      1.0
      >>> print(jaxstyle.total_variation(jnp.ones((4, 3, 3))))
      0.0
    """
    check_option("form", form, TVForm)
    check_floating(image=image)
    axes = (-3, -2, -1)
    if form == "squared":
        rows = jnp.square(image[..., 1:, :, :] - image[..., :-1, :, :])
        cols = jnp.square(image[..., :, 1:, :] - image[..., :, :-1, :])
        # An image of one row has no vertical differences: divide by 1, not 0.
        mean_rows, mean_cols = (
            x.sum(axis=axes) / max(1, math.prod(x.shape[-3:])) for x in (rows, cols)
        )
        return mean_rows + mean_cols
    padding = [(0, 0)] * (image.ndim - 3) + [(1, 1), (1, 1), (0, 0)]
    x = jnp.pad(image, padding, mode="edge")
    vertical = jnp.square(x[..., 1:, :, :] - x[..., :-1, :, :]).mean(axis=axes)
    horizontal = jnp.square(x[..., :, 1:, :] - x[..., :, :-1, :]).mean(axis=axes)
    diagonal = jnp.square(x[..., 1:, 1:, :] - x[..., :-1, :-1, :]).mean(axis=axes)
    antidiagonal = jnp.square(x[..., :-1, 1:, :] - x[..., 1:, :-1, :]).mean(axis=axes)
    return 2 * ((vertical + horizontal) / 3 + (diagonal + antidiagonal) / 12)
