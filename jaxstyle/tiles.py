"""Sums over the tiles of an image, in the memory of one tile.

Each tile is seen through a window that is larger by what the network looks at beyond it. Windows
at the frame end there, so that borders are padded as without tiles; all windows have one shape.
Positions of a window outside of its tile have the weight 0.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxstyle.options import TILE_UNIT, halo_of


class Axis(NamedTuple):
    """Tiles and windows along one axis, in pixels.

    Attributes:
      window: length of each window.
      starts: first pixel of each window.
      edges: first pixel of each tile, and the length of the axis.
    """

    window: int
    starts: tuple[int, ...]
    edges: tuple[int, ...]


class Tile(NamedTuple):
    """Place of a tile and of its window, each as row and column in pixels; may be traced.

    Attributes:
      start: first pixel of the window.
      begin: first pixel of the tile.
      end: pixel after the last of the tile.
    """

    start: Any
    begin: Any
    end: Any


def split_axis(length: int, tile: int, halo: int) -> Axis:
    """Split an axis into tiles of about equal length.

    Args:
      length: length of the axis in pixels.
      tile: largest length of a tile, a multiple of 16; 0 for a single one.
      halo: number of pixels that a window sees beyond its tile.

    Example:
      >>> from jaxstyle.tiles import split_axis
      >>> split_axis(100, 32, 16)
      Axis(window=68, starts=(0, 16, 32, 32), edges=(0, 32, 64, 96, 100))
    """
    halo = -(-halo // TILE_UNIT) * TILE_UNIT
    count = -(-length // tile) if tile else 1
    tile = -(-length // (count * TILE_UNIT)) * TILE_UNIT
    # All windows are as long as the last, which ends with the axis.
    window = tile + 2 * halo + length % TILE_UNIT
    if count == 1 or window >= length:
        return Axis(length, (0,), (0, length))
    begins = range(0, length, tile)
    starts = tuple(min(max(begin - halo, 0), length - window) for begin in begins)
    return Axis(window, starts, (*begins, length))


def stride_of(layer: str) -> int:
    """Return the number of pixels between two positions of a layer.

    Example:
      >>> from jaxstyle.tiles import stride_of
      >>> stride_of("relu1_2"), stride_of("pool1"), stride_of("relu5_1")
      (1, 2, 16)
    """
    block = int(layer[4])
    return 2 ** (block if layer.startswith("pool") else block - 1)


def tile_weights(tile: Tile, layer: str, shape: tuple[int, ...], dtype: Any) -> Float[Array, "h w"]:
    """Return 1 at the positions of a window that belong to its tile, else 0.

    Args:
      tile: place of the tile.
      layer: name of a layer.
      shape: height and width of the layer's map of the window.
      dtype: dtype of the result.
    """
    stride = stride_of(layer)
    inside = []
    for axis in (0, 1):
        position = tile.start[axis] // stride + jnp.arange(shape[axis], dtype=jnp.int32)
        is_after = position >= tile.begin[axis] // stride
        inside.append(is_after & (position < tile.end[axis] // stride))
    return (inside[0][:, None] & inside[1]).astype(dtype)


def window_of(x: Array, tile: Tile, layer: str, shape: tuple[int, ...]) -> Array:
    """Return the part of a layer's map that a window sees.

    Args:
      x: array of the whole image `[..., h, w, c]`.
      tile: place of the tile.
      layer: name of the layer.
      shape: height and width of the layer's map of the window.
    """
    stride = stride_of(layer)
    for axis in (0, 1):
        start = tile.start[axis] // stride
        x = jax.lax.dynamic_slice_in_dim(x, start, shape[axis], axis=x.ndim - 3 + axis)
    return x


def sum_over_tiles(
    function: Callable[[Array, Tile], tuple[Any, Mapping[str, Array]]],
    image: Float[Array, "h w 3"],
    tile: int,
    layers: Collection[str],
) -> tuple[Any, dict[str, Array]]:
    """Sum a function of windows over all tiles; the gradient takes one tile at a time, too.

    Args:
      function: maps a window and its place to a pytree of sums, and to maps of the window by
        layer, which are 0 outside of the tile.
      image: the image.
      tile: largest side of a tile, a multiple of 16; 0 for a single tile.
      layers: layers that `function` computes.

    Returns:
      The sums, and the maps of the whole image.
    """
    halo = halo_of(layers)
    rows, columns = (split_axis(length, tile, halo) for length in image.shape[:2])
    shape = rows.window, columns.window

    def evaluate(image: Array, tile: Tile) -> tuple[Any, Mapping[str, Array]]:
        return function(window_of(image, tile, "relu1_1", shape), tile)

    tiles = _all_tiles(rows, columns)
    if len(tiles.start) == 1:
        sums, maps = function(image, jax.tree.map(lambda x: x[0], tiles))
        return sums, dict(maps)

    def add(carry: tuple[Any, dict[str, Array]], tile: Tile) -> tuple[Any, None]:
        sums, maps = carry
        # The gradient computes a tile again instead of keeping its maps.
        added, pieces = jax.checkpoint(evaluate, prevent_cse=False)(image, tile)
        sums = jax.tree.map(jnp.add, sums, added)
        return (
            sums,
            {name: _add_piece(maps[name], pieces[name], tile, name) for name in maps},
        ), None

    first = jax.tree.map(lambda x: x[0], tiles)
    sums, pieces = jax.eval_shape(evaluate, image, first)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), sums)
    maps = {
        name: jnp.zeros((*(n // stride_of(name) for n in image.shape[:2]), x.shape[-1]), x.dtype)
        for name, x in pieces.items()
    }
    return jax.lax.scan(add, (zeros, maps), tiles)[0]


def _all_tiles(rows: Axis, columns: Axis) -> Tile:
    def pairs(of_rows: tuple[int, ...], of_columns: tuple[int, ...]) -> np.ndarray:
        return np.array([(r, c) for r in of_rows for c in of_columns], np.int32)

    return Tile(
        pairs(rows.starts, columns.starts),
        pairs(rows.edges[:-1], columns.edges[:-1]),
        pairs(rows.edges[1:], columns.edges[1:]),
    )


def _add_piece(whole: Array, piece: Array, tile: Tile, layer: str) -> Array:
    at = *(tile.start[axis] // stride_of(layer) for axis in (0, 1)), jnp.zeros((), jnp.int32)
    seen = jax.lax.dynamic_slice(whole, at, piece.shape)
    return jax.lax.dynamic_update_slice(whole, seen + piece, at)
