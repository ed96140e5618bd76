"""The terms of the loss that belong to one layer."""

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
from jaxtyping import Array, Float

from jaxstyle.losses import content_loss, self_similarity_loss, style_family
from jaxstyle.losses.families import StyleFamily
from jaxstyle.options import split_term
from jaxstyle.spec import LossSpec
from jaxstyle.types import AnyArray, Params, Tap
from jaxstyle.vgg19 import features

SIMILARITY = "self_similarity"


class LayerTargets(NamedTuple):
    """Targets of the terms of one layer, and the layer's masks.

    Attributes:
      content: target of each content term.
      style: target of each style term, with a leading axis of regions.
      masks: weight of each region at each position `[regions, h_l, w_l]`, or `None`.
    """

    content: dict[str, Any]
    style: dict[str, Any]
    masks: Any


def layer_losses(
    spec: LossSpec, features: Array, targets: LayerTargets
) -> tuple[dict[str, Array], dict[str, Any]]:
    """Compute the losses of a layer's content terms, and of its style terms for each region.

    Losses that have `parts` are returned as these.
    """
    content = {
        term: content_term_loss(features, term, target, spec)
        for term, target in targets.content.items()
    }
    families = {term: family_of(term, spec) for term in targets.style}
    axes = 0, None if targets.masks is None else 0
    style = {
        term: jax.vmap(partial(family.parts or family.loss, features), in_axes=axes)(
            targets.style[term], targets.masks
        )
        for term, family in families.items()
    }
    return content, style


def content_term_loss(
    features: Array, term: str, target: Array, spec: LossSpec
) -> Float[Array, ""]:
    if split_term(term)[0] == SIMILARITY:
        return self_similarity_loss(features, target)
    return content_loss(features, target, norm=spec.content_norm)


def family_of(term: str, spec: LossSpec) -> StyleFamily:
    loss: Any = split_term(term)[0] or spec.style_loss
    return style_family(loss, spec.gram_norm)


def extract_features(
    params: Params, image: AnyArray, layers: Sequence[str], spec: LossSpec, **tap: Tap
) -> dict[str, Any]:
    names = ("pooling", "padding", "dtype", "precision")
    options: dict[str, Any] = {name: getattr(spec, name) for name in names} | tap
    return features(params, image, layers, **options)
