"""VGG19 as a pure function from an image to named feature maps.

Images are RGB in [0, 1], shaped `[..., h, w, 3]`; leading axes are a batch. The
color space the weights were trained in is a leaf of the weights themselves
(`params["color"]`), so callers never preprocess. Simonyan and Zisserman (2015),
configuration E, without the classifier.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxstyle.ops import winograd
from jaxstyle.ops.conv import conv3x3
from jaxstyle.options import (
    BLOCKS,
    LAYERS,
    Padding,
    Pooling,
    WhichConv,
    check_layers,
    check_option,
    min_side,
)
from jaxstyle.types import AnyArray, Params, Tap, check_floating

# An average is below a maximum. With this factor relu5_1 keeps its mean activation: eight
# photographs and paintings needed 1.36 to 1.50 for each pooling. style-transfer-pytorch
# takes 2, which lets it grow fourfold.
_AVERAGE_SCALE = 1.43
# Channels in times channels out from which on Winograd's convolution is clearly faster on a CPU:
# from conv2_2 on. In conv2_1 it gains little.
_WINOGRAD_FROM = 128 * 128


PARAM_SHAPES: dict[str, dict[str, tuple[int, ...]]] = {"color": {"kernel": (3, 3), "bias": (3,)}}
"""Shape of every leaf of the weights; kernels are HWIO, the color map RGB-in."""
_inputs = 3
for _name in (name for name in LAYERS if name.startswith("conv")):
    _outputs = BLOCKS[int(_name[4]) - 1][0]
    PARAM_SHAPES[_name] = {"kernel": (3, 3, _inputs, _outputs), "bias": (_outputs,)}
    _inputs = _outputs


def _itself(_: str, x: Array) -> tuple[Array, Array]:
    return x, x


def _pool(x: jax.Array, pooling: Pooling) -> jax.Array:
    *batch, height, width, channels = x.shape
    h, w = height // 2, width // 2
    x = x[..., : 2 * h, : 2 * w, :].reshape(*batch, h, 2, w, 2, channels)
    if pooling == "max":
        # Two maxima instead of reduce_window, with whose gradient, select-and-scatter, a step
        # on the CPU needed two thirds more temporary memory and up to a sixth more time.
        x = jnp.maximum(x[..., 0, :, :, :], x[..., 1, :, :, :])
        return jnp.maximum(x[..., 0, :], x[..., 1, :])
    x = x.mean(axis=(-4, -2))
    return x * _AVERAGE_SCALE if pooling == "scaled_average" else x


class Conv(nn.Module):
    """One convolution of the network; its name is the layer's, and says its shape."""

    padding: Padding
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        name = str(self.name)
        shapes = PARAM_SHAPES[name]
        kernel = self.param("kernel", nn.initializers.he_normal(), shapes["kernel"])
        bias = self.param("bias", nn.initializers.zeros, shapes["bias"])
        kernel, bias = kernel.astype(self.dtype), bias.astype(self.dtype)
        # Sums of Winograd's transforms need the digits of float32.
        exact = jnp.dtype(self.dtype) == jnp.float32
        return conv3x3(
            x,
            kernel,
            bias,
            padding=self.padding,
            first=name == "conv1_1",
            transformed=self.get_variable("params", "winograd") if exact else None,
        )


class VGG19(nn.Module):
    """The network as a Linen module; `features` is the door for callers.

    Attributes:
      layers: names of the feature maps to return; nothing behind the deepest is computed.
      pooling: `max`, `average`, or `scaled_average` (average, times 1.43).
      padding: how borders are filled, see `jaxstyle.conv.conv3x3`.
      dtype: dtype of the activations; the weights are cast to it.
    """

    layers: tuple[str, ...]
    pooling: Pooling = "max"
    padding: Padding = "zeros"
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, image: jax.Array, tap: Tap = _itself) -> dict[str, Any]:
        wanted, found = set(self.layers), {}
        # The color map subtracts large means: it always runs in float32.
        x = nn.Dense(3, name="color", precision="highest")(image).astype(self.dtype)
        for name in LAYERS:
            if len(found) == len(wanted):
                break
            if name.startswith("conv"):
                x = Conv(self.padding, self.dtype, name=name)(x)
            elif name.startswith("relu"):
                x = nn.relu(x)
            else:
                x = _pool(x, self.pooling)
            if name in wanted:
                x, found[name] = tap(name, x)
        return {name: found[name] for name in self.layers}


