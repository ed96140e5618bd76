"""Style losses by name: what each keeps of a painting, and how a picture is compared with it."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxstyle.losses.gram import gram_loss, gram_matrix
from jaxstyle.losses.moments import Moments, gaussian, mean_std_loss, moments, wasserstein_loss
from jaxstyle.losses.neighbors import blend_points, nearest_loss, points, transport_loss
from jaxstyle.losses.quantiles import (
    channel_quantiles,
    histogram_loss,
    sliced_loss,
    sliced_quantiles,
)
from jaxstyle.options import GramNorm, StyleLoss


class StyleFamily(NamedTuple):
    """One way to compare styles.

    Attributes:
      statistics: what is kept of a painting, from its features `[h, w, c]`.
      blend: of several paintings, stacked, one, with weights that add up to 1.
      target: what a picture is compared with, from what was kept.
      loss: of features `[h, w, c]`, a target, and a mask `[h, w]` or `None`.
    """

    statistics: Callable[[Array], Any]
    blend: Callable[[Any, Array], Any]
    target: Callable[[Any], Any]
    loss: Callable[[Array, Any, Array | None], Array]


def style_family(name: StyleLoss, gram_norm: GramNorm = "mean") -> StyleFamily:
    """The style loss of this name."""
    return {
        "gram": StyleFamily(moments, _average, _second, partial(_gram_loss, norm=gram_norm)),
        "wasserstein": StyleFamily(moments, _average, gaussian, wasserstein_loss),
        "mean_std": StyleFamily(moments, _average, _itself, mean_std_loss),
        "sliced": StyleFamily(sliced_quantiles, _average, _itself, sliced_loss),
        "histogram": StyleFamily(channel_quantiles, _average, _itself, histogram_loss),
        "nearest": StyleFamily(points, blend_points, _itself, nearest_loss),
        "transport": StyleFamily(points, blend_points, _itself, transport_loss),
    }[name]


def _average(stacked: Any, weights: Float[Array, " styles"]) -> Any:
    # Of quantiles too: their average is the Wasserstein barycenter of the distributions.
    return jax.tree.map(lambda leaf: jnp.tensordot(weights, leaf, 1), stacked)


def _itself(kept: Any) -> Any:
    return kept


def _second(kept: Moments) -> Array:
    return kept.second


def _gram_loss(features: Array, target: Array, mask: Array | None, *, norm: GramNorm) -> Array:
    return gram_loss(gram_matrix(features, mask), target, norm=norm)
