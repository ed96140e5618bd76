"""Total variation: how much neighboring pixels differ."""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxstyle.options import TVForm, check_option


def total_variation(
    image: Float[Array, "*batch h w c"], *, form: TVForm = "nine_point"
) -> Float[Array, "*batch"]:
    """Mean squared difference between neighbors, 0 on a flat image.

    `squared`: mean of squared horizontal plus mean of squared vertical differences.
    `nine_point`: all eight neighbors of a pixel, as in style-transfer-pytorch:
    twice the sum of the horizontal and vertical means over 3 and of the two
    diagonal means over 12, with edge pixels repeated once around. Isotropic, and
    unlike `squared` it sees a checkerboard's diagonals.
    """
    check_option("form", form, TVForm)
    axes = (-3, -2, -1)
    if form == "squared":
        rows = jnp.square(image[..., 1:, :, :] - image[..., :-1, :, :])
        cols = jnp.square(image[..., :, 1:, :] - image[..., :, :-1, :])
        # A picture of one row has no rows that differ.
        mean_rows, mean_cols = (
            x.sum(axis=axes) / max(1, math.prod(x.shape[-3:])) for x in (rows, cols)
        )
        return mean_rows + mean_cols
    padding = [(0, 0)] * (image.ndim - 3) + [(1, 1), (1, 1), (0, 0)]
    x = jnp.pad(image, padding, mode="edge")
    across = jnp.square(x[..., 1:, :, :] - x[..., :-1, :, :]).mean(axis=axes)
    along = jnp.square(x[..., :, 1:, :] - x[..., :, :-1, :]).mean(axis=axes)
    falling = jnp.square(x[..., 1:, 1:, :] - x[..., :-1, :-1, :]).mean(axis=axes)
    rising = jnp.square(x[..., :-1, 1:, :] - x[..., 1:, :-1, :]).mean(axis=axes)
    return 2 * ((across + along) / 3 + (falling + rising) / 12)
