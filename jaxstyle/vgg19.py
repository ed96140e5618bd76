"""VGG19 as a pure function from an image to named feature maps.

Simonyan and Zisserman (2015), configuration E, without the classifier. Images are RGB in [0, 1],
shaped `[..., h, w, 3]`; leading axes are a batch. The conversion to the color space of the
training data is part of the weights (`params["color"]`), so images need no preprocessing.
"""

import math
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from jaxstyle.ops import winograd
from jaxstyle.ops.conv import conv3x3
from jaxstyle.ops.pooling import average_pool, max_pool
from jaxstyle.options import (
    BLOCKS,
    LAYERS,
    Padding,
    Pooling,
    Precision,
    WhichConv,
    check_layers,
    check_option,
    min_side,
)
from jaxstyle.types import AnyArray, Params, Tap, check_floating

# An average is smaller than a maximum. This factor keeps the mean activation of relu5_1 as with max
# pooling. style-transfer-pytorch uses 2, which makes it four times as large.
_AVERAGE_SCALE = 1.43
# Input times output channels from which Winograd's convolution is clearly faster on a CPU. conv2_2
# is the first layer that reaches it.
_WINOGRAD_MIN_CHANNELS = 128 * 128
_BEFORE_POOLING = {before for before, name in pairwise(LAYERS) if name.startswith("pool")}


PARAM_SHAPES: dict[str, dict[str, tuple[int, ...]]] = {"color": {"kernel": (3, 3), "bias": (3,)}}
"""Shape of every leaf of the weights. Kernels are HWIO; the color map takes RGB."""
_inputs = 3
for _name in (name for name in LAYERS if name.startswith("conv")):
    _outputs = BLOCKS[int(_name[4]) - 1][0]
    PARAM_SHAPES[_name] = {"kernel": (3, 3, _inputs, _outputs), "bias": (_outputs,)}
    _inputs = _outputs


def _identity_tap(_: str, x: Array) -> tuple[Array, Array]:
    return x, x


@jax.custom_vjp
def _relu(x: jax.Array) -> jax.Array:
    """Compute max(x, 0); the gradient needs only the result, so x is not kept."""
    return jnp.maximum(x, 0)


