"""The objective of images that are seen in tiles.

A first pass over the tiles sums what the losses of all layers need; a second pass, by
backpropagation, computes each tile again and adds the gradients of its pixels. Losses that are no
functions of sums keep the maps of their layers. Galerne et al. (2024), "Scaling Painting Style
Transfer".
"""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxstyle.losses import style_sums
from jaxstyle.losses.families import Sums
from jaxstyle.ops.deferred_grad import deferred_grad
from jaxstyle.options import layers_of, split_term
from jaxstyle.spec import LossSpec
from jaxstyle.terms import SIMILARITY, LayerTargets, extract_features, family_of, layer_losses
from jaxstyle.tiles import Tile, sum_over_tiles, tile_weights, window_of
from jaxstyle.types import AnyArray, Params


def tiled_losses(
    params: Params,
    image: Float[AnyArray, "h w 3"],
    targets: Mapping[str, LayerTargets],
    spec: LossSpec,
) -> dict[str, tuple[dict[str, Array], dict[str, Any]]]:
    """Compute the losses of each layer's terms, as `terms.layer_losses` does for whole maps.

    Args:
      params: weights from `load_weights`.
      image: RGB in [0, 1].
      targets: targets of each layer.
      spec: terms and network options; `spec.tile` is the largest side of a tile.
    """
    summed = {layer: _split(layer_targets, spec)[0] for layer, layer_targets in targets.items()}
    whole = {layer: _split(layer_targets, spec)[1] for layer, layer_targets in targets.items()}
    kept = [layer for layer, (content, style, _) in whole.items() if content or style]

    def see(window: Array, tile: Tile) -> tuple[dict[str, Any], dict[str, Array]]:
        def tap(layer: str, x: Array) -> tuple[Array, Any]:
            shape = x.shape[-3:-1]
            weights = tile_weights(tile, layer, shape, np.promote_types(x.dtype, np.float32))
            content, style, masks = summed[layer]
            content = {term: window_of(c, tile, layer, shape) for term, c in content.items()}
            if masks is not None:
                masks = weights * window_of(masks[..., None], tile, layer, shape)[..., 0]
            seen = LayerTargets(content, style, masks)
            keep = layer in kept
            return deferred_grad(partial(_add_layer, spec, keep), x, (seen, weights))

        layers = tuple(targets)
        added = extract_features(params, window, layers, spec, tap=tap)
        pieces = {layer: added[layer][2] for layer in kept}
        return {layer: added[layer][:2] for layer in layers}, pieces

    sums, maps = sum_over_tiles(see, jnp.asarray(image), spec.tile, tuple(targets))
    losses = {}
    for layer, (content, style) in sums.items():
        finished = {
            term: total
            if spec.content_norm == "gatys"
            else total / summed[layer].content[term].size
            for term, total in content.items()
        }
        of_sums = {
            term: jax.vmap(_sums_of(term, spec).loss)(total, summed[layer].style[term])
            for term, total in style.items()
        }
        rest: tuple[dict[str, Any], dict[str, Any]] = {}, {}
        if layer in maps:
            rest = layer_losses(spec, maps[layer], whole[layer])
        losses[layer] = finished | rest[0], of_sums | rest[1]
    return losses


def tiled_statistics(
    params: Params, style: Float[AnyArray, "_h _w 3"], spec: LossSpec
) -> dict[str, Any]:
    """Compute the statistics of a style image for each style term.

    Args:
      params: weights from `load_weights`.
      style: style image, RGB in [0, 1].
      spec: terms and network options; `spec.tile` is the largest side of a tile.
    """
    layers = layers_of(spec.style_layers)
    by_sums = [term for term in spec.style_layers if _has_sums(term, spec)]
    others = [term for term in spec.style_layers if term not in by_sums]

    def see(window: Array, tile: Tile) -> tuple[dict[str, Any], dict[str, Array]]:
        maps = extract_features(params, window, layers, spec)
        weights = _weights(maps, tile)
        sums = {}
        for term in by_sums:
            layer = split_term(term)[1]
            sums[term] = _sums_of(term, spec).add(maps[layer], None, weights[layer])
        return sums, {layer: _inside(maps[layer], weights[layer]) for layer in layers_of(others)}

    sums, maps = sum_over_tiles(see, jnp.asarray(style), spec.tile, layers)
    statistics = {term: _sums_of(term, spec).statistics(total) for term, total in sums.items()}
    for term in others:
        statistics[term] = family_of(term, spec).statistics(maps[split_term(term)[1]])
    return statistics


def tiled_maps(
    params: Params, image: Float[AnyArray, "h w 3"], layers: Sequence[str], spec: LossSpec
) -> dict[str, Array]:
    """Compute the whole feature maps of an image.

    Args:
      params: weights from `load_weights`.
      image: RGB in [0, 1].
      layers: names of layers.
      spec: network options; `spec.tile` is the largest side of a tile.
    """
    if not layers:
        return {}

    def see(window: Array, tile: Tile) -> tuple[dict[str, Any], dict[str, Array]]:
        maps = extract_features(params, window, layers, spec)
        weights = _weights(maps, tile)
        return {}, {layer: _inside(maps[layer], weights[layer]) for layer in layers}

    return sum_over_tiles(see, jnp.asarray(image), spec.tile, layers)[1]


def _split(targets: LayerTargets, spec: LossSpec) -> tuple[LayerTargets, LayerTargets]:
    """Split targets into those of terms that are functions of sums, and of the others."""

    def select(of_sums: bool) -> LayerTargets:
        content = {
            term: target
            for term, target in targets.content.items()
            if of_sums == (split_term(term)[0] != SIMILARITY)
        }
        style = {
            term: target
            for term, target in targets.style.items()
            if of_sums == _has_sums(term, spec)
        }
        return LayerTargets(content, style, targets.masks)

    return select(True), select(False)


def _loss_of(term: str, spec: LossSpec) -> str:
    return split_term(term)[0] or spec.style_loss


def _has_sums(term: str, spec: LossSpec) -> bool:
    return style_sums(_loss_of(term, spec)) is not None


def _sums_of(term: str, spec: LossSpec) -> Sums:
    sums = style_sums(_loss_of(term, spec), spec.gram_norm)
    assert sums is not None
    return sums


def _add_layer(
    spec: LossSpec, keep: bool, features: Array, targets: tuple[LayerTargets, Array]
) -> tuple[dict[str, Array], dict[str, Any], Array | None]:
    """Sum over a layer's map of a window, and return what is in the tile if it is to be kept."""
    (content, style, masks), weights = targets
    squares = {
        term: _sum_squares(features, target, weights, spec) for term, target in content.items()
    }
    regions = weights[None] if masks is None else masks
    sums = {
        term: jax.vmap(partial(_sums_of(term, spec).add, features))(target, regions)
        for term, target in style.items()
    }
    return squares, sums, _inside(features, weights) if keep else None


def _sum_squares(features: Array, target: Array, weights: Array, spec: LossSpec) -> Array:
    difference = features.astype(weights.dtype) - target.astype(weights.dtype)
    total = (weights[..., None] * jnp.square(difference)).sum()
    return 0.5 * total if spec.content_norm == "gatys" else total


def _weights(maps: Mapping[str, Array], tile: Tile) -> dict[str, Array]:
    return {
        layer: tile_weights(tile, layer, x.shape[:2], np.promote_types(x.dtype, np.float32))
        for layer, x in maps.items()
    }


def _inside(features: Array, weights: Array) -> Array:
    return jnp.where(weights[..., None] > 0, features, 0)
