"""The 3x3 convolution by Winograd's F(4x4, 3x3), with a quarter of the multiplications.

Lavin and Gray (2015), "Fast Algorithms for Convolutional Neural Networks", sections 4 and 5. A tile
of 4x4 outputs sees 6x6 inputs d: Y = Aᵀ [(G g Gᵀ) ∘ (Bᵀ d B)] A for a kernel g. The
two-sided products are products with Kronecker squares, of all tiles at once, and the products
∘ of all tiles, summed over channels, are 36 matrix products.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

_TILE = 4
# Tiles up to which a product with a transposed kernel is the faster way round: with 512 channels
# 2.4 ms for 4.3 with 16 tiles, 6.4 for 7.5 with 64, and slower from 256 on.
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


def convolve(
    x: Float[Array, "n h w c"], u: Float[Array, "36 c d"], padding: str = "constant"
) -> Float[Array, "n h w d"]:
    """Cross-correlation of maps with a transformed kernel.

    Args:
      x: the maps.
      u: the kernel, from `transform`.
      padding: what is around the maps, by its name in `jnp.pad`: zeros for `constant`.
    """
    v = _matmul(_square(_BT, x), _split(x, padding))
    m = _matmul(v.reshape(36, -1, x.shape[-1]), u)
    y = _matmul(_square(_AT, x), m.reshape(36, -1))
    return _joined(y, (*x.shape[:-1], u.shape[-1]))


def convolve_transposed(
    y: Float[Array, "n h w d"], u: Float[Array, "36 c d"], padding: str = "constant"
) -> Float[Array, "n h w c"]:
    """The transpose of `convolve`, step by step: with it comes the gradient of the maps.

    The products are written out: those that JAX transposes have their axes the other way
    round, and turning them took a tenth of a step of the descent.
    """
    n, height, width, d = y.shape
    tiles = n * -(-height // _TILE) * -(-width // _TILE)
    split = jax.linear_transpose(
        lambda tiled: _joined(tiled, y.shape), jax.ShapeDtypeStruct((16, tiles * d), y.dtype)
    )
    m = _matmul(_square(_AT, y).T, *split(y)).reshape(36, tiles, d)
    if tiles <= _FEW_TILES:
        # For few tiles reading the kernel is all, and it is read once if it is the left factor:
        # XLA would swap the factors but for the barriers.
        m = jax.lax.optimization_barrier(m.swapaxes(1, 2))
        v = jax.lax.optimization_barrier(_matmul(u, m)).swapaxes(1, 2)
    else:
        v = _matmul(m, u.swapaxes(1, 2))
    joined = jax.linear_transpose(
        lambda x: _split(x, padding), jax.ShapeDtypeStruct((*y.shape[:-1], u.shape[1]), y.dtype)
    )
    (x,) = joined(_matmul(_square(_BT, y).T, v.reshape(36, -1)))
    return x


def _split(x: Array, padding: str) -> Array:
    """Overlapping tiles of 6x6 inputs, `[36, tiles * c]`."""
    ends = [(1, 3 + -size % _TILE) for size in x.shape[1:3]]
    x = jnp.pad(x, ((0, 0), *ends, (0, 0)), mode=padding)
    return _overlapping(_overlapping(x, 1), 3).transpose(2, 4, 0, 1, 3, 5).reshape(36, -1)


def _joined(tiled: Array, shape: tuple[int, ...]) -> Array:
    """Maps of the given shape from their tiles of 4x4 outputs, `[16, tiles * d]`."""
    n, height, width, d = shape
    down, across = -(-height // _TILE), -(-width // _TILE)
    y = tiled.reshape(_TILE, _TILE, n, down, across, d).transpose(2, 3, 0, 4, 1, 5)
    return y.reshape(n, _TILE * down, _TILE * across, d)[:, :height, :width]


def _square(matrix: np.ndarray, like: Array) -> Array:
    return jnp.asarray(np.kron(matrix, matrix), like.dtype)


def _matmul(a: Array, b: Array) -> Array:
    return jnp.matmul(a, b, precision="highest")


def _overlapping(x: Array, axis: int) -> Array:
    """An axis of t + 1 tiles of four lines as t of six: each with the next one's first two."""
    shape = x.shape
    x = x.reshape(*shape[:axis], -1, _TILE, *shape[axis + 1 :])
    own = jax.lax.slice_in_dim(x, 0, -1, axis=axis)
    near = jax.lax.slice_in_dim(x, 1, None, axis=axis)
    return jnp.concatenate([own, jax.lax.slice_in_dim(near, 0, 2, axis=axis + 1)], axis=axis + 1)
