"""The 3x3 convolution of VGG: how borders are filled, and a gradient fit for loops."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxstyle.options import Padding


def conv3x3(
    x: Float[Array, "*batch h w c"],
    kernel: Float[Array, "3 3 c d"],
    bias: Float[Array, " d"],
    *,
    padding: Padding = "zeros",
    first: bool = False,
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
    """
    batch = x.shape[:-3]
    x = x.reshape(-1, *x.shape[-3:])
    if padding == "edge_first":
        padding = "edge" if first else "zeros"
    if padding == "zeros":
        x = _conv(x, kernel, 1)
    else:
        x = _conv(jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode=padding), kernel, 0)
    return x.reshape(*batch, *x.shape[1:]) + bias


def _xla_conv(x: jax.Array, kernel: jax.Array, border: int) -> jax.Array:
    borders = ((border, border), (border, border))
    layout = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), borders, dimension_numbers=layout)


# XLA's CPU compiler brings convolutions into the form of its fast kernels only outside
# of loops, and JAX's own gradient is not in that form: in a `fori_loop` it took four
# times as long (jax-ml/jax#12868). This one is in that form from the start.
@partial(jax.custom_vjp, nondiff_argnums=(2,))
def _conv(x: jax.Array, kernel: jax.Array, border: int) -> jax.Array:
    return _xla_conv(x, kernel, border)


def _forward(x: jax.Array, kernel: jax.Array, border: int) -> tuple[jax.Array, tuple]:
    return _xla_conv(x, kernel, border), (x, kernel)


def _backward(border: int, saved: tuple, cotangent: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = saved
    turned = jnp.flip(kernel, axis=(0, 1)).swapaxes(2, 3)
    # Under jit the compiler drops the kernel's gradient where nobody asks for it.
    _, kernel_vjp = jax.vjp(lambda kernel: _xla_conv(x, kernel, border), kernel)
    return _conv(cotangent, turned, 2 - border), *kernel_vjp(cotangent)


_conv.defvjp(_forward, _backward)
