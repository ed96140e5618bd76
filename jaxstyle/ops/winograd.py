"""The 3x3 convolution by Winograd's F(4x4, 3x3), with a quarter of the multiplications.

Lavin and Gray (2015), "Fast Algorithms for Convolutional Neural Networks", sections 4 and 5. A tile
of 4x4 outputs sees 6x6 inputs d: Y = Aᵀ [(G g Gᵀ) ∘ (Bᵀ d B)] A for a kernel g. The products ∘
of all tiles, summed over channels, are 36 matrix products. Bᵀ d B is written as sums along each
axis, which XLA fuses with the taking apart of the tiles; G's and A's two-sided products are
products with Kronecker squares, of all tiles at once.
"""

from collections.abc import Sequence
from functools import partial, reduce

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

_TILE = 4
# Tiles up to which a product with a transposed kernel is the faster way round: with 512 channels
# 2.4 ms for 4.3 with 16 tiles, 6.4 for 7.5 with 64, and no faster from 256 on.
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
    """G g Gᵀ of a kernel: what `convolve` multiplies with. Four times as large."""
    g = _square(_G, kernel).reshape(36, 3, 3)
    return jnp.einsum("kab,abcd->kcd", g, kernel, precision="highest")


@jax.jit
def convolve(
    x: Float[Array, "n h_in w_in c"], u: Float[Array, "36 c d"]
) -> Float[Array, "n h_out w_out d"]:
    """Cross-correlation of maps with a kernel from `transform`, wherever they cover it."""
    n, height, width, c = x.shape
    height, width = height - 2, width - 2
    # The last tile sees two lines more than it covers; four make a tile of the axis.
    ends = [(0, 2 + -size % _TILE) for size in (height, width)]
    x = jnp.pad(x, ((0, 0), *ends, (0, 0)))
    v = jax.vmap(partial(_to_tiles, axis=2))(_to_tiles(x, axis=1))
    m = _matmul(v.reshape(36, -1, c), u)
    y = _matmul(_square(_AT, x), m.reshape(36, -1))
    return _joined(y, (n, height, width, u.shape[-1]))


@jax.jit
def convolve_transposed(
    y: Float[Array, "n h w d"], u: Float[Array, "36 c d"]
) -> Float[Array, "n h+2 w+2 c"]:
    """The transpose of `convolve`, step by step: with it comes the gradient of the maps.

    Written out: products that JAX transposes have their axes the other way round, and to turn
    them took a tenth of a step under `vmap`.
    """
    n, height, width, d = y.shape
    down, across = -(-height // _TILE), -(-width // _TILE)
    tiles = n * down * across
    split = jax.linear_transpose(
        lambda tiled: _joined(tiled, y.shape), jax.ShapeDtypeStruct((16, tiles * d), y.dtype)
    )
    m = _matmul(_square(_AT, y).T, *split(y)).reshape(36, tiles, d)
    if tiles <= _FEW_TILES:
        # Then reading the kernel is most of the work, and as the left factor it is read in
        # order. But for the barriers XLA would swap the factors.
        m = jax.lax.optimization_barrier(m.swapaxes(1, 2))
        v = jax.lax.optimization_barrier(_matmul(u, m)).swapaxes(1, 2)
    else:
        v = _matmul(m, u.swapaxes(1, 2))
    v = v.reshape(6, 6, n, down, across, -1)
    x = _from_tiles(jax.vmap(partial(_from_tiles, axis=2))(v), axis=1)
    return x[:, : height + 2, : width + 2]


def _to_tiles(x: Array, axis: int) -> Array:
    """Bᵀ d along an axis of 4 (t + 1) lines, `[6, ..., t, ...]`; d is four lines and two more."""
    x = x.reshape(*x.shape[:axis], -1, _TILE, *x.shape[axis + 1 :])
    own = jax.lax.slice_in_dim(x, 0, -1, axis=axis)
    near = jax.lax.slice_in_dim(x, 1, None, axis=axis)
    line = partial(jax.lax.index_in_dim, axis=axis + 1, keepdims=False)
    lines = [line(own, i) for i in range(_TILE)] + [line(near, i) for i in (0, 1)]
    return jnp.stack(_sums(_BT, lines))


def _from_tiles(v: Array, axis: int) -> Array:
    """The transpose of `_to_tiles`: B v along an axis, tiles added where they overlap."""
    lines = _sums(_BT.T, list(v))

    def laid(lines: Sequence[Array], first: int) -> Array:
        x = jnp.stack(lines, axis + 1)
        ends = [(0, 0)] * x.ndim
        ends[axis : axis + 2] = [(first, 1 - first), (0, _TILE - len(lines))]
        return jnp.pad(x, ends)

    x = laid(lines[:_TILE], 0) + laid(lines[_TILE:], 1)
    return x.reshape(*x.shape[:axis], -1, *x.shape[axis + 2 :])


def _joined(tiled: Array, shape: tuple[int, ...]) -> Array:
    """Maps of the given shape from their tiles of 4x4 outputs, `[16, tiles * d]`."""
    n, height, width, d = shape
    down, across = -(-height // _TILE), -(-width // _TILE)
    y = tiled.reshape(_TILE, _TILE, n, down, across, d).transpose(2, 3, 0, 4, 1, 5)
    return y.reshape(n, _TILE * down, _TILE * across, d)[:, :height, :width]


def _sums(matrix: np.ndarray, parts: Sequence[Array]) -> list[Array]:
    """Product of a small matrix with a column of arrays, as sums that XLA fuses into one loop."""
    terms = ([float(w) * x for w, x in zip(row, parts, strict=True) if w] for row in matrix)
    return [reduce(jnp.add, row) for row in terms]


def _square(matrix: np.ndarray, like: Array) -> Array:
    return jnp.asarray(np.kron(matrix, matrix), like.dtype)


def _matmul(a: Array, b: Array) -> Array:
    return jnp.matmul(a, b, precision="highest")