def _relu_forward(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    y = _relu(x)
    return y, y


# XLA would turn y > 0 into x > 0, and keep x.
_relu.defvjp(_relu_forward, lambda y, y_bar: (jnp.where(y != 0, y_bar, 0),))


def _pool(x: jax.Array, pooling: Pooling) -> jax.Array:
    if pooling == "max":
        # Where ReLU was not applied before, it comes here, to a quarter of the values.
        return _relu(max_pool(x))
    return average_pool(x) * (_AVERAGE_SCALE if pooling == "scaled_average" else 1)


class Conv(nn.Module):
    """One convolution of the network; its module name is the layer's and determines its shape.

    Attributes:
      padding: border padding, see `jaxstyle.ops.conv.conv3x3`.
      dtype: dtype of the activations; the weights are cast to it.
      precision: precision of the products, see `jaxstyle.ops.conv.conv3x3`.
    """

    padding: Padding
    dtype: Any
    precision: Precision

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        name = str(self.name)
        shapes = PARAM_SHAPES[name]
        kernel = self.param("kernel", nn.initializers.he_normal(), shapes["kernel"])
        bias = self.param("bias", nn.initializers.zeros, shapes["bias"])
        kernel, bias = kernel.astype(self.dtype), bias.astype(self.dtype)
        # Winograd's transforms lose too much precision below float32.
        is_float32 = jnp.dtype(self.dtype) == jnp.float32
        return conv3x3(
            x,
            kernel,
            bias,
            padding=self.padding,
            first=name == "conv1_1",
            precision=self.precision,
            transformed=self.get_variable("params", "winograd") if is_float32 else None,
        )


class VGG19(nn.Module):
    """The network as a Linen module; call `features` instead of using it directly.

    Attributes:
      layers: names of the feature maps to return; layers after the deepest are not computed.
      pooling: `max`, `average`, or `scaled_average` (average times 1.43).
      padding: border padding, see `jaxstyle.ops.conv.conv3x3`.
      dtype: dtype of the activations; the weights are cast to it.
      precision: precision of the products, see `jaxstyle.ops.conv.conv3x3`.
    """

    layers: tuple[str, ...]
    pooling: Pooling = "max"
    padding: Padding = "zeros"
    dtype: Any = jnp.float32
    precision: Precision = "default"

    @nn.compact
    def __call__(self, image: jax.Array, tap: Tap = _identity_tap) -> dict[str, Any]:
        requested, outputs = set(self.layers), {}
        # The color map subtracts large means, so it runs in float32 or higher precision.
        dtype = np.promote_types(image.dtype, np.float32)
        x = nn.Dense(3, name="color", dtype=dtype, precision="highest")(image).astype(self.dtype)
        for name in LAYERS:
            if len(outputs) == len(requested):
                break
            if name.startswith("conv"):
                x = Conv(self.padding, self.dtype, self.precision, name=name)(x)
            elif name.startswith("pool"):
                x = _pool(x, self.pooling)
            elif name in requested or not (self.pooling == "max" and name in _BEFORE_POOLING):
                x = _relu(x)
            if name in requested:
                x, outputs[name] = tap(name, x)
        return {name: outputs[name] for name in self.layers}


def features(
    params: Params,
    image: Float[AnyArray, "*batch h w 3"],
    layers: Sequence[str],
    *,
    pooling: Pooling = "max",
    padding: Padding = "zeros",
    dtype: Any = jnp.float32,
    precision: Precision = "default",
    tap: Tap = _identity_tap,
) -> dict[str, Any]:
    """Compute the feature maps of an image at the given layers.

    Layers after the deepest requested one are not computed.

    Args:
      params: weights from `load_weights`.
      image: RGB in [0, 1].
      layers: names from `LAYERS`, e.g. `("relu4_2",)`.
      pooling: `max` (as trained), `average` (Gatys et al. 2016, section 2), or
        `scaled_average` (average times 1.43, which keeps the scale of deep activations).
      padding: `zeros` (as trained), `reflect`, `edge`, or `edge_first`; see
        `jaxstyle.ops.conv.conv3x3`.
      dtype: dtype of the activations.
      precision: precision of the products on TPUs and GPUs: `default`, `high` or `highest`, as in
        `jax.lax.Precision`. CPUs always compute in full precision.
      tap: called with the name and map of each requested layer as soon as the map is computed.
        It returns the map to pass to the next layer, and the value to return for this layer.

    Returns:
      A dict with one entry per name in `layers`, in that order. Each is the layer's map
      `[*batch, h_l, w_l, c_l]`, or what `tap` returned for it.

    Raises:
      ValueError: If a layer, `pooling`, `padding` or `precision` is unknown, or if the image is
        not RGB or is too small for the deepest layer.
      TypeError: If the image has an integer dtype, or if `layers` is a string.

    Example:
      Each pooling halves height and width:

      >>> import jax.numpy as jnp
      >>> import jaxstyle
      >>> params = jaxstyle.load_weights()
      >>> image = jnp.full((32, 48, 3), 0.5)
      >>> maps = jaxstyle.features(params, image, ("relu1_1", "relu3_1"))
      >>> {name: x.shape for name, x in maps.items()}
      {'relu1_1': (32, 48, 64), 'relu3_1': (8, 12, 256)}
    """
    check_layers(layers)
    check_option("pooling", pooling, Pooling)
    check_option("padding", padding, Padding)
    check_option("precision", precision, Precision)
    if image.ndim < 3 or image.shape[-1] != 3:
        raise ValueError(f"`image` has shape {image.shape}; it must be [..., h, w, 3], RGB.")
    check_floating(image=image)
    if jnp.dtype(dtype) == np.float64 and not jax.config.read("jax_enable_x64"):
        raise ValueError("`dtype` is float64, which JAX disables by default; set JAX_ENABLE_X64=1.")
    height, width = image.shape[-3:-1]
    needed = min_side(layers, padding)
    if min(height, width) < needed:
        deepest = max(layers, key=LAYERS.index)
        raise ValueError(
            f"`image` is {height}x{width} (height x width); {deepest} needs both sides at least "
            f"{needed}. Use a larger image or shallower layers."
        )
    model = VGG19(tuple(layers), pooling, padding, dtype, precision)
    try:
        # Biases have fewer axes than maps, which callers may have disallowed.
        with jax.numpy_rank_promotion("allow"):
            return model.apply({"params": params}, jnp.asarray(image), tap)  # pyright: ignore[reportReturnType]
    except TypeError as error:
        if "forward-mode" in str(error):
            error.add_note(
                "jaxstyle's convolutions support reverse mode only: use jax.grad or jax.vjp, and "
                "jax.grad of a gradient's product for Hessian-vector products."
            )
        raise


def transform_kernels(params: Params, layers: Sequence[str], conv: WhichConv = "auto") -> Params:
    """Add kernels transformed for Winograd's convolution to the weights, where that is faster.

    With them, `features` returns the same maps up to rounding. On a CPU, convolutions from conv2_2
    on are faster, the deepest twice as fast. Call this once, outside of loops. The new leaf
    `winograd` is four times as large as its `kernel`, in total 200 MiB up to relu5_1.

    Args:
      params: weights from `load_weights`.
      layers: names of the layers that `features` will be called with.
      conv: `auto` transforms the kernels from conv2_2 up to the deepest of `layers` if the
        default backend is a CPU. `direct` transforms none. `winograd` transforms all but the
        first layer's, on any device.

    Returns:
      The weights with the additional leaves; unchanged if no kernel is transformed.

    Example:
      >>> import jaxstyle
      >>> from jaxstyle.vgg19 import transform_kernels
      >>> params = transform_kernels(jaxstyle.load_weights(), ("relu2_1",), "winograd")
      >>> [name for name in params if "winograd" in params[name]]
      ['conv1_2', 'conv2_1']
      >>> params["conv1_2"]["winograd"].shape
      (36, 64, 64)
    """
    if conv == "direct" or (conv == "auto" and jax.default_backend() != "cpu") or not layers:
        return params
    deepest = max(map(LAYERS.index, layers))
    min_channels = _WINOGRAD_MIN_CHANNELS if conv == "auto" else 64 * 64

    def uses_winograd(name: str) -> bool:
        is_needed = name in LAYERS and LAYERS.index(name) <= deepest
        return is_needed and math.prod(params[name]["kernel"].shape[2:]) >= min_channels

    transformed = _transform_all(
        {name: params[name]["kernel"] for name in params if uses_winograd(name)}
    )
    return {
        name: {**leaves, "winograd": transformed[name]} if name in transformed else leaves
        for name, leaves in params.items()
    }


# Takes only the kernels: a compiled program would also copy the weights that it does not change.
_transform_all = jax.jit(partial(jax.tree.map, winograd.transform))


def limit_filters(params: Params, limit: float = 6.0) -> dict[str, dict[str, Any]]:
    """Scale filters down to at most `limit` times the median norm of their layer.

    Normalizing to a mean activation of 1 gives a filter that rarely activates a very large norm
    (in the embedded weights, filter 291 of conv4_2). Where it does activate, its gradient
    inflates Adam's second moments, and its receptive field stays noisy for many steps. The next
    layer's kernel is scaled up by the same factor, so no other feature map changes.

    `stylize` and the other runs apply this themselves, with `StyleConfig.filter_limit`. All other
    functions use the weights as given.

    Args:
      params: weights from `load_weights`, as JAX or NumPy arrays. Other leaves stay unchanged.
      limit: largest norm of a filter, in multiples of its layer's median.

    Returns:
      The weights with the scaled filters, in float32 or higher precision.

    Raises:
      ValueError: If `limit` is not above 0.

    Example:
      >>> import jaxstyle
      >>> params = jaxstyle.load_weights()
      >>> limited = jaxstyle.limit_filters(params)
      >>> biases = limited["conv4_2"]["bias"], params["conv4_2"]["bias"]
      >>> [i for i, (new, old) in enumerate(zip(*biases)) if new != old]
      [291]
    """
    if not limit > 0:
        raise ValueError(f"`limit` is {limit}; it must be above 0.")
    names = sorted(name for name in params if name.startswith("conv"))
    is_traced = any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(params))
    # NumPy and JAX order the sums of a norm differently. NumPy also skips unchanged layers.
    xp: Any = jnp if is_traced else np
    limited = {name: dict(leaves) for name, leaves in params.items()}
    previous = 1
    for name in names:
        kernel, bias = (params[name][leaf] for leaf in ("kernel", "bias"))
        dtype = np.promote_types(kernel.dtype, np.float32)
        to_array = jnp.asarray if isinstance(kernel, jax.Array) else np.asarray
        kernel, bias = (xp.asarray(leaf).astype(dtype) for leaf in (kernel, bias))
        norms = xp.linalg.norm(kernel.reshape(-1, kernel.shape[-1]), axis=0)
        scale = xp.minimum(1, limit * xp.median(norms) / xp.maximum(norms, 1e-30))
        if is_traced or np.any(previous != 1) or np.any(scale != 1):
            kernel = kernel / xp.reshape(previous, (-1, 1)) * scale
            limited[name] = {"kernel": to_array(kernel), "bias": to_array(bias * scale)}
        previous = scale
    return limited


