"""The objective: compute targets once, then compare images with them.

To change the method, change `make_targets`, which computes the targets from the content and style
images, and `total_loss`, which compares an image with them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxstyle.config import StyleConfig, is_traced
from jaxstyle.losses import (
    color_windows,
    laplacian_loss,
    self_similarity,
    temporal_loss,
    total_variation,
)
from jaxstyle.losses.laplacian import banded_laplacian_loss
from jaxstyle.losses.variation import banded_variation
from jaxstyle.ops.deferred_grad import deferred_grad
from jaxstyle.ops.newton_schulz import root_traces
from jaxstyle.options import layers_of, split_term
from jaxstyle.spec import LossSpec, Weights
from jaxstyle.terms import SIMILARITY, LayerTargets, extract_features, family_of, layer_losses
from jaxstyle.tiled import tiled_losses, tiled_maps, tiled_statistics
from jaxstyle.types import AnyArray, Params, check_floating


class Previous(NamedTuple):
    """What the frames before one of a video show at its pixels, for the temporal loss.

    Attributes:
      image: their results, warped to this frame; RGB in [0, 1].
      weight: coefficient of the temporal loss at each pixel: its weight in the total loss times
        the reliability of the flow.
    """

    image: Float[AnyArray, "*batch h w 3"]
    weight: Float[AnyArray, "*batch h w"]


StyleStatistics = dict[str, Any]
"""Statistics of one style image, per style term."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Targets:
    """Targets of `total_loss`: a pytree of arrays, with static `spec` and `size`.

    Attributes:
      content: per content term, the features of the content image, `[..., h_l, w_l, c_l]`, or
        their self-similarity.
      style: per style term, the target of its loss, with a leading axis of regions: e.g. Gram
        matrices `[..., regions, c_l, c_l]`, or a `Gaussian` for the loss `wasserstein`. Without
        masks there is one region, whose target is blended from all style images. With masks
        there is one region per style image.
      masks: per style layer, the weight of each region at each position,
        `[..., regions, h_l, w_l]`; `None` without masks.
      shares: weight of each region's loss, `[..., regions]`.
      spec: layers and forms of the losses.
      windows: target of the matting Laplacian, or `None` if it is not used.
      size: height and width of the content image, or `None` if the loss does not use it.
      previous: target of the temporal loss, or `None` if it is not used.
    """

    # JAX also fills trees with placeholders, so the leaves have no fixed type.
    content: dict[str, Any]
    style: dict[str, Any]
    masks: dict[str, Any] | None
    shares: Any
    spec: LossSpec = field(metadata={"static": True})
    windows: Any = None
    size: tuple[int, ...] | None = field(default=None, metadata={"static": True})
    previous: Any = None


def make_targets(
    params: Params,
    content: Float[AnyArray, "h w 3"] | None,
    styles: Sequence[Float[AnyArray, "_h _w 3"]],
    config: StyleConfig,
    *,
    masks: Float[AnyArray, "styles mask_h mask_w"] | None = None,
    previous: Previous | None = None,
) -> Targets:
    """Compute the targets of `total_loss`.

    Args:
      params: weights from `load_weights`.
      content: content image, RGB in [0, 1], at the size of the result; `None` for no content
        loss.
      styles: style images, RGB in [0, 1]. Their size relative to the result determines the scale
        of the style. Their statistics are blended with the weights `config.blend`.
      config: layers, blend and network options.
      masks: one mask per style image: its weight at each pixel of the result, at least 0. Each
        style then applies only to its region.
      previous: what the frames before show, at the size of the result; for the temporal loss.

    Returns:
      Targets for images of the size of `content`.

    Raises:
      ValueError: If `config.blend` or `masks` do not match the styles, if `masks` are given
        without `content`, or if an image is too small for the layers.

    Example:
      >>> import jax
      >>> import jaxstyle
      >>> content, style = jax.random.uniform(jax.random.key(0), (2, 16, 24, 3))
      >>> config = jaxstyle.StyleConfig(
      ...     content_layers="relu1_1", style_layers="relu1_1", style_loss="gram"
      ... )
      >>> targets = jaxstyle.make_targets(jaxstyle.load_weights(), content, [style], config)
      >>> targets.content["relu1_1"].shape, targets.style["relu1_1"].shape
      ((16, 24, 64), (1, 64, 64))
    """
    blend = blend_weights(config, len(styles))
    check_masks(masks, len(styles))
    if masks is not None and content is None:
        raise ValueError("`masks` need a content image, but `content` is None; pass one.")
    if content is not None:
        _check_image("content", content)
    for style in styles:
        _check_image("styles", style)
    statistics = [compute_style_statistics(params, style, config.spec) for style in styles]
    targets = build_targets(params, content, statistics, blend, masks, config.spec)
    return replace(targets, previous=previous)


