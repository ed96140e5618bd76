"""Total variation: squared differences between neighboring pixels."""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxstyle.ops.bands import sum_over_bands
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


def banded_variation(
    image: Float[Array, "h w c"], *, form: TVForm = "nine_point"
) -> Float[Array, ""]:
    """Compute `total_variation` of an image, in the memory of a few of its rows."""
    check_option("form", form, TVForm)
    check_floating(image=image)
    border = 1 if form == "nine_point" else 0
    height, width, channels = image.shape
    height, width = height + 2 * border, width + 2 * border
    straight, diagonal = (2 / 3, 1 / 6) if form == "nine_point" else (1.0, 0.0)
    # The means divide by the numbers of differences.
    straight /= channels
    across, down = straight / max(1, height * (width - 1)), straight / max(1, (height - 1) * width)
    diagonal /= channels * max(1, (height - 1) * (width - 1))

    def pad(rows: Array) -> Array:
        return jnp.pad(rows, [(0, 0), (border, border), (0, 0)], mode="edge")

    def compare(band: Array) -> Array:
        rows = pad(band)
        above, below = rows[:-1], rows[1:]
        pairs = [(above[:, 1:], above[:, :-1], across), (below, above, down)]
        if diagonal:
            pairs += [(below[:, 1:], above[:, :-1], diagonal)]
            pairs += [(below[:, :-1], above[:, 1:], diagonal)]
        losses = [weight * jnp.square(a - b).sum(axis=(1, 2)) for a, b, weight in pairs]
        return jnp.stack(losses).sum(axis=0)

    first, last = pad(image[:1]), pad(image[-1:])
    total = across * jnp.square(last[:, 1:] - last[:, :-1]).sum()
    for row in (first, last) if border else ():
        # The copy of the edge above the image, or below it, has the edge's own differences.
        total += (across + 2 * diagonal) * jnp.square(row[:, 1:] - row[:, :-1]).sum()
    return total if image.shape[0] == 1 else total + sum_over_bands(compare, image, overlap=1)
