"""The ways to make a result: `stylize`, `stylize_batch`, textures, reconstructions, previews.

All but `preview` run the same loop, `jaxstyle.loop.driver`, with or without a content image and
style images.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from operator import itemgetter
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Float, PRNGKeyArray, Shaped

from jaxstyle.color import with_chroma
from jaxstyle.config import Layers, StyleConfig, is_traced
from jaxstyle.loop.driver import Callback, Progress, Result, TransferInputs, run_transfer
from jaxstyle.loop.initialize import prepare
from jaxstyle.loop.programs import apply_adain
from jaxstyle.objective import Previous, blend_weights
from jaxstyle.options import check_option
from jaxstyle.pyramid import fit_shape, resize, style_shapes
from jaxstyle.types import AnyArray, Params
from jaxstyle.vgg19 import limit_filters

StyleImage = Float[AnyArray, "_hs _ws 3"]
Styles = StyleImage | Sequence[StyleImage]
"""A style image, or several to blend."""


def stylize(
    params: Params,
    content: Float[AnyArray, "_h _w 3"],
    styles: Styles,
    config: StyleConfig | None = None,
    key: PRNGKeyArray | None = None,
    callback: Callback | None = None,
    *,
    callback_steps: Collection[int] = (),
    start: Float[AnyArray, "_h0 _w0 3"] | None = None,
    masks: Float[AnyArray, "styles _hm _wm"] | None = None,
    previous: Previous | None = None,
    resume: Progress | None = None,
    sharding: NamedSharding | None = None,
) -> Result:
    """Repaint a content image in the style of style images.

    Without `callback` it is a pure function: `jax.jit(stylize, static_argnames="config")`
    compiles all levels into one program. Without `jit`, each level is compiled once, also for
    other weights and learning rates.

    Args:
      params: weights from `load_weights`.
      content: content image, RGB in [0, 1]; resampled to a long edge of `config.size`.
      styles: one style image, or several of any sizes.
      config: configuration; `StyleConfig()` by default.
      key: random key of the noise; made from `config.seed` by default.
      callback: called with `Progress` between chunks of steps; stops the run by returning true.
      callback_steps: numbers of steps after which `callback` is called in any case. By itself, a
        chunk has up to 32 steps and takes about 3 seconds. The result is the same.
      start: image to start from, which overrides `config.init`; resampled to the first level.
      masks: one mask per style image, see `make_targets`.
      previous: what the frames before of a video show, at any size; for the temporal loss.
      resume: progress of an earlier run with the same arguments. The run continues from there
        and ends at the same result.
      sharding: sharding of the rows of the image over devices, e.g.
        `NamedSharding(mesh, P("rows"))`, for images that are too large for one. The image is
        computed at a height that is a multiple of 16 rows per device, and resized at the end.
        The devices may be those of several processes, which then all call this with the same
        arguments; the callback is called in each, and the run stops if one of them returns true.

    Returns:
      The result, and the loss at each step.

    Raises:
      ValueError: arguments do not fit each other, the result is too small for its layers, or
        `config.stop` is not 0 where the loss is traced.

    Example:
      >>> import jax.numpy as jnp
      >>> import jaxstyle
      >>> params = jaxstyle.load_weights()
      >>> content = jnp.linspace(0, 1, 24 * 32 * 3).reshape(24, 32, 3)
      >>> style = jnp.full((16, 16, 3), 0.5)
      >>> config = jaxstyle.StyleConfig(
      ...     size=16, steps=(2,), style_layers=("relu1_1",), content_layers=("relu2_1",)
      ... )
      >>> result = jaxstyle.stylize(params, content, style, config)
      >>> result.image.shape, result.trace.loss.shape
      ((12, 16, 3), (2,))
    """
    if sharding is not None and _has_explicit_axes(sharding):
        mesh = _automatic_mesh(sharding)
        sharding = NamedSharding(mesh, sharding.spec)
        options = {"start": start, "masks": masks, "resume": resume, "sharding": sharding}
        options |= {"callback_steps": callback_steps, "previous": previous}
        with jax.set_mesh(mesh):
            return stylize(params, content, styles, config, key, callback, **options)
    config = config or StyleConfig()
    item = TransferInputs(content, _as_tuple(styles), config, key, start, masks, previous)
    shape = content.shape[:2]
    return run_transfer(
        params,
        [item],
        callback,
        shape=shape,
        callback_steps=callback_steps,
        resume=resume,
        sharding=sharding,
    )


def stylize_batch(
    params: Params,
    contents: Float[AnyArray, "n _h _w 3"],
    styles: Styles | Sequence[Styles] | Float[AnyArray, "n _hs _ws 3"],
    config: StyleConfig | Sequence[StyleConfig] | None = None,
    keys: Shaped[PRNGKeyArray, " n"] | None = None,
    callback: Callback | None = None,
    *,
    callback_steps: Collection[int] = (),
    starts: Float[AnyArray, "n _h0 _w0 3"] | None = None,
    masks: Float[AnyArray, "n styles _hm _wm"] | None = None,
    previous: Previous | None = None,
    sharding: NamedSharding | None = None,
) -> Result:
    """Repaint several content images at once, in one program under `vmap`.

    Each result equals that of `stylize` up to rounding, because the compiler orders the sums of
    a batch differently. Adam's first step at each level follows the sign of the gradient, so a
    value whose gradient is within rounding of 0 may move the other way. An image whose loss is
    not finite stops alone, at its last finite state. For all pairs of contents and styles,
    repeat the contents and tile the styles.

    Args:
      params: weights from `load_weights`.
      contents: content images of one shape, RGB in [0, 1].
      styles: one style image for all; or a sequence, or an array with a leading axis, of one
        entry per content image. An entry may be several style images, to blend. The statistics
        of a style image that occurs several times are computed once.
      config: one configuration for all, or one per content image. They must share a compiled
        program, that is, differ only in weights, rates, starts and seeds.
      keys: random keys of the noise; made from `config.seed` by default, as in `stylize`.
      callback: as for `stylize`, with a leading axis of images.
      callback_steps: as for `stylize`.
      starts: images to start from, which override `config.init`.
      masks: one mask per style image, for each content image.
      previous: as for `stylize`, with a leading axis of images.
      sharding: sharding of the images over devices, e.g. `NamedSharding(mesh, P("batch"))`, and
        of their rows as in `stylize`, e.g. `P("batch", "rows")`. The number of images must be a
        multiple of the number of devices that they are split over. Devices of several processes
        are used as in `stylize`; every process gets all results.

    Returns:
      The results and their losses, with a leading axis of images.

    Raises:
      ValueError: arguments do not fit each other, or the results are too small for their layers.

    Example:
      >>> import jax.numpy as jnp
      >>> import jaxstyle
      >>> params = jaxstyle.load_weights()
      >>> contents = jnp.linspace(0, 1, 2 * 16 * 16 * 3).reshape(2, 16, 16, 3)
      >>> style = jnp.full((16, 16, 3), 0.5)
      >>> config = jaxstyle.StyleConfig(
      ...     size=16, steps=(2,), style_layers=("relu1_1",), content_layers=("relu2_1",)
      ... )
      >>> jaxstyle.stylize_batch(params, contents, style, config).image.shape
      (2, 16, 16, 3)
    """
    explicit = _has_explicit_axes(jax.typeof(contents).sharding)
    if sharding is None and explicit:
        raise ValueError(
            "`contents` is sharded over explicit mesh axes; pass `sharding` to stylize it on them."
        )
    if sharding is not None and _has_explicit_axes(sharding) and not is_traced(contents):
        mesh = _automatic_mesh(sharding)
        images = NamedSharding(mesh, PartitionSpec(sharding.spec[0]))
        sharding = NamedSharding(mesh, sharding.spec)
        with jax.set_mesh(mesh):
            placed = jax.device_put((contents, keys, starts, masks, previous), images)
            contents, keys, starts, masks, previous = placed
            options = {"starts": starts, "masks": masks, "previous": previous}
            options |= {"sharding": sharding}
            options |= {"callback_steps": callback_steps}
            return stylize_batch(params, contents, styles, config, keys, callback, **options)
    n = contents.shape[0]
    configs = [config] if config is None or isinstance(config, StyleConfig) else list(config)
    # An array of three axes is one style image; of four, one style image per content image.
    entries: list[Any] = [styles] if getattr(styles, "ndim", 0) == 3 else list(styles)
    for name, items in (("styles", entries), ("config", configs)):
        if len(items) not in (1, n):
            raise ValueError(
                f"`{name}` has {len(items)} entries for {n} content images; give 1 or {n}."
            )
    inputs = [
        TransferInputs(
            content=contents[i],
            styles=_as_tuple(entries[i % len(entries)]),
            config=configs[i % len(configs)] or StyleConfig(),
            key=None if keys is None else keys[i],
            start=None if starts is None else starts[i],
            masks=None if masks is None else masks[i],
            previous=jax.tree.map(itemgetter(i), previous),
        )
        for i in range(n)
    ]
    shape = contents.shape[1:3]
    return run_transfer(
        params,
        inputs,
        callback,
        shape=shape,
        callback_steps=callback_steps,
        batched=True,
        sharding=sharding,
    )


def _has_explicit_axes(sharding: NamedSharding) -> bool:
    """Return whether an array with this sharding is split over explicit mesh axes."""
    axes = {axis for entry in sharding.spec if entry for axis in np.atleast_1d(entry)}
    types = zip(sharding.mesh.axis_names, sharding.mesh.axis_types, strict=True)
    return any(name in axes and kind == AxisType.Explicit for name, kind in types)


def _automatic_mesh(sharding: NamedSharding) -> Mesh:
    # With explicit mesh axes, every intermediate array would need its own sharding.
    axes = (AxisType.Auto,) * len(sharding.mesh.axis_names)
    return Mesh(np.asarray(sharding.mesh.devices), sharding.mesh.axis_names, axis_types=axes)


def _as_tuple(styles: Styles) -> tuple[AnyArray, ...]:
    return tuple(styles) if isinstance(styles, Sequence) else (styles,)


def synthesize_texture(
    params: Params,
    styles: Styles,
    config: StyleConfig | None = None,
    key: PRNGKeyArray | None = None,
    callback: Callback | None = None,
    *,
    callback_steps: Collection[int] = (),
    shape: Sequence[int] | None = None,
) -> Result:
    """Make a texture with the statistics of style images, without a content image.

    Gatys et al. (2015), "Texture Synthesis Using Convolutional Neural Networks".

    Args:
      params: weights from `load_weights`.
      styles: one style image, or several.
      config: configuration. A start from the content image is replaced by `statistics`.
      key: random key of the noise; made from `config.seed` by default.
      callback: as for `stylize`.
      callback_steps: as for `stylize`.
      shape: height and width of the texture, in proportion; a square by default.

    Returns:
      The texture, and the loss at each step.

    Example:
      >>> import jax.numpy as jnp
      >>> import jaxstyle
      >>> params = jaxstyle.load_weights()
      >>> config = jaxstyle.StyleConfig(size=32, steps=(2,), style_layers=("relu1_1",))
      >>> style = jnp.full((16, 16, 3), 0.5)
      >>> jaxstyle.synthesize_texture(params, style, config, shape=(1, 2)).image.shape
      (16, 32, 3)
    """
    config = texture_config(config or StyleConfig())
    item = TransferInputs(None, _as_tuple(styles), config, key)
    shape = shape or (1, 1)
    return run_transfer(params, [item], callback, shape=shape, callback_steps=callback_steps)


def texture_config(config: StyleConfig) -> StyleConfig:
    """Return the configuration of `synthesize_texture`: `config` without its content terms."""
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
    callback_steps: Collection[int] = (),
    of: Literal["content", "style"] = "content",
) -> Result:
    """Reconstruct an image from its features, or from their statistics, at some layers.

    This is Gatys et al. (2016), figure 1, with one content layer, or with the first n style
    layers. The run starts from noise.

    Args:
      params: weights from `load_weights`.
      image: RGB in [0, 1].
      layers: layers to match, optionally with weights, as in `StyleConfig`.
      config: all other options. By default there is no total variation, which would add what
        the layers do not contain.
      key: random key of the noise; made from `config.seed` by default.
      callback: as for `stylize`.
      callback_steps: as for `stylize`.
      of: `content` matches features, `style` matches their statistics by `config.style_loss`.

    Returns:
      The reconstruction, and the loss at each step.

    Raises:
      ValueError: `layers` is empty, or `of` has another value.

    Example:
      >>> import jax.numpy as jnp
      >>> import jaxstyle
      >>> params = jaxstyle.load_weights()
      >>> image = jnp.linspace(0, 1, 16 * 16 * 3).reshape(16, 16, 3)
      >>> config = jaxstyle.StyleConfig(size=16, steps=(30,), tv_weight=0)
      >>> trace = jaxstyle.reconstruct(params, image, ("relu1_1",), config).trace
      >>> bool(trace.loss[-1] < 0.2 * trace.loss[0])
      True
    """
    config = config or StyleConfig(tv_weight=0, learning_rate=0.02)
    config = reconstruction_config(config, layers, of=of)
    content, styles = (image, ()) if of == "content" else (None, (image,))
    item = TransferInputs(content, styles, config, key)
    shape = image.shape[:2]
    return run_transfer(params, [item], callback, shape=shape, callback_steps=callback_steps)


def reconstruction_config(
    config: StyleConfig, layers: Layers, *, of: Literal["content", "style"] = "content"
) -> StyleConfig:
    """Return the configuration of `reconstruct`: `config` with these layers and no others.

    Raises:
      ValueError: `layers` is empty, or `of` has another value.
    """
    check_option("of", of, Literal["content", "style"])
    init = "noise" if config.init in ("content", "adain") else config.init
    content, style = (layers, ()) if of == "content" else ((), layers)
    terms = {"content_layers": content, "style_layers": style, "laplacian_weight": 0}
    config = replace(config, **terms, init=init, color="style")
    if not (config.weights.content or config.weights.style):
        raise ValueError("`layers` is empty; name at least one layer to reconstruct from.")
    return config


def preview(
    params: Params,
    content: Float[AnyArray, "_h _w 3"],
    styles: Styles,
    config: StyleConfig | None = None,
    *,
    strength: float | Float[Array, ""] = 1.0,
) -> Float[Array, "h w 3"]:
    """Approximate the result of `stylize` in one forward pass, by AdaIN.

    Args:
      params: weights from `load_weights(decoder=True)`.
      content: content image, RGB in [0, 1]; resampled to a long edge of `config.size`.
      styles: one style image, or several of any sizes.
      config: configuration, of which `size`, `blend`, `style_scale`, `color` and
        `filter_limit` are used.
      strength: 0 keeps the statistics of the content image, 1 takes those of the style.

    Returns:
      RGB in [0, 1].

    Raises:
      ValueError: arguments do not fit each other, or `params` has no decoder.

    Example:
      >>> import jax.numpy as jnp
      >>> import jaxstyle
      >>> params = jaxstyle.load_weights(decoder=True)
      >>> content, style = jnp.full((24, 32, 3), 0.2), jnp.full((16, 16, 3), 0.8)
      >>> config = jaxstyle.StyleConfig(size=32)
      >>> image = jaxstyle.preview(params, content, style, config)
      >>> image.shape, bool(image.mean() > 0.5)
      ((24, 32, 3), True)
    """
    config = replace(config or StyleConfig(), init="adain")
    images = _as_tuple(styles)
    shape = fit_shape(content.shape[:2], config.size)
    blend = blend_weights(config, len(images))
    static = {"init": "content", "color": config.color, "shape": shape}
    prepared, images, _ = prepare(jax.random.key(0), content, images, blend, None, 0.0, **static)
    sizes = style_shapes(images, shape, config)
    params = limit_filters(params, config.filter_limit) if config.filter_limit else params
    image = apply_adain(params, prepared, images, blend, strength, shape=shape, sizes=sizes)
    if config.color == "luminance":
        return with_chroma(image, resize(jnp.asarray(content), shape))
    return image
