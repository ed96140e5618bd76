"""The objective: targets measured once, and the loss of an image against them.

This is where a researcher swaps the method: `make_targets` says what is measured
on the photograph and the paintings, `total_loss` how an image is compared.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxstyle.config import LossSpec, StyleConfig, Weights
from jaxstyle.losses import (
    color_windows,
    content_loss,
    laplacian_loss,
    self_similarity,
    self_similarity_loss,
    style_family,
    total_variation,
)
from jaxstyle.losses.families import StyleFamily
from jaxstyle.ops.deferred_grad import deferred_grad
from jaxstyle.options import layers_of, split_term
from jaxstyle.types import AnyArray, Params, Tap
from jaxstyle.vgg19 import features

_SIMILARITY = "self_similarity"

StyleStatistics = dict[str, Any]
"""What is kept of a painting: for every style term what its loss measures."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Targets:
    """What an image is compared with: a pytree of arrays with a static `spec`.

    Attributes:
      content: the photograph, per content term: its features, `[..., h_l, w_l, c_l]`, or their
        self-similarity.
      style: per style term what its loss compares with, with a leading axis of regions: e.g. the
        Gram matrix `[..., regions, c_l, c_l]`, or the `Gaussian` for the loss `wasserstein`.
        Without masks there is one region, with the styles blended in it; with masks one
        region per style.
      masks: weight of each region at each position, per style layer, `[..., regions, h_l, w_l]`,
        or `None`.
      shares: weight of each region's loss, `[..., regions]`.
      spec: which layers, and how losses are formed.
      windows: of the photograph, for the matting Laplacian, or `None`.
      size: height and width of the photograph, or `None` where it is not compared with.
    """

    # JAX fills trees with placeholders too: their leaves are of no one type.
    content: dict[str, Any]
    style: dict[str, Any]
    masks: dict[str, Any] | None
    shares: Any
    spec: LossSpec = field(metadata={"static": True})
    windows: Any = None
    size: tuple[int, ...] | None = field(default=None, metadata={"static": True})


def make_targets(
    params: Params,
    content: Float[AnyArray, "h w 3"] | None,
    styles: Sequence[Float[AnyArray, "_h _w 3"]],
    config: StyleConfig,
    *,
    masks: Float[AnyArray, "styles mask_h mask_w"] | None = None,
) -> Targets:
    """Targets for images of the size of `content`.

    Args:
      params: weights from `load_weights`.
      content: the photograph, at the size of the result; `None` for no content loss.
      styles: the paintings, at the sizes at which they are to be looked at; their
        statistics are blended with the weights `config.blend`.
      config: layers, blend and network options.
      masks: one mask per style: its weight at each pixel of the picture, at least 0.
        Each style then acts in its region alone.

    Raises:
      ValueError: blend or masks do not fit the styles; an image is too small.
    """
    blend = blend_weights(config, len(styles))
    check_masks(masks, len(styles))
    if masks is not None and content is None:
        raise ValueError("`masks` divide a photograph; they need a `content`.")
    found = [compute_style_statistics(params, style, config.spec) for style in styles]
    return build_targets(params, content, found, blend, masks, config.spec)


def blend_weights(config: StyleConfig, styles: int) -> Float[Array, " styles"]:
    """Weight of each of a number of styles, adding up to 1.

    Raises:
      ValueError: `config.blend` is not empty and not one weight for each, or all 0.
    """
    blend = config.blend or (1.0,) * styles
    if len(blend) != styles:
        raise ValueError(f"`blend` has {len(blend)} weights for {styles} styles.")
    if blend and not sum(blend):
        raise ValueError("`blend` is 0 for every style; give at least one a weight above 0.")
    return jnp.asarray(blend, jnp.float32) / sum(blend) if blend else jnp.zeros(0)


def check_masks(masks: AnyArray | None, styles: int) -> None:
    """Raise `ValueError` unless there is one mask for each of a number of styles, or none."""
    if masks is not None and masks.shape[0] != styles:
        raise ValueError(
            f"`masks` has {masks.shape[0]} masks for {styles} styles; it must have one for each."
        )


def compute_style_statistics(
    params: Params, style: Float[AnyArray, "_h _w 3"], spec: LossSpec
) -> StyleStatistics:
    """What is kept of one painting, e.g. the moments of its features at each style layer."""
    found = _extract_features(params, style, layers_of(spec.style_layers), spec)
    return {
        term: _family(term, spec).statistics(found[split_term(term)[1]])
        for term in spec.style_layers
    }


def build_targets(
    params: Params,
    content: Float[AnyArray, "h w 3"] | None,
    styles: Sequence[StyleStatistics],
    blend: Float[Array, " styles"],
    masks: Float[AnyArray, "styles mask_h mask_w"] | None,
    spec: LossSpec,
) -> Targets:
    """Build `Targets` from the statistics of each style image; all numbers are traced.

    A sweep over weights then compiles once, and a painting is looked at once for
    many photographs.
    """
    known = {} if content is None else _content_targets(params, content, spec)
    windows = (
        color_windows(jnp.asarray(content)) if spec.laplacian and content is not None else None
    )
    size = None
    if content is not None and (known or spec.laplacian):
        size = content.shape[:2]
    families = {term: _family(term, spec) for term in spec.style_layers} if styles else {}
    stacked: StyleStatistics = (
        jax.tree.map(lambda *regions: jnp.stack(regions), *styles) if styles else {}
    )
    if masks is None or content is None:
        style = {
            term: jax.tree.map(lambda leaf: leaf[None], f.target(f.blend(stacked[term], blend)))
            for term, f in families.items()
        }
        return Targets(known, style, None, jnp.ones(1), spec, windows, size)
    masks = jnp.asarray(masks)
    look = partial(_extract_features, layers=layers_of(spec.style_layers), spec=spec)
    shapes = {name: f.shape for name, f in jax.eval_shape(look, params, content).items()}
    # Departure from Gatys et al. (2017): a region counts by its area. Its Gram matrix
    # is an average, so with equal weights small regions would be painted harder.
    shares = len(styles) * blend * coverage(masks)
    style = {term: jax.vmap(f.target)(stacked[term]) for term, f in families.items()}
    return Targets(known, style, resize_masks(masks, shapes), shares, spec, windows, size)


