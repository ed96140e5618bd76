"""The compiled programs of a run: measuring, descending, moving between levels, looking.

Shapes, layers, optimizer and the longest chunk are static; all numbers are traced. With
`batched` a program is mapped over a leading axis of pictures.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import optax
from jaxtyping import Array, PRNGKeyArray

from jaxstyle import objective, pyramid
from jaxstyle.adain import adain
from jaxstyle.color import with_chroma
from jaxstyle.config import LossSpec, OptimizerSpec, StyleConfig, Weights
from jaxstyle.objective import StyleStatistics, Targets, compute_style_statistics, total_loss
from jaxstyle.optimize import Info, State, averaged, init, make_optimizer, run
from jaxstyle.options import ColorMode, layers_of
from jaxstyle.types import AnyArray, Params
from jaxstyle.vgg19 import transform_kernels


class Hyperparams(NamedTuple):
    """The numbers of a configuration that the loop needs: traced, never static."""

    weights: Weights
    learning_rate: float
    average: float
    noise: float
    detail: float

    @classmethod
    def of(cls, config: StyleConfig, start: AnyArray | None = None) -> "Hyperparams":
        """The numbers of `config`; only a start from the photograph gets more of its detail."""
        detail = float(start is None and config.init in ("content", "adain"))
        return cls(config.weights, config.learning_rate, config.average, config.noise, detail)


def transform_weights(params: Params, *, spec: LossSpec) -> Params:
    """Weights in the form that is fastest in the loop."""
    if spec.dtype != "float32":
        return params
    layers = layers_of(spec.content_layers + spec.style_layers)
    return transform_kernels(params, layers, spec.conv)


def _optimizer(
    method: OptimizerSpec, learning_rate: float | Array
) -> optax.GradientTransformationExtraArgs:
    return make_optimizer(method.optimizer, learning_rate, line_search=method.line_search)


def _over(batched: bool, function: Callable[..., Any]) -> Callable[..., Any]:
    return jax.vmap(function) if batched else function


@partial(jax.jit, static_argnames=("method", "length", "batched"))
def run_steps(
    params: Params,
    targets: Targets,
    rates: Hyperparams,
    state: State,
    steps: Array | None,
    *,
    method: OptimizerSpec,
    length: int,
    batched: bool,
) -> tuple[State, Info]:
    """State after a chunk of steps, and what each reported; `length` steps if `steps` is `None`."""

    def descend(targets: Targets, rates: Hyperparams, state: State) -> tuple[State, Info]:
        return run(
            lambda image: total_loss(params, image, targets, rates.weights),
            _optimizer(method, rates.learning_rate),
            state,
            length if steps is None else steps,
            length=length,
            decay=rates.average,
            clamp=method.clamp,
        )

    return _over(batched, descend)(targets, rates, state)


@partial(jax.jit, static_argnames=("shape", "sizes"))
def apply_adain(
    params: Params,
    content: Array,
    styles: tuple[Array, ...],
    blend: Array,
    strength: float | Array = 1.0,
    *,
    shape: tuple[int, int],
    sizes: tuple[tuple[int, int], ...],
) -> Array:
    """`adain` of a photograph at the size `shape`, of paintings at `sizes`."""
    content = pyramid.resize(content, shape)
    styles = tuple(pyramid.resize(s, size) for s, size in zip(styles, sizes, strict=True))
    return adain(params, content, styles, blend=blend, strength=strength)


@partial(jax.jit, static_argnames=("spec", "shape"))
def compute_style(
    params: Params, style: Array, *, spec: LossSpec, shape: tuple[int, int]
) -> StyleStatistics:
    """`compute_style_statistics` of a painting at the size `shape`."""
    return compute_style_statistics(params, pyramid.resize(style, shape), spec)


@partial(jax.jit, static_argnames=("spec", "shape"))
def build_targets(
    params: Params,
    content: Array | None,
    styles: tuple[StyleStatistics, ...],
    blend: Array,
    masks: Array | None,
    *,
    spec: LossSpec,
    shape: tuple[int, int],
) -> Targets:
    """`measure` of a photograph at the size `shape`."""
    content = None if content is None else pyramid.resize(content, shape)
    return objective.build_targets(params, content, styles, blend, masks, spec)


@partial(jax.jit, static_argnames=("method", "batched"))
def init_state(image: Array, rates: Hyperparams, *, method: OptimizerSpec, batched: bool) -> State:
    """State before the first step."""

    def first(image: Array, rates: Hyperparams) -> State:
        return init(image, _optimizer(method, rates.learning_rate), decay=rates.average)

    return _over(batched, first)(image, rates)


@partial(jax.jit, static_argnames=("coarse", "shape"))
def extract_detail(image: Array, *, coarse: tuple[int, int], shape: tuple[int, int]) -> Array:
    """`pyramid.detail`."""
    return pyramid.detail(image, coarse, shape)


@partial(jax.jit, static_argnames=("method", "shape", "batched"))
def enlarge_state(
    keys: Array,
    state: State,
    rates: Hyperparams,
    detail: Array | None,
    *,
    method: OptimizerSpec,
    shape: tuple[int, int],
    batched: bool,
) -> State:
    """State at the start of the next level, of the size `shape`."""

    def carried(key: PRNGKeyArray, state: State, rates: Hyperparams, detail: Array | None) -> State:
        return pyramid.carry(
            state,
            shape,
            _optimizer(method, rates.learning_rate),
            key=key,
            detail=0.0 if detail is None else rates.detail * detail,
            noise=rates.noise,
            decay=rates.average,
            moments=method.carry == "moments",
        )

    return _over(batched, carried)(keys, state, rates, detail)


@partial(jax.jit, static_argnames=("color", "shape", "batched"))
def render_image(
    state: State,
    *,
    content: Array | None,
    decay: Array,
    color: ColorMode,
    batched: bool,
    shape: tuple[int, int] | None = None,
) -> Array:
    """The picture so far, in its final colors, at its own size or at `shape`."""

    def picture(state: State, content: Array | None, decay: Array) -> Array:
        image = pyramid.resize(averaged(state, decay=decay), shape or state.image.shape[:2])
        if color == "luminance" and content is not None:
            return with_chroma(image, pyramid.resize(content, image.shape[:2]))
        return image

    return _over(batched, picture)(state, content, decay)
