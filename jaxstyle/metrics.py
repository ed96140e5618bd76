"""How good a picture is, by measures that the descent did not lower.

They read layers that no preset's loss reads. All are 0 at best, except `grain`, which is 1.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxstyle.losses import self_similarity, self_similarity_loss
from jaxstyle.types import AnyArray, Params
from jaxstyle.vgg19 import features

CONTENT_LAYERS = ("relu2_2", "relu3_3", "relu4_3")
STYLE_LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")
MIN_SIDE = 48
"""Smallest side of a picture, in pixels: a frame, and something inside it."""
MEANINGS = {
    "content": "distance of features at the same place, to the photograph",
    "structure": "change of the similarities between places of the photograph",
    "style": "distance of features wherever they are, to the painting",
    "color": "distance of colors, to the painting",
    "grain": "finest detail, over the painting's",
    "border": "distance of the frame's colors to those inside it",
}
"""What each of the `Scores` is, in a line."""
_SIMILARITY_LAYER = "relu4_3"
# Directions and quantiles of a sliced distance.
_SLICES, _QUANTILES = 128, 256
# Width of the frame, and of what it is compared with, in pixels.
_FRAME, _INSIDE = 4, 16


class Scores(NamedTuple):
    """What `score` finds.

    Attributes:
      content: `content_distance` to the photograph.
      structure: `structure_distance` to the photograph.
      style: `style_distance` to the painting.
      color: `color_distance` to the painting.
      grain: `grain`, against the painting.
      border: `border`.
    """

    content: Float[Array, ""]
    structure: Float[Array, ""]
    style: Float[Array, ""]
    color: Float[Array, ""]
    grain: Float[Array, ""]
    border: Float[Array, ""]


def score(
    params: Params,
    content: Float[AnyArray, "h w 3"],
    style: Float[AnyArray, "_h _w 3"],
    image: Float[AnyArray, "h w 3"],
) -> Scores:
    """All measures of a picture made of `content` and `style`.

    Args:
      params: weights from `load_weights`.
      content: the photograph, at the size of the picture.
      style: the painting, at the size at which it was looked at.
      image: the picture, RGB in [0, 1], both sides at least `MIN_SIDE`.
    """
    return Scores(
        content_distance(params, content, image),
        structure_distance(params, content, image),
        style_distance(params, style, image),
        color_distance(style, image),
        grain(style, image),
        border(image),
    )


def content_distance(
    params: Params, content: Float[AnyArray, "h w 3"], image: Float[AnyArray, "h w 3"]
) -> Float[Array, ""]:
    """Mean of 1 - cos between features at the same place, over places and layers.

    The distance of Zhang et al. (2018), "The Unreasonable Effectiveness of Deep Features as a
    Perceptual Metric", eq. 1, halved and without its learned weights.
    """
    found = features(params, image, CONTENT_LAYERS)
    wanted = features(params, content, CONTENT_LAYERS)
    cosines = [(_unit(found[name]) * _unit(wanted[name])).sum(-1).mean() for name in found]
    return 1 - jnp.stack(cosines).mean()


def structure_distance(
    params: Params, content: Float[AnyArray, "h w 3"], image: Float[AnyArray, "h w 3"]
) -> Float[Array, ""]:
    """Mean change of the similarities between places, whatever their looks.

    `self_similarity_loss`, at a layer of its own.
    """
    (found,), (wanted,) = (
        features(params, picture, (_SIMILARITY_LAYER,)).values() for picture in (image, content)
    )
    return self_similarity_loss(found, self_similarity(wanted))


def style_distance(
    params: Params, style: Float[AnyArray, "_h _w 3"], image: Float[AnyArray, "h w 3"]
) -> Float[Array, ""]:
    """Sliced Wasserstein distance of features, relative to the spread of the painting's.

    Heitz et al. (2021), "A Sliced Wasserstein Loss for Neural Texture Synthesis", eq. 4; for each
    layer the root of its square over that of the painting to its own mean; a mean over layers.
    """
    found, wanted = (features(params, picture, STYLE_LAYERS) for picture in (image, style))
    ratios = []
    for name, target in wanted.items():
        squared, spread = _sliced(found[name], target)
        ratios.append(jnp.sqrt(squared / jnp.maximum(spread, 1e-12)))
    return jnp.stack(ratios).mean()


def color_distance(
    style: Float[AnyArray, "_h _w 3"], image: Float[AnyArray, "h w 3"]
) -> Float[Array, ""]:
    """Sliced Wasserstein distance of colors, in units of the pixels' [0, 1]."""
    return jnp.sqrt(_sliced(jnp.asarray(image), jnp.asarray(style))[0])


def grain(style: Float[AnyArray, "_h _w 3"], image: Float[AnyArray, "h w 3"]) -> Float[Array, ""]:
    """Energy of the finest detail, of a pixel against its four neighbors, over the painting's."""
    return _detail(image) / jnp.maximum(_detail(style), 1e-12)


def border(image: Float[AnyArray, "h w 3"]) -> Float[Array, ""]:
    """How far the colors of the outermost pixels are from those a little further in.

    Distance of colors, as `color_distance`, of a frame of four pixels and the sixteen inside it.
    """
    outer = _ring(image, 0, _FRAME)
    return color_distance(_ring(image, _FRAME, _FRAME + _INSIDE), outer)


def _ring(image: Float[AnyArray, "h w 3"], near: int, far: int) -> Array:
    """Pixels at least `near` and less than `far` from the edge, in one row."""
    image = jnp.asarray(image)[near:-near, near:-near] if near else jnp.asarray(image)
    width = far - near
    sides = (
        image[:width],
        image[-width:],
        image[width:-width, :width].swapaxes(0, 1),
        image[width:-width, -width:].swapaxes(0, 1),
    )
    return jnp.concatenate([side.reshape(1, -1, 3) for side in sides], axis=1)


def _unit(features: Array) -> Array:
    return features / jnp.maximum(jnp.linalg.norm(features, axis=-1, keepdims=True), 1e-6)


def _detail(image: Float[AnyArray, "h w 3"]) -> Array:
    x = jnp.asarray(image)
    neighbors = x[:-2, 1:-1] + x[2:, 1:-1] + x[1:-1, :-2] + x[1:-1, 2:]
    return jnp.square(x[1:-1, 1:-1] - neighbors / 4).mean()


def _sliced(features: Array, target: Array) -> tuple[Array, Array]:
    """Mean squared distance of quantiles along random directions, and the target's variance."""
    directions = jax.random.normal(jax.random.key(0), (features.shape[-1], _SLICES))
    directions /= jnp.linalg.norm(directions, axis=0)

    def projected(features: Array) -> Array:
        flat = features.reshape(-1, features.shape[-1])
        return jnp.matmul(flat, directions, precision="highest")

    along, wanted = projected(features), projected(target)
    at = (jnp.arange(_QUANTILES) + 0.5) / _QUANTILES
    difference = jnp.quantile(along, at, axis=0) - jnp.quantile(wanted, at, axis=0)
    return jnp.square(difference).mean(), wanted.var(axis=0).mean()
