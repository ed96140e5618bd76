"""The 3x3 convolution of VGG: how borders are filled, and a gradient fit for loops."""

from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxstyle.ops import winograd
from jaxstyle.options import Padding

Lines = tuple[jax.Array, jax.Array, jax.Array, jax.Array]
"""Top and bottom row `[n, w, c]`, left and right column `[n, h, c]`."""
_Filled = Literal["zeros", "edge", "reflect"]
# Lines between the border and the ones that are copied around it.
_NEAR = {"edge": 0, "reflect": 1}


def conv3x3(
    x: Float[Array, "*batch h w c"],
    kernel: Float[Array, "3 3 c d"],
    bias: Float[Array, " d"],
    *,
    padding: Padding = "zeros",
    first: bool = False,
    transformed: Float[Array, "36 c d"] | None = None,
) -> Float[Array, "*batch h w d"]:
    """Cross-correlation with a 3x3 kernel, plus a bias; the size of the map stays.

    Reverse-mode differentiable in all arguments, to any order; not forward-mode.

    Args:
      x: feature map.
      kernel: HWIO.
      bias: one value per output channel.
      padding: `zeros` as VGG was trained; `reflect` and `edge` repeat the map's own
        values; `edge_first` is `edge` in the first layer of the network and
        `zeros` in the others, which keeps the picture's frame from darkening
        and leaves deep features as trained.
      first: whether this is the network's first layer.
      transformed: the kernel by `winograd.transform`, if the maps are to be
        computed so; gradients of the weights are those of `kernel` all the same.
    """
    batch = x.shape[:-3]
    x = x.reshape(-1, *x.shape[-3:])
    if padding == "edge_first":
        padding = "edge" if first else "zeros"
    x = _conv(x, kernel, transformed, padding)
    return x.reshape(*batch, *x.shape[1:]) + bias


# XLA's CPU compiler brings convolutions into the form of its fast kernels only outside
# of loops, and JAX's own gradient is not in that form: in a `fori_loop` it took four
# times as long (jax-ml/jax#12868). This one is in that form from the start.
@partial(jax.custom_vjp, nondiff_argnums=(3,))
def _conv(
    x: jax.Array, kernel: jax.Array, transformed: jax.Array | None, padding: _Filled
) -> jax.Array:
    return _convolve(x, kernel, transformed, padding)


def _forward(
    x: Any, kernel: Any, transformed: Any | None, padding: _Filled
) -> tuple[jax.Array, tuple]:
    values = x.value, kernel.value, None if transformed is None else transformed.value
    # A descent asks for no gradient of the weights: it is then not even traced.
    learned = values[0] if kernel.perturbed else None
    return _convolve(*values, padding), (learned, *values[1:])


def _backward(
    padding: _Filled, saved: tuple, cotangent: jax.Array
) -> tuple[jax.Array, jax.Array | None, None]:
    x, kernel, transformed = saved
    if transformed is not None:
        x_bar = winograd.convolve_transposed(cotangent, transformed)
        x_bar = _folded(_folded(x_bar, 1, padding), 2, padding)
    else:
        turned = jnp.flip(kernel, axis=(0, 1)).swapaxes(2, 3)
        x_bar: jax.Array = _conv(cotangent, turned, None, "zeros")
        if padding != "zeros":
            near = _NEAR[padding]
            seen = jax.linear_transpose(
                lambda border: _seen(border, kernel, padding), _border(x_bar, near)
            )
            x_bar = _add_to_border(x_bar, near, *seen(_border(cotangent, 0)))
    if x is None:
        return x_bar, None, None
    _, kernel_vjp = jax.vjp(lambda kernel: _convolve(x, kernel, None, padding), kernel)
    return x_bar, *kernel_vjp(cotangent), None


_conv.defvjp(_forward, _backward, symbolic_zeros=True)


def _convolve(
    x: jax.Array, kernel: jax.Array, transformed: jax.Array | None, padding: _Filled
) -> jax.Array:
    if transformed is not None:
        return winograd.convolve(_padded(_padded(x, 1, padding), 2, padding), transformed)
    layout = ("NHWC", "HWIO", "NHWC")
    y = jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=layout)
    if padding == "zeros":
        return y
    # Only the outermost rows and columns see what is around the map. To pad the whole map
    # took twice the time on the CPU, and half as much memory again.
    return _add_to_border(y, 0, _seen(_border(x, _NEAR[padding]), kernel, padding))


def _padded(x: jax.Array, axis: int, padding: _Filled) -> jax.Array:
    """An axis with one line more at both ends; copies are taken, as `jnp.pad` compiles longer."""
    if padding == "zeros":
        return jnp.pad(x, [(int(i == axis),) * 2 for i in range(x.ndim)])
    return x.take(np.pad(np.arange(x.shape[axis]), 1, mode=padding), axis=axis, mode="clip")


def _border(x: jax.Array, near: int) -> Lines:
    """First and last row, first and last column; `near` lines further in."""
    return x[:, near], x[:, -1 - near], x[:, :, near], x[:, :, -1 - near]


def _add_to_border(x: jax.Array, near: int, lines: Lines) -> jax.Array:
    """The transpose of `_border`."""
    for axis, pair in ((1, lines[:2]), (2, lines[2:])):
        x = _add_lines(x, axis, near, *(jnp.expand_dims(line, axis) for line in pair))
    return x


def _add_lines(x: jax.Array, axis: int, near: int, first: jax.Array, last: jax.Array) -> jax.Array:
    """Lines added near both ends, in the form of sums over the map, which are part of another loop.

    Updated in place, XLA makes two copies of the map beside.
    """
    index = jax.lax.broadcasted_iota(jnp.int32, x.shape, axis)
    for at, line in ((near, first), (x.shape[axis] - 1 - near, last)):
        x += jnp.where(index == at, line, 0)
    return x


def _folded(x: jax.Array, axis: int, padding: _Filled) -> jax.Array:
    """The transpose of padding an axis by one line at both ends.

    JAX's own transpose of `jnp.pad` held 100 MiB more in a step at 512 pixels.
    """
    first, inside, last = jnp.split(x, (1, x.shape[axis] - 1), axis=axis)
    return inside if padding == "zeros" else _add_lines(inside, axis, _NEAR[padding], first, last)


def _seen(border: Lines, kernel: jax.Array, padding: _Filled) -> Lines:
    """What the outermost rows and columns of a convolution see of copies around the map."""
    top, bottom, left, right = border
    none, side = (0, 0), (1, 1)
    top, bottom = (jnp.pad(row, (none, side, none), mode=padding) for row in (top, bottom))
    # Corners are the rows' matter.
    left, right = (jnp.pad(column, (none, side, none)) for column in (left, right))
    return (
        _line(top, kernel[0]),
        _line(bottom, kernel[2]),
        _line(left, kernel[:, 0]),
        _line(right, kernel[:, 2]),
    )


def _line(x: jax.Array, taps: jax.Array) -> jax.Array:
    """Valid cross-correlation of lines `[n, l + 2, c]` with `[3, c, d]`."""
    length = x.shape[1] - 2
    windows = jnp.concatenate([x[:, i : i + length] for i in range(3)], axis=-1)
    return windows @ taps.reshape(-1, taps.shape[-1])
