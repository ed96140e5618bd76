"""The 3x3 convolution of VGG: border padding, and a gradient that is fast inside loops."""

from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxstyle.ops import winograd
from jaxstyle.options import Padding, Precision
from jaxstyle.types import check_floating

_ResolvedPadding = Literal["zeros", "edge", "reflect"]


class _Form(NamedTuple):
    """Static options of a convolution."""

    padding: _ResolvedPadding
    precision: Precision


# Distance from the border of the row or column that the padding copies.
_SOURCE_OFFSET = {"edge": 0, "reflect": 1}


def conv3x3(
    x: Float[Array, "*batch h w c"],
    kernel: Float[Array, "3 3 c d"],
    bias: Float[Array, " d"],
    *,
    padding: Padding = "zeros",
    first: bool = False,
    precision: Precision = "default",
    transformed: Float[Array, "36 c d"] | None = None,
) -> Float[Array, "*batch h w d"]:
    """Cross-correlate a feature map with a 3x3 kernel and add a bias, preserving its size.

    Reverse-mode differentiable, to any order without `transformed`. Forward mode is not
    supported.

    Args:
      x: feature map.
      kernel: weights, HWIO.
      bias: one value per output channel.
      padding: values outside the map. `zeros` is what VGG was trained with. `edge` repeats
        the outermost pixels; `reflect` mirrors the map. `edge_first` is `edge` in the
        network's first layer and `zeros` in all others: it avoids a dark frame in the
        result and leaves deep features as trained.
      first: whether this is the network's first layer.
      precision: precision of the products on TPUs and GPUs, as in `jax.lax.Precision`. CPUs
        compute in full precision, and so does `transformed`.
      transformed: `winograd.transform(kernel)`. If given, the map is computed with Winograd's
        algorithm. The gradient for the weights can then be taken only once; it is returned for
        `kernel`, not for `transformed`.

    Returns:
      The map `[*batch, h, w, d]`.

    Example:
      Zero padding lowers the values along the border; edge padding does not:

      >>> import jax.numpy as jnp
      >>> from jaxstyle.ops.conv import conv3x3
      >>> x, kernel, bias = jnp.ones((3, 4, 1)), jnp.ones((3, 3, 1, 1)), jnp.zeros(1)
      >>> print(conv3x3(x, kernel, bias)[..., 0])
      [[4. 6. 6. 4.]
       [6. 9. 9. 6.]
       [4. 6. 6. 4.]]
      >>> print(conv3x3(x, kernel, bias, padding="edge")[..., 0])
      [[9. 9. 9. 9.]
       [9. 9. 9. 9.]
       [9. 9. 9. 9.]]
    """
    check_floating(x=x)
    batch = x.shape[:-3]
    x = x.reshape(-1, *x.shape[-3:])
    if padding == "edge_first":
        padding = "edge" if first else "zeros"
    x = _conv(x, kernel, transformed, _Form(padding, precision))
    return x.reshape(*batch, *x.shape[1:]) + bias


# Inside a loop, XLA's CPU compiler uses its fast kernels only for convolutions that are already
# in canonical form (jax-ml/jax#12868). JAX's own gradient is not; this one is.
@partial(jax.custom_vjp, nondiff_argnums=(3,))
def _conv(x: jax.Array, kernel: jax.Array, transformed: jax.Array | None, form: _Form) -> jax.Array:
    return _convolve(x, kernel, transformed, form)


def _forward(
    x: jax.Array, kernel: jax.Array, transformed: jax.Array | None, form: _Form
) -> tuple[jax.Array, tuple]:
    # Only the kernel's gradient needs the map. Where it is not used, as in style transfer,
    # the compiler drops both.
    return _convolve(x, kernel, transformed, form), (x, kernel, transformed)


def _backward(form: _Form, saved: tuple, cotangent: jax.Array) -> tuple[jax.Array, jax.Array, None]:
    x, kernel, transformed = saved
    x_bar: jax.Array
    if transformed is not None:
        x_bar = _unpad(winograd.convolve_transposed(cotangent, transformed), form.padding)
    elif form.padding == "zeros":
        x_bar = _conv(cotangent, _flip(kernel), None, form)
    else:
        x_bar = jax.lax.platform_dependent(
            cotangent,
            kernel,
            cpu=partial(_convolve_transposed_and_crop, form=form),
            default=partial(_convolve_transposed_padded, form=form),
        )
    transpose = jax.linear_transpose(lambda kernel: _convolve(x, kernel, None, form), kernel)
    return x_bar, *transpose(cotangent), None


_conv.defvjp(_forward, _backward)


def _convolve(
    x: jax.Array, kernel: jax.Array, transformed: jax.Array | None, form: _Form
) -> jax.Array:
    if transformed is not None:
        return winograd.convolve(_pad_on_cpu(x, form.padding), transformed)
    if form.padding == "zeros":
        return _correlate(x, kernel, 1, form)
    return jax.lax.platform_dependent(
        x,
        kernel,
        cpu=partial(_convolve_and_crop, form=form),
        default=partial(_convolve_padded, form=form),
    )


