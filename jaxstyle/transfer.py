"""The ways to make a picture: `stylize`, `synthesize_texture`, `reconstruct`.

All are one loop, `jaxstyle.paint`, with or without content, with or without style.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from jaxtyping import Float, PRNGKeyArray

from jaxstyle.config import Layers, StyleConfig
from jaxstyle.options import check_option
from jaxstyle.paint import Callback, Result, paint
from jaxstyle.vgg19 import AnyArray, Params


def stylize(
    params: Params,
    content: Float[AnyArray, "_h _w 3"],
    styles: Float[AnyArray, "_hs _ws 3"] | Sequence[Float[AnyArray, "_hs _ws 3"]],
    config: StyleConfig | None = None,
    key: PRNGKeyArray | None = None,
    callback: Callback | None = None,
    *,
    start: Float[AnyArray, "_h0 _w0 3"] | None = None,
    masks: Float[AnyArray, "styles _hm _wm"] | None = None,
) -> Result:
    """The photograph `content` painted in the style of `styles`.

    Without `callback` it is a pure function: `jax.jit(stylize, static_argnames="config")`
    compiles all levels into one program. Called plainly it compiles each level once, also
    for other weights and rates.

    Args:
      params: weights from `load_weights`.
      content: photograph, RGB in [0, 1]; it is resampled to a long edge of `config.size`.
      styles: a painting or several, of any sizes.
      config: all options; `StyleConfig()` if not given.
      key: source of the noise; by default made of `config.seed`.
      callback: called with `Progress` between chunks of steps; stops the run by
        returning true.
      start: picture to start from, instead of `config.init`; it is resampled to the coarsest level.
      masks: one per style, see `make_targets`.

    Raises:
      ValueError: arguments do not fit each other, or the picture is too small for the layers.
    """
    return paint(
        params,
        content,
        styles,
        config or StyleConfig(),
        key,
        callback,
        shape=content.shape[:2],
        start=start,
        masks=masks,
    )


def synthesize_texture(
    params: Params,
    styles: Float[AnyArray, "_hs _ws 3"] | Sequence[Float[AnyArray, "_hs _ws 3"]],
    config: StyleConfig | None = None,
    key: PRNGKeyArray | None = None,
    callback: Callback | None = None,
    *,
    shape: Sequence[int] | None = None,
) -> Result:
    """A texture with the statistics of `styles` and no content: Gatys et al. (2015a).

    Args:
      params: weights from `load_weights`.
      styles: a painting or several.
      config: all options. A start from `content` has no meaning here and becomes `statistics`.
      key: source of the noise; by default made of `config.seed`.
      callback: as for `stylize`.
      shape: proportions of the texture, height and width; a square by default.
    """
    config = texture_config(config or StyleConfig())
    return paint(params, None, styles, config, key, callback, shape=shape or (1, 1))


def texture_config(config: StyleConfig) -> StyleConfig:
    """The configuration that `synthesize_texture` makes of `config`: nothing of a photograph."""
    init = "statistics" if config.init == "content" else config.init
    return replace(config, content_layers=(), init=init, color="style")


def reconstruct(
    params: Params,
    image: Float[AnyArray, "_h _w 3"],
    layers: Layers,
    config: StyleConfig | None = None,
    key: PRNGKeyArray | None = None,
    callback: Callback | None = None,
    *,
    of: Literal["content", "style"] = "content",
) -> Result:
    """What `layers` know of `image`: the picture found from their features, or Gram matrices.

    Gatys et al. (2016), figure 1, with one content layer, or with a prefix of the
    style layers. It starts from noise.

    Args:
      params: weights from `load_weights`.
      image: RGB in [0, 1].
      layers: the layers to read, with weights if wanted, as in `StyleConfig`.
      config: all other options; by default without total variation, which would add
        what the layers do not know.
      key: source of the noise; by default made of `config.seed`.
      callback: as for `stylize`.
      of: `content` for features, `style` for Gram matrices.
    """
    config = reconstruction_config(config or StyleConfig(tv_weight=0), layers, of=of)
    content, styles = (image, ()) if of == "content" else (None, image)
    return paint(params, content, styles, config, key, callback, shape=image.shape[:2])


def reconstruction_config(
    config: StyleConfig, layers: Layers, *, of: Literal["content", "style"] = "content"
) -> StyleConfig:
    """The configuration that `reconstruct` makes of `config`: these layers and no others.

    Raises:
      ValueError: no layers, or `of` is another word.
    """
    check_option("of", of, Literal["content", "style"])
    init = "noise" if config.init == "content" else config.init
    content, style = (layers, ()) if of == "content" else ((), layers)
    config = replace(config, content_layers=content, style_layers=style, init=init, color="style")
    if not (config.weights.content or config.weights.style):
        raise ValueError("`layers` is empty; name at least one layer to read.")
    return config
