"""A picture in one pass: a photograph's features given the statistics of a painting's.

Huang and Belongie (2017), "Arbitrary Style Transfer in Real-time with Adaptive Instance
Normalization". The encoder is VGG19 up to relu4_1; the decoder was trained for the embedded
weights, and fits no others.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxstyle import pyramid
from jaxstyle.losses import Moments, deviation, moments
from jaxstyle.ops.conv import conv3x3
from jaxstyle.types import AnyArray, Params
from jaxstyle.vgg19 import features

_LAYER, _STRIDE = "relu4_1", 8
_CHANNELS = (512, 256, 256, 256, 256, 128, 128, 64, 64, 3)
# Convolutions after which the map is doubled.
_DOUBLED = ("conv1", "conv5", "conv7")

DECODER_SHAPES: dict[str, dict[str, tuple[int, ...]]] = {
    f"conv{i}": {"kernel": (3, 3, *_CHANNELS[i - 1 : i + 1]), "bias": (_CHANNELS[i],)}
    for i in range(1, len(_CHANNELS))
}
"""Shape of every leaf of the decoder; kernels are HWIO."""


def adain(
    params: Params,
    content: Float[AnyArray, "h w 3"],
    styles: Sequence[Float[AnyArray, "_h _w 3"]],
    *,
    blend: Float[AnyArray, " styles"] | Sequence[float] | None = None,
    strength: float | Float[Array, ""] = 1.0,
) -> Float[Array, "h w 3"]:
    """The photograph in the style of the paintings, without a descent.

    Args:
      params: weights from `load_weights(decoder=True)`.
      content: photograph, RGB in [0, 1]; also the size of the result.
      styles: paintings, at the sizes at which they are to be looked at.
      blend: weight of each painting, adding up to 1; equal ones by default.
      strength: 1 for the paintings' statistics, 0 for the photograph's own, and between.

    Raises:
      ValueError: there is no decoder, or a painting has a side below 16 pixels.
    """
    if "decoder" not in params:
        raise ValueError("`params` has no decoder; load them by `load_weights(decoder=True)`.")
    shape = jnp.shape(content)[:2]
    # VGG's poolings leave odd lines out, and the decoder only doubles.
    even = [max(2, round(side / _STRIDE)) * _STRIDE for side in shape]
    encoded = _encode(params, pyramid.resize(jnp.asarray(content), even))
    found = [moments(_encode(params, style)) for style in styles]
    weights = jnp.full(len(found), 1 / len(found)) if blend is None else jnp.asarray(blend)
    target = jax.tree.map(lambda *leaves: jnp.tensordot(weights, jnp.stack(leaves), 1), *found)
    painted = adaptive_instance_norm(encoded, target)
    mixed = encoded + strength * (painted - encoded)
    return pyramid.resize(decode(params, mixed), shape)


def adaptive_instance_norm(
    features: Float[Array, "*batch h w c"], style: Moments
) -> Float[Array, "*batch h w c"]:
    """Features with the mean and the deviation of `style` in every channel; eq. 8 of the paper."""
    own = moments(features)
    # Blended paintings share their second moments, not their deviations.
    scale = deviation(style) / jnp.maximum(deviation(own), 1e-3)
    mean, target = (m[..., None, None, :] for m in (own.mean, style.mean))
    return (features - mean) * scale[..., None, None, :] + target


def decode(
    params: Params, features: Float[Array, "*batch h w 512"]
) -> Float[Array, "*batch 8*h 8*w 3"]:
    """Picture of which VGG19's relu4_1 are these features; not clipped."""
    x = features
    for name in DECODER_SHAPES:
        leaves = params["decoder"][name]
        x = conv3x3(x, leaves["kernel"], leaves["bias"], padding="reflect")
        if name != "conv9":
            x = jax.nn.relu(x)
        if name in _DOUBLED:
            x = x.repeat(2, axis=-3).repeat(2, axis=-2)
    return x


def _encode(params: Params, image: AnyArray) -> Array:
    return features(params, image, (_LAYER,), padding="reflect")[_LAYER]
