"""The loop from photograph and paintings to picture: levels, chunks of steps, progress.

Everything that computes is compiled: preparing, measuring targets, a chunk of steps,
moving to the next level, and the picture so far. The numbers of a configuration are
traced, so that a sweep over weights compiles once.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from jaxstyle import pyramid
from jaxstyle.color import match_color, match_luminance, with_chroma
from jaxstyle.config import LossSpec, Method, StyleConfig, Weights
from jaxstyle.objective import Targets, blend_weights, check_masks, measure, total_loss
from jaxstyle.optimize import Info, State, averaged, init, make_optimizer, run
from jaxstyle.options import ColorMode, Init
from jaxstyle.vgg19 import AnyArray, Params

# Steps between two calls of a callback: at most so many, in about so many seconds.
_CHUNK = 32
_CHUNK_SECONDS = 1.0


class Progress(NamedTuple):
    """What a callback is told between chunks of steps.

    Attributes:
      step: number of steps done, of `steps` in all.
      level: index of the level at work, of `levels` in all.
      loss: loss before the last step.
      image: the picture so far, at the level's size.
    """

    step: int
    steps: int
    level: int
    levels: int
    loss: float
    image: Float[Array, "h w 3"]


class Result(NamedTuple):
    """A picture and how it came about.

    Attributes:
      image: RGB in [0, 1].
      trace: loss and terms before every step, all levels in one row. `trace.finite`
        is false from the step on at which the descent failed; the image is then
        the last good one.
    """

    image: Float[Array, "h w 3"]
    trace: Info


Callback = Callable[[Progress], bool | None]


def paint(
    params: Params,
    content: AnyArray | None,
    styles: AnyArray | Sequence[AnyArray],
    config: StyleConfig,
    key: PRNGKeyArray | None,
    callback: Callback | None,
    *,
    shape: Sequence[int],
    start: AnyArray | None = None,
    masks: AnyArray | None = None,
) -> Result:
    """The one loop behind `stylize`, `synthesize_texture` and `reconstruct`."""
    key = jax.random.key(config.seed) if key is None else key
    styles = tuple(styles) if isinstance(styles, Sequence) else (styles,)
    blend = blend_weights(config, len(styles))
    check_masks(masks, len(styles))
    plan = pyramid.levels(shape, config)
    source, styles, image = _prepare(
        key,
        content,
        styles,
        blend,
        start,
        config.init_noise,
        init=config.init,
        color=config.color,
        shape=plan[0][0],
    )
    state = _first_state(image, config.average, method=config.method)
    picture = partial(_picture, content=content, decay=config.average, color=config.color)
    infos: list[Info] = []
    stopped = False
    for level, (size, count) in enumerate(plan):
        if stopped:
            break
        if level:
            state = _next_state(state, config.average, method=config.method, shape=size)
        style_shapes = tuple(pyramid.style_shape(s.shape[:2], size, config) for s in styles)
        targets = _targets(
            params, source, styles, blend, masks, spec=config.spec, shape=size, shapes=style_shapes
        )
        chunks = _descend(params, targets, state, config, count, whole=callback is None)
        for state, info in chunks:
            infos.append(info)
            if callback is None:
                continue
            step, loss = sum(len(info.loss) for info in infos), float(info.loss[-1])
            steps = sum(count for _, count in plan)
            progress = Progress(step, steps, level, len(plan), loss, picture(state))
            stopped = bool(callback(progress)) or not state.finite
            if stopped:
                break
    trace = jax.tree.map(lambda *rows: jnp.concatenate(rows), *infos)
    return Result(picture(state, shape=plan[-1][0]), trace)


def _descend(
    params: Params,
    targets: Targets,
    state: State,
    config: StyleConfig,
    steps: int,
    whole: bool,
) -> Iterator[tuple[State, Info]]:
    """State and report after each chunk of a level's steps; one chunk if `whole`."""
    advance = partial(_advance, method=config.method, length=steps if whole else _CHUNK)
    done, chunk = 0, steps if whole else 1
    while done < steps:
        began = time.perf_counter()
        n = min(chunk, steps - done)
        # As one piece the number of steps is static, and the run differentiable.
        count = None if whole else n
        state, info = advance(
            params, targets, config.weights, state, config.learning_rate, config.average, count
        )
        done += n
        if not whole:
            # As NumPy: every length of a slice on the device would be one more program.
            info = jax.tree.map(lambda rows, n=n: np.asarray(rows)[:n], info)
        yield state, info
        # The caller has waited for the chunk if there is another.
        pace = _CHUNK_SECONDS / (time.perf_counter() - began)
        chunk = max(1, min(_CHUNK, round(n * pace)))


