"""The 3x3 convolution by Winograd's F(4x4, 3x3), which needs a quarter of the multiplications.

Lavin and Gray (2015), "Fast Algorithms for Convolutional Neural Networks", sections 4 and 5. A tile
of 4x4 outputs depends on 6x6 inputs d: Y = Aᵀ [(G g Gᵀ) ∘ (Bᵀ d B)] A for a kernel g. Over all
tiles and channels, the elementwise products ∘ become 36 matrix products.

Bᵀ d B is written as sums along each axis, which XLA fuses with the extraction of the tiles. The
two-sided products with G and A are products with Kronecker squares, for all tiles at once.
"""

from collections.abc import Sequence
from functools import partial, reduce

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxstyle.ops.linalg import matmul

_TILE = 4
# Up to this many tiles, the kernel is faster as the left factor of the transposed product.
_FEW_TILES = 64
_BT = np.array(
    [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ]
)
_G = np.array([[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24
_AT = np.array([[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]])


def transform(kernel: Float[Array, "3 3 c d"]) -> Float[Array, "36 c d"]:
    """Transform a kernel for `convolve`: G g Gᵀ, four times as large as the kernel.

    Args:
      kernel: weights, HWIO.

    Returns:
      The transformed kernel, with one matrix `[c, d]` per position of a 6x6 tile.
    """
    g = _kron_square(_G, kernel).reshape(36, 3, 3)
    return jnp.einsum("kab,abcd->kcd", g, kernel, precision="highest")


@jax.jit
def convolve(
    x: Float[Array, "n h_in w_in c"], u: Float[Array, "36 c d"]
) -> Float[Array, "n h_out w_out d"]:
    """Cross-correlate maps with a transformed kernel, without padding.

    Args:
      x: feature maps.
      u: kernel from `transform`.

    Returns:
      Maps that are two pixels smaller in height and width.

    Example:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> from jaxstyle.ops import winograd
      >>> x, kernel = jnp.arange(48.0).reshape(1, 6, 8, 1), jnp.ones((3, 3, 1, 1))
      >>> y = winograd.convolve(x, winograd.transform(kernel))
      >>> y.shape
      (1, 4, 6, 1)
      >>> layout = ("NHWC", "HWIO", "NHWC")
      >>> expected = jax.lax.conv_general_dilated(
      ...     x, kernel, (1, 1), "VALID", dimension_numbers=layout
      ... )
      >>> bool(jnp.allclose(y, expected, rtol=1e-5))
      True
    """
    n, height, width, c = x.shape
    height, width = height - 2, width - 2
    # The last tile needs two lines beyond its outputs. `_input_transform` takes whole tiles, so
    # these two become four.
    widths = [(0, 2 + -size % _TILE) for size in (height, width)]
    x = jnp.pad(x, ((0, 0), *widths, (0, 0)))
    v = jax.vmap(partial(_input_transform, axis=2))(_input_transform(x, axis=1))
    m = matmul(v.reshape(36, -1, c), u)
    y = matmul(_kron_square(_AT, x), m.reshape(36, -1))
    return _merge_tiles(y, (n, height, width, u.shape[-1]))


@jax.jit
def convolve_transposed(
    y: Float[Array, "n h w d"], u: Float[Array, "36 c d"]
) -> Float[Array, "n h+2 w+2 c"]:
    """Apply the transpose of `convolve`, which gives the gradient of the maps.

    Written by hand: JAX's transposes of the products need extra axis permutations under `vmap`.

    Args:
      y: cotangent of the output of `convolve`.
      u: kernel from `transform`.

    Returns:
      Cotangent of the input of `convolve`.
    """
    n, height, width, d = y.shape
    rows, columns = -(-height // _TILE), -(-width // _TILE)
    tiles = n * rows * columns
    split_tiles = jax.linear_transpose(
        lambda tiled: _merge_tiles(tiled, y.shape), jax.ShapeDtypeStruct((16, tiles * d), y.dtype)
    )
    m = matmul(_kron_square(_AT, y).T, *split_tiles(y)).reshape(36, tiles, d)
    if tiles <= _FEW_TILES:
        # Reading the kernel dominates, and the left factor is read in memory order. Without the
        # barriers XLA would swap the factors.
        m = jax.lax.optimization_barrier(m.swapaxes(1, 2))
        v = jax.lax.optimization_barrier(matmul(u, m)).swapaxes(1, 2)
    else:
        v = matmul(m, u.swapaxes(1, 2))
    v = v.reshape(6, 6, n, rows, columns, -1)
    v = jax.vmap(partial(_input_transform_transposed, axis=2))(v)
    x = _input_transform_transposed(v, axis=1)
    return x[:, : height + 2, : width + 2]


def _input_transform(x: Array, axis: int) -> Array:
    """Compute Bᵀ d for every tile along an axis of size 4 (t + 1), as `[6, ..., t, ...]`.

    d is a tile's four lines and the first two of the next tile.
    """
    x = x.reshape(*x.shape[:axis], -1, _TILE, *x.shape[axis + 1 :])
    tile = jax.lax.slice_in_dim(x, 0, -1, axis=axis)
    next_tile = jax.lax.slice_in_dim(x, 1, None, axis=axis)
    line = partial(jax.lax.index_in_dim, axis=axis + 1, keepdims=False)
    lines = [line(tile, i) for i in range(_TILE)] + [line(next_tile, i) for i in (0, 1)]
    return jnp.stack(_linear_combinations(_BT, lines))


def _input_transform_transposed(v: Array, axis: int) -> Array:
    """Apply the transpose of `_input_transform`: B v along an axis, overlapping tiles added."""
    lines = _linear_combinations(_BT.T, list(v))

    def place(lines: Sequence[Array], first_tile: int) -> Array:
        x = jnp.stack(lines, axis + 1)
        widths = [(0, 0)] * x.ndim
        widths[axis : axis + 2] = [(first_tile, 1 - first_tile), (0, _TILE - len(lines))]
        return jnp.pad(x, widths)

    x = place(lines[:_TILE], 0) + place(lines[_TILE:], 1)
    return x.reshape(*x.shape[:axis], -1, *x.shape[axis + 2 :])


def _merge_tiles(tiled: Array, shape: tuple[int, ...]) -> Array:
    """Assemble maps of the given shape from tiles of 4x4 outputs, `[16, tiles * d]`."""
    n, height, width, d = shape
    rows, columns = -(-height // _TILE), -(-width // _TILE)
    y = tiled.reshape(_TILE, _TILE, n, rows, columns, d).transpose(2, 3, 0, 4, 1, 5)
    return y.reshape(n, _TILE * rows, _TILE * columns, d)[:, :height, :width]


def _linear_combinations(matrix: np.ndarray, arrays: Sequence[Array]) -> list[Array]:
    """Multiply a small matrix by a column of arrays, as sums that XLA fuses into one loop."""
    terms = ([float(w) * x for w, x in zip(row, arrays, strict=True) if w] for row in matrix)
    return [reduce(jnp.add, row) for row in terms]


def _kron_square(matrix: np.ndarray, like: Array) -> Array:
    """Return the Kronecker product of a matrix with itself, in the dtype of `like`."""
    return jnp.asarray(np.kron(matrix, matrix), like.dtype)
