"""Initialization of a run: colors of the inputs, and the image of the first step."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from jaxstyle import pyramid
from jaxstyle.color import match_color, match_luminance
from jaxstyle.options import ColorMode, Init


@partial(jax.jit, static_argnames=("init", "color", "shape"))
def prepare(
    key: PRNGKeyArray,
    content: Float[Array, "_h _w 3"] | None,
    styles: tuple[Float[Array, "_hs _ws 3"], ...],
    blend: Float[Array, " styles"],
    start: Float[Array, "_h0 _w0 3"] | None,
    deviation: Float[Array, ""] | float,
    *,
    init: Init,
    color: ColorMode,
    shape: tuple[int, int],
) -> tuple[Array | None, tuple[Array, ...], Float[Array, "h w 3"]]:
    """Convert the inputs to the colors that the run works in, and make its first image.

    Args:
      key: random key of the noise.
      content: content image, or `None`.
      styles: style images.
      blend: weight of each style image, used by `init="statistics"`.
      start: image to start from; overrides `init`.
      deviation: standard deviation of the noise on a start from the content image.
      init: where to start. `adain` acts as `content`; the caller applies AdaIN afterwards.
      color: color mode of the result.
      shape: height and width of the first level.

    Returns:
      The content image, the style images, and the image of the first step.
    """
    if content is not None and color == "luminance":
        styles = tuple(match_luminance(style, content) for style in styles)
        content = match_luminance(content, content)
    if content is not None and color == "match":
        styles = tuple(match_color(style, content) for style in styles)
    if start is not None:
        start = match_luminance(start, start) if color == "luminance" else start
        return content, styles, pyramid.resize(start, shape)
    if init in ("content", "adain") and content is not None:
        image = pyramid.resize(content, shape)
        return content, styles, pyramid.add_noise(key, image, deviation)
    dtype = jnp.float32 if content is None else content.dtype
    dtype = styles[0].dtype if styles else dtype
    if init == "gray":
        return content, styles, jnp.full((*shape, 3), 0.5, dtype)
    mean, spread = jnp.full(3, 0.5, dtype), jnp.full(3, 0.25, dtype)
    if init == "statistics" and styles:
        weights = blend.astype(dtype)
        mean = sum(w * style.mean(axis=(0, 1)) for w, style in zip(weights, styles, strict=True))
        # sqrt has infinite slope at 0.
        spread = sum(
            w * jnp.sqrt(jnp.maximum(style.var(axis=(0, 1)), 1e-12))
            for w, style in zip(weights, styles, strict=True)
        )
    # A truncated normal: clipping to [0, 1] instead would add black and white specks.
    spread = jnp.maximum(spread, 1e-3)
    low, high = -mean / spread, (1 - mean) / spread
    noise = jax.random.truncated_normal(key, low, high, (*shape, 3), dtype)
    return content, styles, jnp.clip(mean + spread * noise, 0, 1)