def _optimizer(
    method: Method, learning_rate: float | Array
) -> optax.GradientTransformationExtraArgs:
    return make_optimizer(method.optimizer, learning_rate, line_search=method.line_search)


@partial(jax.jit, static_argnames=("method", "length"))
def _advance(
    params: Params,
    targets: Targets,
    weights: Weights,
    state: State,
    learning_rate: Array,
    decay: Array,
    steps: Array | None,
    *,
    method: Method,
    length: int,
) -> tuple[State, Info]:
    return run(
        lambda image: total_loss(params, image, targets, weights),
        _optimizer(method, learning_rate),
        state,
        length if steps is None else steps,
        length=length,
        decay=decay,
        clamp=method.clamp,
    )


@partial(jax.jit, static_argnames=("init", "color", "shape"))
def _prepare(
    key: PRNGKeyArray,
    content: Array | None,
    styles: tuple[Array, ...],
    blend: Array,
    start: Array | None,
    init_noise: Array,
    *,
    init: Init,
    color: ColorMode,
    shape: tuple[int, int],
) -> tuple[Array | None, tuple[Array, ...], Array]:
    """Content and styles in the colors to work in, and the picture to start from."""
    if content is not None and color == "luminance":
        styles = tuple(match_luminance(style, content) for style in styles)
        content = match_luminance(content, content)
    if content is not None and color == "match":
        styles = tuple(match_color(style, content) for style in styles)
    if start is not None:
        start = match_luminance(start, start) if color == "luminance" else start
        return content, styles, pyramid.resize(start, shape)
    if init == "content" and content is not None:
        image = pyramid.resize(content, shape)
        image += init_noise * jax.random.normal(key, image.shape)
        return content, styles, jnp.clip(image, 0, 1)
    if init == "gray":
        return content, styles, jnp.full((*shape, 3), 0.5)
    mean, deviation = jnp.full(3, 0.5), jnp.full(3, 0.25)
    if init == "statistics" and styles:
        mean = sum(w * style.mean(axis=(0, 1)) for w, style in zip(blend, styles, strict=True))
        deviation = sum(w * style.std(axis=(0, 1)) for w, style in zip(blend, styles, strict=True))
    # Normal noise that would leave [0, 1] is drawn anew, not clipped, which would leave
    # black and white specks.
    deviation = jnp.maximum(deviation, 1e-3)
    low, high = -mean / deviation, (1 - mean) / deviation
    noise = jax.random.truncated_normal(key, low, high, (*shape, 3))
    return content, styles, jnp.clip(mean + deviation * noise, 0, 1)


@partial(jax.jit, static_argnames=("spec", "shape", "shapes"))
def _targets(
    params: Params,
    content: Array | None,
    styles: tuple[Array, ...],
    blend: Array,
    masks: Array | None,
    *,
    spec: LossSpec,
    shape: tuple[int, int],
    shapes: tuple[tuple[int, int], ...],
) -> Targets:
    content = None if content is None else pyramid.resize(content, shape)
    styles = tuple(pyramid.resize(s, size) for s, size in zip(styles, shapes, strict=True))
    return measure(params, content, styles, blend, masks, spec)


@partial(jax.jit, static_argnames="method")
def _first_state(image: Array, decay: Array, *, method: Method) -> State:
    return init(image, _optimizer(method, 1.0), decay=decay)


@partial(jax.jit, static_argnames=("method", "shape"))
def _next_state(state: State, decay: Array, *, method: Method, shape: tuple[int, int]) -> State:
    return pyramid.carry(state, shape, _optimizer(method, 1.0), decay=decay)


@partial(jax.jit, static_argnames=("color", "shape"))
def _picture(
    state: State,
    *,
    content: Array | None,
    decay: Array,
    color: ColorMode,
    shape: tuple[int, int] | None = None,
) -> Array:
    """The picture so far, in its final colors, at its own size or at `shape`."""
    image = pyramid.resize(averaged(state, decay=decay), shape or state.image.shape[:2])
    if color == "luminance" and content is not None:
        return with_chroma(image, pyramid.resize(content, image.shape[:2]))
    return image
