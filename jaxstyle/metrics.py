"""Image quality metrics that do not depend on the loss being minimized.

They use layers that no preset's loss uses. For all but `grain` and `smooth_grain`, lower is better
and 0 is best; for these two, 1 is best.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxstyle.losses import self_similarity, self_similarity_loss
from jaxstyle.losses.quantiles import project
from jaxstyle.ops.linalg import unit_vectors
from jaxstyle.types import AnyArray, Params, check_floating
from jaxstyle.vgg19 import features

CONTENT_LAYERS = ("relu2_2", "relu3_3", "relu4_3")
STYLE_LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")
MIN_SIDE = 48
"""Smallest side of an image, in pixels, that has a border and pixels inside it."""
MEANINGS = {
    "content": "feature distance to the content image, position by position",
    "structure": "difference in self-similarity to the content image",
    "style": "distance of the feature distribution to the style image's",
    "color": "distance of the color distribution to the style image's",
    "grain": "strength of the finest detail, relative to the style image's (best: 1)",
    "smooth_grain": "the same where the content image is smooth, relative to the style image's "
    "smoothest parts (best: 1)",
    "border": "color distance between the outermost pixels and those inside them",
}
"""One-line description of each field of `Scores`."""
_SIMILARITY_LAYER = "relu4_3"
# Number of directions and quantiles of a sliced Wasserstein distance.
_DIRECTIONS, _QUANTILES = 128, 256
# Width of the border and of the region inside it that it is compared with, in pixels.
_BORDER_WIDTH, _INNER_WIDTH = 4, 16
# Side of the window that `smooth_grain` looks at, in pixels, and the fraction that is smooth.
_WINDOW, _SMOOTH_SHARE = 9, 0.3


class Scores(NamedTuple):
    """Result of `score`.

    Attributes:
      content: `content_distance` to the content image.
      structure: `structure_distance` to the content image.
      style: `style_distance` to the style image.
      color: `color_distance` to the style image.
      grain: `grain`, relative to the style image.
      smooth_grain: `smooth_grain`, relative to the smoothest parts of the style image.
      border: `border` of the result.
    """

    content: Float[Array, ""]
    structure: Float[Array, ""]
    style: Float[Array, ""]
    color: Float[Array, ""]
    grain: Float[Array, ""]
    smooth_grain: Float[Array, ""]
    border: Float[Array, ""]


def score(
    params: Params,
    content: Float[AnyArray, "h w 3"],
    style: Float[AnyArray, "_h _w 3"],
    image: Float[AnyArray, "h w 3"],
) -> Scores:
    """Compute all metrics of a result made from `content` and `style`.

    Args:
      params: weights, used as given. `jaxstyle score`, `jaxstyle layers` and the published
        scores use `limit_filters(load_weights())`.
      content: content image, at the size of the result.
      style: style image, at the size at which its statistics were computed.
      image: result, RGB in [0, 1], with both sides at least `MIN_SIDE`.

    Example:
      Compared with itself, an image has no content distance:

      >>> import jax
      >>> import jaxstyle
      >>> from jaxstyle.metrics import score
      >>> content, style = jax.random.uniform(jax.random.key(0), (2, 48, 48, 3))
      >>> scores = jax.jit(score)(jaxstyle.load_weights(), content, style, content)
      >>> print(abs(scores.content.round(4)), abs(scores.structure.round(4)))
      0.0 0.0
    """
    return Scores(
        content_distance(params, content, image),
        structure_distance(params, content, image),
        style_distance(params, style, image),
        color_distance(style, image),
        grain(style, image),
        smooth_grain(content, style, image),
        border(image),
    )


def content_distance(
    params: Params, content: Float[AnyArray, "h w 3"], image: Float[AnyArray, "h w 3"]
) -> Float[Array, ""]:
    """Compute the mean cosine distance between features at equal positions.

    A mean over positions and layers. Zhang et al. (2018), "The Unreasonable Effectiveness of Deep
    Features as a Perceptual Metric", eq. 1, halved and without its learned weights.

    Args:
      params: weights from `load_weights`.
      content: content image, RGB in [0, 1].
      image: result, RGB in [0, 1].
    """
    image_maps = features(params, image, CONTENT_LAYERS)
    content_maps = features(params, content, CONTENT_LAYERS)
    cosines = [
        (unit_vectors(image_maps[name]) * unit_vectors(content_maps[name])).sum(-1).mean()
        for name in CONTENT_LAYERS
    ]
    return 1 - jnp.stack(cosines).mean()


def structure_distance(
    params: Params, content: Float[AnyArray, "h w 3"], image: Float[AnyArray, "h w 3"]
) -> Float[Array, ""]:
    """Compute `self_similarity_loss` on a layer that no preset uses.

    Args:
      params: weights from `load_weights`.
      content: content image, RGB in [0, 1].
      image: result, RGB in [0, 1].
    """
    image_map, content_map = (
        features(params, x, (_SIMILARITY_LAYER,))[_SIMILARITY_LAYER] for x in (image, content)
    )
    return self_similarity_loss(image_map, self_similarity(content_map))


def style_distance(
    params: Params, style: Float[AnyArray, "_h _w 3"], image: Float[AnyArray, "h w 3"]
) -> Float[Array, ""]:
    """Compute the sliced Wasserstein distance between features, relative to their spread.

    For each layer, the distance is divided by the standard deviation of the style image's
    features; the result is the mean over layers. Heitz et al. (2021), "A Sliced Wasserstein
    Loss for Neural Texture Synthesis", eq. 4.

    Args:
      params: weights from `load_weights`.
      style: style image, RGB in [0, 1].
      image: result, RGB in [0, 1].
    """
    image_maps, style_maps = (features(params, x, STYLE_LAYERS) for x in (image, style))
    ratios = []
    for name in STYLE_LAYERS:
        squared, variance = _sliced_distance(image_maps[name], style_maps[name])
        ratios.append(jnp.sqrt(squared / jnp.maximum(variance, 1e-12)))
    return jnp.stack(ratios).mean()


def color_distance(
    style: Float[AnyArray, "_h _w 3"], image: Float[AnyArray, "h w 3"]
) -> Float[Array, ""]:
    """Compute the sliced Wasserstein distance between colors, in units of [0, 1].

    Args:
      style: style image, RGB in [0, 1].
      image: result, RGB in [0, 1].

    Example:
      It compares distributions, so positions and sizes do not matter:

      >>> import jax.numpy as jnp
      >>> from jaxstyle.metrics import color_distance
      >>> style = jnp.linspace(0, 1, 300).reshape(10, 10, 3)
      >>> print(color_distance(style, style[::-1]))
      0.0
    """
    return jnp.sqrt(_sliced_distance(jnp.asarray(image), jnp.asarray(style))[0])


def grain(style: Float[AnyArray, "_h _w 3"], image: Float[AnyArray, "h w 3"]) -> Float[Array, ""]:
    """Compute the energy of the finest detail, divided by that of the style image.

    The energy is the mean squared difference of a pixel to the mean of its four neighbors.

    Args:
      style: style image, RGB in [0, 1].
      image: result, RGB in [0, 1].

    Example:
      >>> import jax
      >>> from jaxstyle.metrics import grain
      >>> style = jax.random.uniform(jax.random.key(0), (8, 8, 3))
      >>> print(grain(style, style), grain(style, 0.5 * style))
      1.0 0.25
    """
    return _detail(image).mean() / jnp.maximum(_detail(style).mean(), 1e-12)


def smooth_grain(
    content: Float[AnyArray, "h w 3"],
    style: Float[AnyArray, "_h _w 3"],
    image: Float[AnyArray, "h w 3"],
) -> Float[Array, ""]:
    """Compute the energy of the finest detail where the content image is smooth.

    It is divided by that of the smoothest parts of the style image. Smooth are the 30 % of all
    windows of 9x9 pixels that have the least variance, or in the style image the least detail.

    Args:
      content: content image, RGB in [0, 1], at the size of the result.
      style: style image, RGB in [0, 1].
      image: result, RGB in [0, 1], with both sides at least `MIN_SIDE`.

    Example:
      >>> import jax
      >>> from jaxstyle.metrics import smooth_grain
      >>> style = jax.random.uniform(jax.random.key(0), (48, 48, 3))
      >>> content = style.at[:, :24].set(0.5)
      >>> print(smooth_grain(content, style, content).round(2))
      0.0
    """
    check_floating(content=content)
    x = jnp.asarray(content)[1:-1, 1:-1].mean(axis=-1)
    variance = _window_means(jnp.square(x)) - jnp.square(_window_means(x))
    is_smooth = variance <= jnp.quantile(variance, _SMOOTH_SHARE)
    detail = _window_means(_detail(image))
    smooth_detail = jnp.where(is_smooth, detail, 0).sum() / is_smooth.sum().astype(detail.dtype)
    of_style = jnp.sort(_window_means(_detail(style)).ravel())
    of_style = of_style[: max(1, int(_SMOOTH_SHARE * of_style.size))].mean()
    return smooth_detail / jnp.maximum(of_style, 1e-12)


def border(image: Float[AnyArray, "h w 3"]) -> Float[Array, ""]:
    """Compute how far the colors at the border differ from those inside it.

    This is the `color_distance` between the outermost four pixels and the next sixteen.

    Args:
      image: result, RGB in [0, 1], with both sides at least `MIN_SIDE`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxstyle.metrics import border
      >>> framed = jnp.ones((48, 48, 3)).at[4:-4, 4:-4].set(0)
      >>> bool(border(framed) > 0.9), bool(border(0 * framed) == 0)
      (True, True)
    """
    outer = _ring(image, 0, _BORDER_WIDTH)
    return color_distance(_ring(image, _BORDER_WIDTH, _BORDER_WIDTH + _INNER_WIDTH), outer)


def _ring(image: Float[AnyArray, "h w 3"], start: int, stop: int) -> Array:
    """Return the pixels at a distance of `start` to `stop` - 1 from the edge, as one row."""
    check_floating(image=image)
    image = jnp.asarray(image)[start:-start, start:-start] if start else jnp.asarray(image)
    width = stop - start
    sides = (
        image[:width],
        image[-width:],
        image[width:-width, :width].swapaxes(0, 1),
        image[width:-width, -width:].swapaxes(0, 1),
    )
    return jnp.concatenate([side.reshape(1, -1, 3) for side in sides], axis=1)


def _detail(image: Float[AnyArray, "h w 3"]) -> Float[Array, "h-2 w-2"]:
    """Return the squared difference of each pixel inside to the mean of its four neighbors."""
    check_floating(image=image)
    x = jnp.asarray(image)
    neighbors = x[:-2, 1:-1] + x[2:, 1:-1] + x[1:-1, :-2] + x[1:-1, 2:]
    return jnp.square(x[1:-1, 1:-1] - neighbors / 4).mean(axis=-1)


def _window_means(x: Float[Array, "h w"]) -> Float[Array, "_h _w"]:
    """Return the mean of each window that fits."""
    sums = jax.lax.reduce_window(x, 0.0, jax.lax.add, (_WINDOW, _WINDOW), (1, 1), "VALID")
    return sums / _WINDOW**2


def _sliced_distance(features: Array, target: Array) -> tuple[Array, Array]:
    """Compute the squared sliced Wasserstein distance, and the variance of the target."""
    x, y = (project(maps, _DIRECTIONS).reshape(-1, _DIRECTIONS) for maps in (features, target))
    levels = (jnp.arange(_QUANTILES, dtype=x.dtype) + 0.5) / _QUANTILES
    difference = jnp.quantile(x, levels, axis=0) - jnp.quantile(y, levels, axis=0)
    return jnp.square(difference).mean(), y.var(axis=0).mean()
