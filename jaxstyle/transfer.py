"""The ways to make a picture, from `stylize` to `preview`.

All but `preview` are one loop, `jaxstyle.paint`, with or without content, with or without style.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jaxtyping import Array, Float, PRNGKeyArray, Shaped

from jaxstyle.color import with_chroma
from jaxstyle.config import Layers, StyleConfig
from jaxstyle.loop.driver import Callback, Progress, Result, TransferInputs, paint
from jaxstyle.loop.initialize import prepare
from jaxstyle.loop.programs import apply_adain
from jaxstyle.objective import blend_weights
from jaxstyle.options import check_option
from jaxstyle.pyramid import fit_shape, resize, style_shapes
from jaxstyle.types import AnyArray, Params

Painting = Float[AnyArray, "_hs _ws 3"]
Styles = Painting | Sequence[Painting]
"""A painting, or several to be blended."""


def stylize(
    params: Params,
    content: Float[AnyArray, "_h _w 3"],
    styles: Styles,
    config: StyleConfig | None = None,
    key: PRNGKeyArray | None = None,
    callback: Callback | None = None,
    *,
    start: Float[AnyArray, "_h0 _w0 3"] | None = None,
    masks: Float[AnyArray, "styles _hm _wm"] | None = None,
    resume: Progress | None = None,
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
      resume: what the callback was told by an earlier run with the same arguments; the
        run goes on from there, to the same picture.

    Raises:
      ValueError: arguments do not fit each other, or the picture is too small for the layers.
    """
    subject = TransferInputs(content, _several(styles), config or StyleConfig(), key, start, masks)
    return paint(params, [subject], callback, shape=content.shape[:2], resume=resume)


def stylize_batch(
    params: Params,
    contents: Float[AnyArray, "n _h _w 3"],
    styles: Styles | Sequence[Styles] | Float[AnyArray, "n _hs _ws 3"],
    config: StyleConfig | Sequence[StyleConfig] | None = None,
    keys: Shaped[PRNGKeyArray, " n"] | None = None,
    callback: Callback | None = None,
    *,
    starts: Float[AnyArray, "n _h0 _w0 3"] | None = None,
    masks: Float[AnyArray, "n styles _hm _wm"] | None = None,
    sharding: NamedSharding | None = None,
) -> Result:
    """Many photographs painted at once, in one program mapped over them.

    Every picture is the one that `stylize` makes of its photograph alone, but for rounding:
    the compiler orders the sums of a batch differently. Adam's first step at a size goes by
    the gradient's sign, so that a rare value whose gradient is within rounding of 0 may go
    the other way. A picture that diverges
    stops alone, at its last good state. For every photograph in every style, repeat the
    photographs and tile the styles.

    Args:
      params: weights from `load_weights`.
      contents: photographs of one shape, RGB in [0, 1].
      styles: a painting for all; or a sequence, or array with a leading axis, of one
        for each photograph, where one may be several paintings, to be blended. A
        painting that comes several times is looked at once.
      config: options for all, or for each; they must be of one program, i.e. differ
        in weights, rates, starts and seeds alone.
      keys: sources of the noise; by default made of `config.seed`, as for single pictures.
      callback: as for `stylize`, with a leading axis of pictures.
      starts: pictures to start from, instead of `config.init`.
      masks: one per style of each photograph.
      sharding: how the pictures are laid over devices, e.g. `NamedSharding(mesh, P("batch"))`;
        their number must be a multiple of the devices'.

    Raises:
      ValueError: arguments do not fit each other, or the pictures are too small for the layers.
    """
    n = contents.shape[0]
    configs = [config] if config is None or isinstance(config, StyleConfig) else list(config)
    # A painting alone is an array of three axes; of four, it is one painting for each.
    entries: list[Any] = [styles] if getattr(styles, "ndim", 0) == 3 else list(styles)
    for name, items in (("styles", entries), ("config", configs)):
        if len(items) not in (1, n):
            raise ValueError(
                f"`{name}` has {len(items)} entries for {n} photographs; give 1 or {n}."
            )
    subjects = [
        TransferInputs(
            content=contents[i],
            styles=_several(entries[i % len(entries)]),
            config=configs[i % len(configs)] or StyleConfig(),
            key=None if keys is None else keys[i],
            start=None if starts is None else starts[i],
            masks=None if masks is None else masks[i],
        )
        for i in range(n)
    ]
    if sharding is not None:
        # Under a mesh of explicit axes every intermediate would need a sharding of its own.
        mesh = sharding.mesh
        axes = (AxisType.Auto,) * len(mesh.axis_names)
        mesh = Mesh(np.asarray(mesh.devices), mesh.axis_names, axis_types=axes)
        sharding = NamedSharding(mesh, sharding.spec)
    shape = contents.shape[1:3]
    return paint(params, subjects, callback, shape=shape, batched=True, sharding=sharding)