def _content_targets(
    params: Params, content: Float[AnyArray, "h w 3"], spec: LossSpec
) -> dict[str, Array]:
    found = _extract_features(params, content, layers_of(spec.content_layers), spec)
    targets = {}
    for term in spec.content_layers:
        loss, layer = split_term(term)
        targets[term] = self_similarity(found[layer]) if loss == _SIMILARITY else found[layer]
    return targets


def _family(term: str, spec: LossSpec) -> StyleFamily:
    loss: Any = split_term(term)[0] or spec.style_loss
    return style_family(loss, spec.gram_norm)


def total_loss(
    params: Params, image: Float[AnyArray, "h w 3"], targets: Targets, weights: Weights
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Loss of one image, and its terms, which add up to it.

    α Σ_l w_l content_l + β Σ_l w_l style_l + γ tv; Gatys et al. (2016), eq. 7, with a
    total variation, and a matting Laplacian if asked for. `jax.vmap` makes a batch of it.

    Args:
      params: weights from `load_weights`.
      image: RGB in [0, 1].
      targets: from `make_targets`, for images of this size.
      weights: coefficients, from `StyleConfig.weights`; may be traced.

    Raises:
      ValueError: the image is not of the size of the targets.

    Returns:
      The loss and `{"content", "style/<term>", ..., "tv"}`, coefficients included, and
      `"laplacian"` where it has a weight.
    """
    spec, image = targets.spec, jnp.asarray(image)
    if targets.size not in (None, image.shape[:2]):
        raise ValueError(
            f"`image` is {image.shape[0]}x{image.shape[1]} (height x width), not the size its "
            "targets were made for; make others with a content of that size."
        )
    known = _of_layers(targets)

    def tap(layer: str, x: Array) -> tuple[Array, Any]:
        return deferred_grad(partial(_losses, spec), x, known[layer])

    found = _extract_features(params, image, tuple(known), spec, tap=tap)
    terms = {}
    if targets.content:
        terms["content"] = sum(
            weights.content[term] * found[split_term(term)[1]][0][term] for term in targets.content
        )
    for term in targets.style:
        losses = found[split_term(term)[1]][1][term]
        terms[f"style/{term}"] = weights.style[term] * jnp.sum(targets.shares * losses)
    terms["tv"] = weights.tv * total_variation(image, form=spec.tv_form)
    if targets.windows is not None:
        terms["laplacian"] = weights.laplacian * laplacian_loss(image, targets.windows)
    return sum(terms.values(), start=jnp.zeros(())), terms


class LayerTargets(NamedTuple):
    """What is known of one layer: targets of its terms, and its masks."""

    content: dict[str, Any]
    style: dict[str, Any]
    masks: Any


def _of_layers(targets: Targets) -> dict[str, LayerTargets]:
    def of(known: dict[str, Any], layer: str) -> dict[str, Any]:
        return {term: target for term, target in known.items() if split_term(term)[1] == layer}

    return {
        layer: LayerTargets(
            of(targets.content, layer),
            of(targets.style, layer),
            None if targets.masks is None else targets.masks.get(layer),
        )
        for layer in layers_of((*targets.content, *targets.style))
    }


def _losses(
    spec: LossSpec, features: Array, known: LayerTargets
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Losses of one layer's terms: content; style, of every region."""
    content = {term: _content_loss(features, term, t, spec) for term, t in known.content.items()}
    axes = 0, None if known.masks is None else 0
    style = {
        term: jax.vmap(partial(_family(term, spec).loss, features), in_axes=axes)(t, known.masks)
        for term, t in known.style.items()
    }
    return content, style


def _content_loss(features: Array, term: str, target: Array, spec: LossSpec) -> Float[Array, ""]:
    if split_term(term)[0] == _SIMILARITY:
        return self_similarity_loss(features, target)
    return content_loss(features, target, norm=spec.content_norm)


def _extract_features(
    params: Params, image: AnyArray, layers: Sequence[str], spec: LossSpec, **tap: Tap
) -> dict[str, Any]:
    return features(
        params, image, layers, pooling=spec.pooling, padding=spec.padding, dtype=spec.dtype, **tap
    )


def resize_masks(
    masks: Float[Array, "styles h w"], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, Float[Array, "styles h_l w_l"]]:
    """Masks at the size of each layer, by antialiased linear interpolation.

    Args:
      masks: weight of each style at each pixel, at least 0.
      shapes: shape `(..., h_l, w_l, c_l)` of each layer's feature map.
    """
    count = masks.shape[0]
    return {
        layer: jax.image.resize(masks, (count, *shape[-3:-1]), "linear")
        for layer, shape in shapes.items()
    }


def coverage(masks: Float[Array, "styles h w"]) -> Float[Array, " styles"]:
    """Part of the picture that each mask covers, 0 to 1."""
    return masks.mean(axis=(-2, -1))