def blend_weights(config: StyleConfig, styles: int) -> Float[Array, " styles"]:
    """Return the weight of each style image; the weights sum to 1.

    Args:
      config: its field `blend` has the relative weights; empty for equal weights.
      styles: number of style images.

    Raises:
      ValueError: If `config.blend` is not empty and has another number of weights, or all are 0.

    Example:
      >>> import jaxstyle
      >>> from jaxstyle.objective import blend_weights
      >>> print(blend_weights(jaxstyle.StyleConfig(blend=(3, 1)), 2))
      [0.75 0.25]
    """
    blend = config.blend or (1.0,) * styles
    if len(blend) != styles:
        raise ValueError(
            f"`blend` has {len(blend)} weights for {styles} styles; give one weight per style."
        )
    total = sum(blend)
    if blend and not is_traced(total) and total == 0:
        raise ValueError("`blend` is 0 for every style; give at least one a weight above 0.")
    dtype = np.promote_types(config.spec.dtype, np.float32)
    return jnp.asarray(blend, dtype) / jnp.asarray(total if blend else 1, dtype)


def check_masks(masks: AnyArray | None, styles: int) -> None:
    """Raise an error unless `masks` is `None` or has one mask for each of `styles` styles."""
    check_floating(masks=masks)
    if masks is not None and masks.shape[0] != styles:
        raise ValueError(
            f"`masks` has {masks.shape[0]} masks for {styles} styles; give one mask per style."
        )


def resize_masks(
    masks: Float[Array, "styles h w"], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, Float[Array, "styles h_l w_l"]]:
    """Resize masks to the size of each layer, by antialiased linear interpolation.

    Args:
      masks: weight of each style at each pixel, at least 0.
      shapes: shape `(..., h_l, w_l, c_l)` of the feature map of each layer.
    """
    count = masks.shape[0]
    return {
        layer: jax.image.resize(masks, (count, *shape[-3:-1]), "linear")
        for layer, shape in shapes.items()
    }


def coverage(masks: Float[Array, "styles h w"]) -> Float[Array, " styles"]:
    """Compute the fraction of the image that each mask covers, from 0 to 1."""
    return masks.mean(axis=(-2, -1))


