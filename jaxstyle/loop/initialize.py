"""Before the first step: content and styles in the colors to work in, and where to start."""

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
    """Content and styles in the colors to work in, and the picture to start from.

    Args:
      key: source of the noise.
      content: the photograph.
      styles: the paintings.
      blend: weight of each style, for a start from their `statistics`.
      start: picture to start from, whatever `init` says.
      deviation: of the noise on a start from the photograph.
      init: where to start; `adain` as `content`, for the pass to come.
      color: whose colors the result has.
      shape: height and width of the first level.
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
    if init == "gray":
        return content, styles, jnp.full((*shape, 3), 0.5)
    mean, spread = jnp.full(3, 0.5), jnp.full(3, 0.25)
    if init == "statistics" and styles:
        mean = sum(w * style.mean(axis=(0, 1)) for w, style in zip(blend, styles, strict=True))
        spread = sum(w * style.std(axis=(0, 1)) for w, style in zip(blend, styles, strict=True))
    # Normal noise that would leave [0, 1] is drawn anew, not clipped, which would leave
    # black and white specks.
    spread = jnp.maximum(spread, 1e-3)
    low, high = -mean / spread, (1 - mean) / spread
    noise = jax.random.truncated_normal(key, low, high, (*shape, 3))
    return content, styles, jnp.clip(mean + spread * noise, 0, 1)