def normalize_weights(
    params: Params, images: Sequence[Float[AnyArray, "_h _w 3"]]
) -> dict[str, dict[str, Float[Array, "..."]]]:
    """Rescale the weights so that every filter's mean activation over `images` is 1.

    Gatys et al. (2016), section 2. ReLU, pooling and zero padding commute with a positive scale
    s_l per channel, and the next layer's kernel is multiplied by s_l. The network is therefore
    the same function up to these scales: relu_l' = relu_l / s_l. Filters that never activate keep
    their scale.

    Args:
      params: weights from `load_weights`.
      images: RGB in [0, 1], with both sides at least 16. Sizes may differ; every pixel has the
        same weight.

    Returns:
      The rescaled weights.

    Raises:
      ValueError: If an image is not RGB or is too small.
      TypeError: If an image has an integer dtype.

    Example:
      >>> import jax
      >>> import jaxstyle
      >>> image = jax.random.uniform(jax.random.key(0), (16, 16, 3))
      >>> params = jaxstyle.normalize_weights(jaxstyle.load_weights(), [image])
      >>> mean = jaxstyle.features(params, image, ("relu3_1",))["relu3_1"].mean((0, 1))
      >>> print(mean[:4].round(3))
      [1. 1. 1. 1.]
    """
    if not images:
        raise ValueError("`images` is empty; give at least one image to measure activations on.")
    relus = [name for name in LAYERS if name.startswith("relu")]

    @jax.jit
    def sum_activations(
        params: Params, image: jax.Array
    ) -> tuple[dict[str, jax.Array], dict[str, int]]:
        maps = features(params, image, relus)
        sums = {name: x.sum(axis=(0, 1)) for name, x in maps.items()}
        return sums, {name: x.shape[0] * x.shape[1] for name, x in maps.items()}

    totals = [sum_activations(params, image) for image in images]
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