def _several(styles: Styles) -> tuple[AnyArray, ...]:
    return tuple(styles) if isinstance(styles, Sequence) else (styles,)


def synthesize_texture(
    params: Params,
    styles: Styles,
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
      config: all options. A start from the content has no meaning here and becomes `statistics`.
      key: source of the noise; by default made of `config.seed`.
      callback: as for `stylize`.
      shape: proportions of the texture, height and width; a square by default.
    """
    config = texture_config(config or StyleConfig())
    subject = TransferInputs(None, _several(styles), config, key)
    return paint(params, [subject], callback, shape=shape or (1, 1))


def texture_config(config: StyleConfig) -> StyleConfig:
    """The configuration that `synthesize_texture` makes of `config`: nothing of a photograph."""
    init = "statistics" if config.init in ("content", "adain") else config.init
    return replace(config, content_layers=(), laplacian_weight=0, init=init, color="style")


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
    """What `layers` know of `image`: the picture found from their features, or statistics.

    Gatys et al. (2016), figure 1, with one content layer, or with a prefix of the
    style layers. It starts from noise.

    Args:
      params: weights from `load_weights`.
      image: RGB in [0, 1].
      layers: the layers to read, with weights if wanted, as in `StyleConfig`.
      config: all other options; by default without total variation, which would add
        what the layers do not know, and with shorter steps, as noise leaves grain with longer.
      key: source of the noise; by default made of `config.seed`.
      callback: as for `stylize`.
      of: `content` for features, `style` for their statistics, by `config.style_loss`.
    """
    config = config or StyleConfig(tv_weight=0, learning_rate=0.02)
    config = reconstruction_config(config, layers, of=of)
    content, styles = (image, ()) if of == "content" else (None, (image,))
    subject = TransferInputs(content, styles, config, key)
    return paint(params, [subject], callback, shape=image.shape[:2])


def reconstruction_config(
    config: StyleConfig, layers: Layers, *, of: Literal["content", "style"] = "content"
) -> StyleConfig:
    """The configuration that `reconstruct` makes of `config`: these layers and no others.

    Raises:
      ValueError: no layers, or `of` is another word.
    """
    check_option("of", of, Literal["content", "style"])
    init = "noise" if config.init in ("content", "adain") else config.init
    content, style = (layers, ()) if of == "content" else ((), layers)
    layers = {"content_layers": content, "style_layers": style, "laplacian_weight": 0}
    config = replace(config, **layers, init=init, color="style")
    if not (config.weights.content or config.weights.style):
        raise ValueError("`layers` is empty; name at least one layer to read.")
    return config


def preview(
    params: Params,
    content: Float[AnyArray, "_h _w 3"],
    styles: Styles,
    config: StyleConfig | None = None,
    *,
    strength: float | Float[Array, ""] = 1.0,
) -> Float[Array, "h w 3"]:
    """A first look at what `stylize` may make, in one pass, in the time of a few steps: `adain`.

    Args:
      params: weights from `load_weights(decoder=True)`.
      content: photograph, RGB in [0, 1]; it is resampled to a long edge of `config.size`.
      styles: a painting or several, of any sizes.
      config: `size`, `blend`, `style_scale` and `color` are used.
      strength: from 0, where the photograph's own statistics stay, to 1.

    Raises:
      ValueError: arguments do not fit each other, or there is no decoder.
    """
    config = replace(config or StyleConfig(), init="adain")
    paintings = _several(styles)
    shape = fit_shape(content.shape[:2], config.size)
    blend = blend_weights(config, len(paintings))
    look = {"init": "content", "color": config.color, "shape": shape}
    seen, paintings, _ = prepare(jax.random.key(0), content, paintings, blend, None, 0.0, **look)
    sizes = style_shapes(paintings, shape, config)
    image = apply_adain(params, seen, paintings, blend, strength, shape=shape, sizes=sizes)
    if config.color == "luminance":
        return with_chroma(image, resize(jnp.asarray(content), shape))
    return image
