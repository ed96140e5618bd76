"""Style transfer in one pass by adaptive instance normalization (AdaIN).

The content image's features get the style image's statistics and are decoded. Huang and
Belongie (2017), "Arbitrary Style Transfer in Real-time with Adaptive Instance Normalization".
The encoder is VGG19 up to relu4_1. The decoder was trained for the embedded weights and works
with no others.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxstyle import pyramid
from jaxstyle.losses import Moments, deviation, moments
from jaxstyle.ops.conv import conv3x3
from jaxstyle.types import AnyArray, Params, check_floating
from jaxstyle.vgg19 import features

_LAYER, _STRIDE = "relu4_1", 8
_CHANNELS = (512, 256, 256, 256, 256, 128, 128, 64, 64, 3)
# Convolutions that a 2x nearest-neighbor upsampling follows.
_UPSAMPLED = ("conv1", "conv5", "conv7")

DECODER_SHAPES: dict[str, dict[str, tuple[int, ...]]] = {
    f"conv{i}": {"kernel": (3, 3, *_CHANNELS[i - 1 : i + 1]), "bias": (_CHANNELS[i],)}
    for i in range(1, len(_CHANNELS))
}
"""Shapes of the decoder's weights; kernels are HWIO."""


def adain(
    params: Params,
    content: Float[AnyArray, "h w 3"],
    styles: Sequence[Float[AnyArray, "_h _w 3"]],
    *,
    blend: Float[AnyArray, " styles"] | Sequence[float] | None = None,
    strength: float | Float[Array, ""] = 1.0,
) -> Float[Array, "h w 3"]:
    """Stylize the content image in one pass, without optimization.

    Args:
      params: weights from `load_weights(decoder=True)`.
      content: content image, RGB in [0, 1]. The result has its size.
      styles: style images, RGB in [0, 1]; their statistics are computed at the given sizes.
      blend: weight of each style image, summing to 1; equal weights by default.
      strength: interpolation between the content image's statistics (0) and the style's (1).

    Raises:
      ValueError: `params` has no decoder, or a style image has a side below 16 pixels.

    Example:
      The result has the size of the content image:

      >>> import jax, jax.numpy as jnp
      >>> import jaxstyle
      >>> from jaxstyle.adain import adain
      >>> params = jaxstyle.load_weights(decoder=True)
      >>> content, style = jnp.zeros((30, 45, 3)), jnp.ones((64, 64, 3))
      >>> jax.eval_shape(adain, params, content, [style]).shape
      (30, 45, 3)
    """
    if "decoder" not in params:
        raise ValueError("`params` has no decoder; load them with `load_weights(decoder=True)`.")
    shape = jnp.shape(content)[:2]
    # Pooling drops odd rows and columns, which the decoder's upsampling cannot restore.
    divisible = [max(2, round(side / _STRIDE)) * _STRIDE for side in shape]
    encoded = _encode(params, pyramid.resize(jnp.asarray(content), divisible))
    per_style = [moments(_encode(params, style)) for style in styles]
    blend = [1 / len(per_style)] * len(per_style) if blend is None else blend
    weights = jnp.asarray(blend, per_style[0].mean.dtype)
    target = jax.tree.map(lambda *leaves: jnp.tensordot(weights, jnp.stack(leaves), 1), *per_style)
    stylized = adaptive_instance_norm(encoded, target)
    mixed = encoded + strength * (stylized - encoded)
    return pyramid.resize(decode(params, mixed), shape)


def adaptive_instance_norm(
    features: Float[Array, "*batch h w c"], style: Moments
) -> Float[Array, "*batch h w c"]:
    """Give every channel of the features the mean and the standard deviation of the style.

    σ_s (x - μ_x) / σ_x + μ_s, with σ_x at least 1e-3: Huang and Belongie (2017), eq. 8.

    Args:
      features: features of the content image.
      style: moments of the style image's features, or their blend.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxstyle.adain import adaptive_instance_norm
      >>> from jaxstyle.losses import moments
      >>> features = jnp.array([[[1.0], [3.0]]])
      >>> style = jnp.array([[[10.0], [20.0]]])
      >>> adaptive_instance_norm(features, moments(style)).round(2).tolist()
      [[[10.0], [20.0]]]
    """
    content = moments(features)
    # A blend averages second moments, not deviations, so deviations are computed here.
    scale = deviation(style) / jnp.maximum(deviation(content), 1e-3)
    mean, style_mean = (m[..., None, None, :] for m in (content.mean, style.mean))
    return (features - mean) * scale[..., None, None, :] + style_mean


def decode(
    params: Params, features: Float[Array, "*batch h w 512"]
) -> Float[Array, "*batch 8*h 8*w 3"]:
    """Decode relu4_1 features to an RGB image; values are not clipped.

    Args:
      params: weights from `load_weights(decoder=True)`.
      features: features of VGG19's relu4_1.
    """
    check_floating(features=features)
    x = features
    for name in DECODER_SHAPES:
        leaves = params["decoder"][name]
        x = conv3x3(x, leaves["kernel"], leaves["bias"], padding="reflect")
        if name != "conv9":
            x = jax.nn.relu(x)
        if name in _UPSAMPLED:
            x = x.repeat(2, axis=-3).repeat(2, axis=-2)
    return x


def _encode(params: Params, image: AnyArray) -> Array:
    """Compute the relu4_1 features of an image."""
    return features(params, image, (_LAYER,), padding="reflect")[_LAYER]
