"""Compiled programs of a run: targets, steps, the move to the next level, the current image.

Shapes, layers, the optimizer and the maximum chunk length are static. All numbers are traced.
With `batched`, a program is mapped over a leading axis of images.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PRNGKeyArray

from jaxstyle import objective, pyramid
from jaxstyle.adain import adain
from jaxstyle.color import with_chroma
from jaxstyle.config import StyleConfig
from jaxstyle.objective import Previous, StyleStatistics, Targets, total_loss
from jaxstyle.optimize import Info, State, averaged, init, make_optimizer, run
from jaxstyle.options import LAYERS, ColorMode, layers_of, split_term
from jaxstyle.spec import LossSpec, OptimizerSpec, Weights
from jaxstyle.types import AnyArray, Params
from jaxstyle.vgg19 import limit_filters, transform_kernels


class Hyperparams(NamedTuple):
    """Numbers of a configuration that the loop needs: traced, never static.

    Attributes:
      weights: coefficients of the loss's terms.
      learning_rate: step size.
      average: decay of the average over the steps' images.
      noise: standard deviation of the noise that is added at every level.
      detail: coefficient of the content image's detail that is added at every level, 0 or 1.
    """

    weights: Weights
    learning_rate: float
    average: float
    noise: float
    detail: float

    @classmethod
    def of(cls, config: StyleConfig, start: AnyArray | None = None) -> "Hyperparams":
        """Return the numbers of `config`.

        Detail is added only to runs that start from the content image, directly or by AdaIN.
        """
        detail = float(start is None and config.init in ("content", "adain"))
        return cls(config.weights, config.learning_rate, config.average, config.noise, detail)


def transform_weights(params: Params, *, spec: LossSpec) -> Params:
    """Return the weights for the loop: filters limited, and kernels in the fastest form."""
    if spec.filter_limit:
        params = limit_filters(params, spec.filter_limit)
    if spec.dtype != "float32":
        return params
    layers = layers_of(spec.content_layers + spec.style_layers)
    return transform_kernels(params, layers, spec.conv)


def _make_optimizer(
    spec: OptimizerSpec, learning_rate: float | Array
) -> optax.GradientTransformationExtraArgs:
    return make_optimizer(spec.optimizer, learning_rate, line_search=spec.line_search)


def _cast(hyperparams: Hyperparams, image: Array) -> Hyperparams:
    """Cast the numbers to the precision of the image, which they must not change."""
    return jax.tree.map(lambda number: jnp.asarray(number, image.dtype), hyperparams)


def _vmap_if(batched: bool, function: Callable[..., Any]) -> Callable[..., Any]:
    return jax.vmap(function) if batched else function


@partial(jax.jit, static_argnames=("optimizer_spec", "length", "batched"))
def run_steps(
    params: Params,
    targets: Targets,
    hyperparams: Hyperparams,
    state: State,
    num_steps: Array | None,
    *,
    optimizer_spec: OptimizerSpec,
    length: int,
    batched: bool,
) -> tuple[State, Info]:
    """Run a chunk of steps: `num_steps`, or `length` if `num_steps` is `None`.

    Returns:
      The state after the chunk, and the report of each step, padded to `length`.
    """

    def run_one(targets: Targets, hyperparams: Hyperparams, state: State) -> tuple[State, Info]:
        hyperparams = _cast(hyperparams, state.image)
        return run(
            lambda image: total_loss(params, image, targets, hyperparams.weights),
            _make_optimizer(optimizer_spec, hyperparams.learning_rate),
            state,
            length if num_steps is None else num_steps,
            length=length,
            decay=hyperparams.average,
            clamp=optimizer_spec.clamp,
        )

    return _vmap_if(batched, run_one)(targets, hyperparams, state)


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
    """Apply `adain` to a content image at the size `shape`, with style images at `sizes`."""
    content = pyramid.resize(content, shape)
    styles = tuple(pyramid.resize(s, size) for s, size in zip(styles, sizes, strict=True))
    return adain(params, content, styles, blend=blend, strength=strength)


@partial(jax.jit, static_argnames=("spec", "shape"))
def compute_style_statistics(
    params: Params, style: Array, *, spec: LossSpec, shape: tuple[int, int]
) -> StyleStatistics:
    """Compute the statistics of a style image at the size `shape`.

    An enlarged image is blurred. Layers before relu3_1, which see the edges of strokes, then take
    the image as it is; deeper ones, which see their shapes, take the enlarged one.
    """
    statistics = objective.compute_style_statistics(params, pyramid.resize(style, shape), spec)
    edges = tuple(term for term in spec.style_layers if _sees_edges(split_term(term)[1]))
    if shape[0] <= style.shape[0] or not edges:
        return statistics
    spec = replace(spec, style_layers=edges)
    return {**statistics, **objective.compute_style_statistics(params, style, spec)}


def _sees_edges(layer: str) -> bool:
    return LAYERS.index(layer) < LAYERS.index("relu3_1")


@partial(jax.jit, static_argnames="shape")
def resize(image: Array, *, shape: tuple[int, int]) -> Array:
    """Resize an image to the size `shape`: `pyramid.resize`."""
    return pyramid.resize(image, shape)


@partial(jax.jit, static_argnames=("spec", "shape"))
def build_targets(
    params: Params,
    content: Array | None,
    styles: tuple[StyleStatistics, ...],
    blend: Array,
    masks: Array | None,
    previous: Previous | None = None,
    *,
    spec: LossSpec,
    shape: tuple[int, int],
) -> Targets:
    """Build the targets of a content image at the size `shape`."""
    content = None if content is None else pyramid.resize(content, shape)
    targets = objective.build_targets(params, content, styles, blend, masks, spec)
    if previous is None:
        return targets
    image = pyramid.resize(jnp.asarray(previous.image), shape)
    weight = jax.image.resize(previous.weight, shape, "linear")
    return replace(targets, previous=Previous(image, weight))


@partial(jax.jit, static_argnames=("optimizer_spec", "batched"))
def init_state(
    image: Array, hyperparams: Hyperparams, *, optimizer_spec: OptimizerSpec, batched: bool
) -> State:
    """Return the state before the first step."""

    def init_one(image: Array, hyperparams: Hyperparams) -> State:
        hyperparams = _cast(hyperparams, image)
        optimizer = _make_optimizer(optimizer_spec, hyperparams.learning_rate)
        return init(image, optimizer, decay=hyperparams.average)

    return _vmap_if(batched, init_one)(image, hyperparams)


@partial(jax.jit, static_argnames=("coarse", "shape"))
def extract_detail(image: Array, *, coarse: tuple[int, int], shape: tuple[int, int]) -> Array:
    """Extract the band of `image` between the sizes `coarse` and `shape`: `pyramid.detail`."""
    return pyramid.detail(image, coarse, shape)


@partial(jax.jit, static_argnames=("optimizer_spec", "shape", "batched"))
def enlarge_state(
    keys: Array,
    state: State,
    hyperparams: Hyperparams,
    detail: Array | None,
    *,
    optimizer_spec: OptimizerSpec,
    shape: tuple[int, int],
    batched: bool,
) -> State:
    """Return the state at the start of the next level, which has the size `shape`."""

    def enlarge_one(
        key: PRNGKeyArray, state: State, hyperparams: Hyperparams, detail: Array | None
    ) -> State:
        hyperparams = _cast(hyperparams, state.image)
        return pyramid.carry(
            state,
            shape,
            _make_optimizer(optimizer_spec, hyperparams.learning_rate),
            key=key,
            detail=0.0 if detail is None else hyperparams.detail * detail,
            noise=hyperparams.noise,
            decay=hyperparams.average,
            moments=optimizer_spec.carry == "moments",
        )

    return _vmap_if(batched, enlarge_one)(keys, state, hyperparams, detail)


@jax.jit
def hold(held: Array, before: State, after: State) -> State:
    """Return the state of a batch after a chunk, but that before it for images that are held."""
    return jax.vmap(lambda h, old, new: jax.tree.map(partial(jnp.where, h), old, new))(
        held, before, after
    )


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
    """Render the current image in its final colors, at its own size or at `shape`."""

    def render_one(state: State, content: Array | None, decay: Array) -> Array:
        image = pyramid.resize(averaged(state, decay=decay), shape or state.image.shape[:2])
        if color == "luminance" and content is not None:
            return with_chroma(image, pyramid.resize(content, image.shape[:2]))
        return image

    return _vmap_if(batched, render_one)(state, content, decay)