def features(
    params: Params,
    image: Float[AnyArray, "*batch h w 3"],
    layers: Sequence[str],
    *,
    pooling: Pooling = "max",
    padding: Padding = "zeros",
    dtype: Any = jnp.float32,
    tap: Tap = _itself,
) -> dict[str, Any]:
    """Feature maps of `image` at `layers`, computed no deeper than the deepest of them.

    Args:
      params: weights from `load_weights`.
      image: RGB in [0, 1].
      layers: names from `LAYERS`, e.g. `("relu4_2",)`.
      pooling: `max` (as trained), `average` (Gatys et al. 2016, section 2) or
        `scaled_average` (times 1.43, so that deep activations keep their size).
      padding: `zeros` (as trained), `reflect`, `edge`, or `edge_first`.
      dtype: dtype of the activations.
      tap: called with name and map of every layer asked for, as soon as it is computed; returns
        the map to go on with, and what stands for the layer in the result.

    Returns:
      One entry per name in `layers`, in that order: without `tap` its map,
      `[*batch, h_l, w_l, c_l]`.

    Raises:
      ValueError: unknown layer, pooling or padding; an image that is not RGB or too small.
      TypeError: an image of integers; `layers` a bare string.
    """
    check_layers(layers)
    check_option("pooling", pooling, Pooling)
    check_option("padding", padding, Padding)
    if image.ndim < 3 or image.shape[-1] != 3:
        raise ValueError(f"`image` is shaped {image.shape}; it must be [..., h, w, 3], RGB.")
    check_floating(image)
    height, width = image.shape[-3:-1]
    needed = min_side(layers, padding)
    if min(height, width) < needed:
        deepest = max(layers, key=LAYERS.index)
        raise ValueError(
            f"`image` is {height}x{width} (height x width); {deepest} needs both sides at least "
            f"{needed}."
        )
    model = VGG19(tuple(layers), pooling, padding, dtype)
    return model.apply({"params": params}, jnp.asarray(image), tap)  # pyright: ignore[reportReturnType]


def transform_kernels(params: Params, layers: Sequence[str], conv: WhichConv = "auto") -> Params:
    """The same weights, in the form in which `features` is fastest where the program runs.

    For loops: the features stay the same up to rounding, but on a CPU all convolutions from
    conv2_2 on are then Winograd's, the deepest in half the time. The transformed kernels are a
    leaf `winograd` beside `kernel`, four times its size: 200 MiB up to relu5_1. Elsewhere the
    weights come back as they are.

    Args:
      params: weights from `load_weights`.
      layers: the layers that will be asked for.
      conv: `direct` leaves the weights as they are; `winograd` transforms the kernels
        of all layers but the first, on any device.
    """
    if conv == "direct" or (conv == "auto" and jax.default_backend() != "cpu") or not layers:
        return params
    deepest = max(map(LAYERS.index, layers))
    least = _WINOGRAD_FROM if conv == "auto" else 64 * 64

    def gains(name: str) -> bool:
        used = name in LAYERS and LAYERS.index(name) <= deepest
        return used and math.prod(params[name]["kernel"].shape[2:]) >= least

    found = _transformed({name: params[name]["kernel"] for name in params if gains(name)})
    return {
        name: {**leaves, "winograd": found[name]} if name in found else leaves
        for name, leaves in params.items()
    }


# Of the kernels alone: a program gives back copies of what it does not change.
_transformed = jax.jit(partial(jax.tree.map, winograd.transform))


def normalize_weights(
    params: Params, images: Sequence[Float[AnyArray, "_h _w 3"]]
) -> dict[str, dict[str, Float[Array, "..."]]]:
    """Weights rescaled so that every filter's mean activation over `images` is 1.

    Gatys et al. (2016), section 2. ReLU, pooling and zeros as padding commute with a positive
    scale, so each filter's scale is taken out of the next layer's kernel and the
    network computes the same up to one known factor per channel:
    relu_l' = relu_l / s_l. Filters that never fire keep their scale.

    Args:
      params: weights from `load_weights`.
      images: RGB in [0, 1], of any sizes of at least 16 pixels; every pixel counts equally.
    """
    relus = [name for name in LAYERS if name.startswith("relu")]

    @jax.jit
    def sums(params: Params, image: jax.Array) -> tuple[dict[str, jax.Array], dict[str, int]]:
        maps = features(params, image, relus)
        return {n: m.sum(axis=(0, 1)) for n, m in maps.items()}, {
            n: m.shape[0] * m.shape[1] for n, m in maps.items()
        }

    totals = [sums(params, image) for image in images]
    activations, positions = jax.tree.map(lambda *leaves: sum(leaves), *totals)
    normalized = {"color": {name: jnp.asarray(leaf) for name, leaf in params["color"].items()}}
    previous = jnp.ones(3)
    for relu in relus:
        name = relu.replace("relu", "conv")
        scale = activations[relu] / positions[relu]
        scale = jnp.where(scale > 0, scale, 1.0)
        kernel, bias = params[name]["kernel"], params[name]["bias"]
        normalized[name] = {
            "kernel": kernel * previous[:, None] / scale,
            "bias": bias / scale,
        }
        previous = scale
    return normalized