def compute_style_statistics(
    params: Params, style: Float[AnyArray, "_h _w 3"], spec: LossSpec
) -> StyleStatistics:
    """Compute the statistics of one style image, e.g. the moments of each style layer's features.

    Args:
      params: weights from `load_weights`.
      style: style image, RGB in [0, 1].
      spec: style terms and network options.
    """
    if spec.tile:
        return tiled_statistics(params, style, spec)
    maps = extract_features(params, style, layers_of(spec.style_layers), spec)
    return {
        term: family_of(term, spec).statistics(maps[split_term(term)[1]])
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
    """Build `Targets` from the statistics of each style image.

    All numbers are traced: a sweep over weights compiles once, and the statistics of a style
    image can be reused for many content images.

    Args:
      params: weights from `load_weights`.
      content: content image, RGB in [0, 1]; `None` for no content loss.
      styles: result of `compute_style_statistics` for each style image.
      blend: weights of the style images, which sum to 1.
      masks: one mask per style image, or `None`; see `make_targets`.
      spec: terms and network options.
    """
    content_targets = {} if content is None else _content_targets(params, content, spec)
    windows = (
        color_windows(jnp.asarray(content)) if spec.laplacian and content is not None else None
    )
    size = None
    if content is not None and (content_targets or spec.laplacian):
        size = content.shape[:2]
    families = {term: family_of(term, spec) for term in spec.style_layers} if styles else {}
    stacked: StyleStatistics = (
        jax.tree.map(lambda *leaves: jnp.stack(leaves), *styles) if styles else {}
    )
    if masks is None or content is None:
        style = {
            term: jax.tree.map(lambda leaf: leaf[None], f.target(f.blend(stacked[term], blend)))
            for term, f in families.items()
        }
        return Targets(content_targets, style, None, jnp.ones(1), spec, windows, size)
    masks = jnp.asarray(masks)
    extract = partial(extract_features, layers=layers_of(spec.style_layers), spec=spec)
    shapes = {name: f.shape for name, f in jax.eval_shape(extract, params, content).items()}
    # Departure from Gatys et al. (2017): a region's loss is multiplied by its area. Statistics are
    # averages, so equal weights would stylize small regions more strongly.
    shares = len(styles) * blend.astype(masks.dtype) * coverage(masks)
    style = {term: jax.vmap(f.target)(stacked[term]) for term, f in families.items()}
    layer_masks = resize_masks(masks, shapes)
    return Targets(content_targets, style, layer_masks, shares, spec, windows, size)


def _content_targets(
    params: Params, content: Float[AnyArray, "h w 3"], spec: LossSpec
) -> dict[str, Array]:
    layers = layers_of(spec.content_layers)
    extract = tiled_maps if spec.tile else extract_features
    maps = extract(params, content, layers, spec)
    targets = {}
    for term in spec.content_layers:
        loss, layer = split_term(term)
        targets[term] = self_similarity(maps[layer]) if loss == SIMILARITY else maps[layer]
    return targets


def total_loss(
    params: Params, image: Float[AnyArray, "h w 3"], targets: Targets, weights: Weights
) -> tuple[Float[Array, ""], dict[str, Float[Array, ""]]]:
    """Compute the loss of one image, and its terms.

    α Σ_l w_l content_l + β Σ_l w_l style_l + γ tv. Gatys et al. (2016), eq. 7, plus a total
    variation and, if they are used, a matting Laplacian and a temporal loss. Use `jax.vmap` for
    a batch of images.

    Args:
      params: weights from `load_weights`.
      image: RGB in [0, 1].
      targets: result of `make_targets`, for images of this size.
      weights: coefficients, from `StyleConfig.weights`; may be traced.

    Returns:
      The loss, and its terms `{"content", "style/<term>", ..., "tv"}`, including their
      coefficients, with `"laplacian"` if it has a weight and `"temporal"` if `targets` has
      previous frames. The loss is the sum of the terms.

    Raises:
      ValueError: If the image is a batch, or does not have the size of the targets.

    Example:
      At the content image itself, the content term is 0:

      >>> import jax
      >>> import jaxstyle
      >>> params = jaxstyle.load_weights()
      >>> content, style = jax.random.uniform(jax.random.key(0), (2, 16, 24, 3))
      >>> config = jaxstyle.StyleConfig(content_layers="relu1_1", style_layers="relu1_1")
      >>> targets = jaxstyle.make_targets(params, content, [style], config)
      >>> loss, terms = jaxstyle.total_loss(params, content, targets, config.weights)
      >>> list(terms), float(terms["content"])
      (['content', 'style/relu1_1', 'tv'], 0.0)
    """
    spec, image = targets.spec, jnp.asarray(image)
    _check_image("image", image)
    if targets.size is not None and targets.size != image.shape[:2]:
        height, width = targets.size
        raise ValueError(
            f"`image` is {image.shape[0]}x{image.shape[1]} (height x width), but `targets` were "
            f"made for {height}x{width}; resize the image, or make targets from a content image "
            "of its size."
        )
    layer_targets = _group_by_layer(targets)

    compute = tiled_losses if spec.tile else _untiled_losses
    losses = compute(params, image, layer_targets, spec)
    style_losses = _subtract_roots(
        {term: losses[split_term(term)[1]][1][term] for term in targets.style}
    )
    dtype = loss_dtype(image.dtype, spec)

    def weigh(weight: Any, loss: Array) -> Array:
        return jnp.asarray(weight, dtype) * loss.astype(dtype)

    terms = {}
    if targets.content:
        content_terms = [
            weigh(weights.content[term], losses[split_term(term)[1]][0][term])
            for term in targets.content
        ]
        terms["content"] = sum(content_terms[1:], start=content_terms[0])
    for term, loss in style_losses.items():
        region_losses = weigh(targets.shares, loss)
        terms[f"style/{term}"] = weigh(weights.style[term], region_losses.sum())
    variation = banded_variation if spec.tile else total_variation
    terms["tv"] = weigh(weights.tv, variation(image, form=spec.tv_form))
    if targets.windows is not None:
        residual = banded_laplacian_loss if spec.tile else laplacian_loss
        terms["laplacian"] = weigh(weights.laplacian, residual(image, targets.windows))
    if targets.previous is not None:
        terms["temporal"] = temporal_loss(image, *targets.previous).astype(dtype)
    return sum(terms.values(), start=jnp.zeros((), dtype)), terms


def loss_dtype(image_dtype: Any, spec: LossSpec) -> np.dtype:
    """Return the dtype of the loss and its terms: float32, or float64 if anything is.

    Args:
      image_dtype: dtype of the optimized image.
      spec: options of the loss.

    Example:
      >>> import jaxstyle
      >>> from jaxstyle.objective import loss_dtype
      >>> loss_dtype("float32", jaxstyle.StyleConfig(dtype="bfloat16").spec)
      dtype('float32')
    """
    return np.promote_types(np.promote_types(image_dtype, np.float32), spec.dtype)


def _check_image(name: str, image: AnyArray) -> None:
    check_floating(**{name: image})
    if image.ndim != 3:
        raise ValueError(
            f"`{name}` has shape {image.shape}; it must be [h, w, 3]. Use `jax.vmap` for a batch "
            "of images."
        )


def _group_by_layer(targets: Targets) -> dict[str, LayerTargets]:
    def select(terms: dict[str, Any], layer: str) -> dict[str, Any]:
        return {term: target for term, target in terms.items() if split_term(term)[1] == layer}

    return {
        layer: LayerTargets(
            select(targets.content, layer),
            select(targets.style, layer),
            None if targets.masks is None else targets.masks.get(layer),
        )
        for layer in layers_of((*targets.content, *targets.style))
    }


def _untiled_losses(
    params: Params, image: Array, layer_targets: dict[str, LayerTargets], spec: LossSpec
) -> dict[str, Any]:
    def tap(layer: str, x: Array) -> tuple[Array, Any]:
        return deferred_grad(partial(layer_losses, spec), x, layer_targets[layer])

    return extract_features(params, image, tuple(layer_targets), spec, tap=tap)


def _subtract_roots(losses: dict[str, Any]) -> dict[str, Array]:
    """Put together the losses that are in parts: number - tr M^½ for each region."""
    parts = {term: loss for term, loss in losses.items() if isinstance(loss, tuple)}
    traces = root_traces([matrix for _, matrix in parts.values()])
    finished = {
        term: rest - trace for (term, (rest, _)), trace in zip(parts.items(), traces, strict=True)
    }
    return {term: finished.get(term, loss) for term, loss in losses.items()}