def _correlate(x: jax.Array, kernel: jax.Array, zeros: int, form: _Form) -> jax.Array:
    """Cross-correlate a map with `zeros` rows and columns of zeros around it."""
    layout = ("NHWC", "HWIO", "NHWC")
    around = [(zeros, zeros)] * 2
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), around, dimension_numbers=layout, precision=form.precision
    )


def _flip(kernel: jax.Array) -> jax.Array:
    """Return the kernel of the transposed convolution."""
    return jnp.flip(kernel, axis=(0, 1)).swapaxes(2, 3)


# On accelerators: pad the map. This is one kernel, and accelerators wait for each launch.
def _convolve_padded(x: jax.Array, kernel: jax.Array, form: _Form) -> jax.Array:
    return _correlate(_pad(x, form.padding), kernel, 0, form)


def _convolve_transposed_padded(cotangent: jax.Array, kernel: jax.Array, form: _Form) -> jax.Array:
    return _unpad(_correlate(cotangent, _flip(kernel), 2, form), form.padding)


# On CPUs: only a convolution that keeps the size, with zeros outside, is fast in XLA. So the padded
# map is convolved like this, and the outermost lines of the result are dropped.
def _convolve_and_crop(x: jax.Array, kernel: jax.Array, form: _Form) -> jax.Array:
    return _correlate(_pad_on_cpu(x, form.padding), kernel, 1, form)[:, 1:-1, 1:-1]


def _convolve_transposed_and_crop(
    cotangent: jax.Array, kernel: jax.Array, form: _Form
) -> jax.Array:
    zeros = form._replace(padding="zeros")
    x_bar: jax.Array = _conv(_pad(cotangent, "zeros"), _flip(kernel), None, zeros)
    return _unpad(x_bar, form.padding)


def _pad(x: jax.Array, padding: _ResolvedPadding) -> jax.Array:
    """Pad height and width by one at both ends, as shifted maps that fuse into one loop."""
    return _pad_axis(_pad_axis(x, 1, padding), 2, padding)


def _pad_on_cpu(x: jax.Array, padding: _ResolvedPadding) -> jax.Array:
    """Apply `_pad`, with columns taken by their indices.

    The loop then has three copies of what computes the map instead of nine, and compiles faster.
    Rows are not taken by indices, because devices that share them would collect the whole map.
    """
    x = _pad_axis(x, 1, padding)
    if padding == "zeros":
        return _pad_axis(x, 2, padding)
    width, offset = x.shape[2], _SOURCE_OFFSET[padding]
    return x[:, :, np.array([offset, *range(width), width - 1 - offset])]


def _pad_axis(x: jax.Array, axis: int, padding: _ResolvedPadding) -> jax.Array:
    padded = _shift(x, {axis: (1, 1)})
    if padding != "zeros":
        offset = _SOURCE_OFFSET[padding]
        for position, amounts in ((0, (-offset, 2 + offset)), (-1, (2 + offset, -offset))):
            line = _is_line(padded, axis, position)
            padded = jnp.where(line, _shift(x, {axis: amounts}), padded)
    return padded


def _unpad(x: jax.Array, padding: _ResolvedPadding) -> jax.Array:
    """Apply the transpose of `_pad`, as shifted maps that fuse into one loop."""
    inside = _shift(x, {1: (-1, -1), 2: (-1, -1)})
    if padding == "zeros":
        return inside
    offset, result = _SOURCE_OFFSET[padding], inside
    # What each axis adds to the line that was copied, and to no other line.
    sources = {None: (-1, -1), offset: (offset, -2 - offset), -1 - offset: (-2 - offset, offset)}
    for row, row_source in sources.items():
        for column, column_source in sources.items():
            if row is None and column is None:
                continue
            added = _shift(x, {1: row_source, 2: column_source})
            for axis, position in ((1, row), (2, column)):
                if position is not None:
                    added = jnp.where(_is_line(inside, axis, position), added, 0)
            result += added
    return result


def _is_line(x: jax.Array, axis: int, position: int) -> np.ndarray:
    """Return whether an index along an axis equals `position`; a constant, which always fuses."""
    length = x.shape[axis]
    mask = np.arange(length) == position % length
    return mask.reshape([length if i == axis else 1 for i in range(x.ndim)])


def _shift(x: jax.Array, amounts: dict[int, tuple[int, int]]) -> jax.Array:
    """Add zeros before and after the values of each axis; remove values where negative."""
    config = [(*amounts.get(axis, (0, 0)), 0) for axis in range(x.ndim)]
    return jax.lax.pad(x, jnp.zeros((), x.dtype), config)
