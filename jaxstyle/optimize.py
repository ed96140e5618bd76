"""Descent of any function of an image: `init`, `step`, `run`.

The function maps an image to `(loss, terms)`. What is carried (`State`) is apart
from what is reported (`Info`); both are pytrees, and nothing here compiles for you:

    state = init(image, optimizer)
    state, info = jax.jit(partial(run, loss_fn, optimizer, num_steps=100))(state)

Loss or gradient that is not finite is a value (`finite`), not an error: the state
stays at the last good image, so that one picture of a batch may fail alone.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from jaxstyle.options import Optimizer, check_option

Terms = dict[str, Float[Array, ""]]
LossFn = Callable[[Float[Array, "h w 3"]], tuple[Float[Array, ""], Terms]]

# Pairs that L-BFGS remembers; style-transfer-pytorch uses 10, others 100 at ten times
# the memory.
LBFGS_HISTORY = 10

# Levels of the pyramid that `pyramid_adam` descends; STROTSS has 5, NNST 8.
PYRAMID_LEVELS = 5

# A map moves so much less than the finer one, or the whole picture sways when only strokes are
# unfinished; and gradients of 10 steps, not of 100, say how long a step is. At 256 px the loss that
# style-transfer-pytorch ends with was reached after 348 and 256 steps (chelsea, coffee) with 1 and
# 0.99, after 246 and 146 with 1 and 0.9 (rate 0.025), after 182 and 137 with 0.8, after 160 and 148
# with 0.7 (rate 0.02).
PYRAMID_SHARE = 0.7
PYRAMID_DECAY = 0.9

# Iterate k weighs k³ in `on_average`: the last quarter is two thirds of it. Powers from 2 to 6 gave
# pictures whose losses were within 1 %.
AVERAGE_POWER = 3


class State(NamedTuple):
    """What a descent carries from step to step.

    Attributes:
      image: the picture, at which the gradient is taken; `on_average`'s iterate is in `optimizer`.
      optimizer: the optimizer's own state.
      average: sum of the pictures of all steps under exponential weights, not yet divided
        by their total, see `averaged`.
      samples: number of pictures in the average.
      finite: whether loss and gradient were finite so far.
    """

    image: Float[Array, "h w 3"]
    optimizer: Any
    average: Float[Array, "h w 3"]
    samples: Int[Array, ""]
    finite: Bool[Array, ""]


class Info(NamedTuple):
    """What a step reports of the image it started from."""

    loss: Float[Array, "*steps"]
    terms: dict[str, Float[Array, "*steps"]]
    finite: Bool[Array, "*steps"]


def make_optimizer(
    name: str, learning_rate: float | Float[Array, ""], *, line_search: bool = False
) -> optax.GradientTransformationExtraArgs:
    """Optimizer by the name it has in `StyleConfig`; the learning rate may be traced.

    `adam` has β = (0.9, 0.99), as style-transfer-pytorch: a second moment that
    forgets in 100 steps suits schedules of a few hundred. `pyramid_adam` is the same without
    momentum and with a memory of 10 steps, `on_pyramid` and inside `on_average`. `lbfgs` remembers
    10 pairs and takes the whole quasi-Newton step, as the peers do, or with
    `line_search` the length that fulfils the strong Wolfe conditions; it does without
    a learning rate.

    Raises:
      ValueError: `name` is none of them.
    """
    check_option("name", name, Optimizer)
    if name == "adam":
        return optax.with_extra_args_support(optax.adam(learning_rate, b2=0.99))
    if name == "pyramid_adam":
        adam = optax.rmsprop(learning_rate, PYRAMID_DECAY, eps_in_sqrt=False, bias_correction=True)
        return optax.with_extra_args_support(on_average(on_pyramid(adam)))
    if line_search:
        return optax.lbfgs(memory_size=LBFGS_HISTORY)
    direction = _with_positive_curvature(optax.scale_by_lbfgs(memory_size=LBFGS_HISTORY))
    return optax.with_extra_args_support(optax.chain(direction, optax.scale(-1.0)))


def on_pyramid(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """An optimizer of a picture's pyramid instead of its pixels.

    The picture is a sum of maps, each half as large as the one before, enlarged bilinearly and
    weighed by `PYRAMID_SHARE`. Every map is moved by the gradient it gets, so that whole
    regions change nearly as fast as single pixels do: Kolkin et al. (2019), "Style Transfer
    by Relaxed Optimal Transport and Self-Similarity".
    """

    def zeros(image: Array) -> list[Array]:
        height, width, channels = image.shape
        scales = [2**k for k in range(PYRAMID_LEVELS)]
        return [jnp.zeros((-(-height // s), -(-width // s), channels)) for s in scales]

    def collapse(maps: Any) -> Array:
        *finer, image = maps
        for level in reversed(finer):
            image = level + PYRAMID_SHARE * jax.image.resize(image, level.shape, "linear")
        return image

    def init(params):
        return optimizer.init(zeros(params))

    def update(updates, state, params=None):
        maps = zeros(updates)
        (gradients,) = jax.linear_transpose(collapse, maps)(updates)
        steps, state = optimizer.update(gradients, state, maps)
        return collapse(steps), state

    return optax.GradientTransformation(init, update)


class OnAverage(NamedTuple):
    """What `on_average` carries: the optimizer's own iterate and state, and steps so far."""

    iterate: Any
    optimizer: Any
    num_steps: Int[Array, ""]


def on_average(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """An optimizer whose gradients are taken at the average of its iterates, which is the picture.

    x ← x + c (z - x) after each of the optimizer's own steps of z, c = 4 / (k + 4) at step k.
    The steps of z may be several times as long as those of an average taken afterwards, and no
    schedule need shorten them: Defazio et al. (2024), "The Road Less Scheduled", with β = 1
    (primal averaging, Defazio 2020), and weights by Shamir and Zhang (2013).
    """

    def init(params):
        return OnAverage(params, optimizer.init(params), jnp.zeros((), jnp.int32))

    def update(updates, state, params=None):
        steps, inner = optimizer.update(updates, state.optimizer, state.iterate)
        iterate = optax.apply_updates(state.iterate, steps)
        share = (AVERAGE_POWER + 1) / (state.num_steps + AVERAGE_POWER + 1)
        towards = jax.tree.map(lambda z, x: share * (z - x), iterate, params)
        return towards, OnAverage(iterate, inner, state.num_steps + 1)

    return optax.GradientTransformation(init, update)


def _with_positive_curvature(
    lbfgs: optax.GradientTransformation,
) -> optax.GradientTransformation:
    """L-BFGS that stays a descent without a line search.

    A pair (s, y) of steps of image and gradient with s·y <= 0 makes the inverse
    Hessian indefinite, and the next step climb. Such a y is replaced by the one of
    the same length along s, by moving the remembered gradient.
    """

    def update(updates, state, params=None):
        s, y = params - state.params, updates - state.updates
        s_norm, y_norm = jnp.linalg.norm(s), jnp.linalg.norm(y)
        curved = jnp.vdot(s, y) > 1e-6 * s_norm * y_norm
        along = updates - s * y_norm / jnp.maximum(s_norm, 1e-30)
        state = state._replace(updates=jnp.where(curved, state.updates, along))
        return lbfgs.update(updates, state, params)

    return optax.GradientTransformation(lbfgs.init, update)


def init(
    image: Float[Array, "h w 3"],
    optimizer: optax.GradientTransformationExtraArgs,
    *,
    decay: float | Float[Array, ""] = 0.0,
) -> State:
    """State at the start, the image being the average's first sample."""
    # A weakly typed image, such as `jnp.full` gives, would have the loop compiled twice.
    image = jnp.asarray(image, image.dtype)
    return State(
        image=image,
        optimizer=optimizer.init(image),
        average=(1 - decay) * image,
        samples=jnp.ones((), jnp.int32),
        finite=jnp.ones((), bool),
    )


def step(
    loss_fn: LossFn,
    optimizer: optax.GradientTransformationExtraArgs,
    state: State,
    *,
    decay: float | Float[Array, ""] = 0.0,
    clamp: bool = True,
) -> tuple[State, Info]:
    """State after one update, and the loss before it.

    Args:
      loss_fn: function from an image to its loss and the loss's terms.
      optimizer: from `make_optimizer`, or any of optax.
      state: where to start.
      decay: of the exponential average over pictures; 0 keeps the last alone.
      clamp: project the image onto [0, 1] after the update.
    """
    (loss, terms), grad = jax.value_and_grad(loss_fn, has_aux=True)(state.image)
    updates, optimizer_state = optimizer.update(
        grad,
        state.optimizer,
        state.image,
        value=loss,
        grad=grad,
        value_fn=lambda image: loss_fn(image)[0],
    )
    image = state.image + jnp.asarray(updates)
    finite = (
        state.finite & jnp.isfinite(loss) & jnp.isfinite(grad).all() & jnp.isfinite(image).all()
    )
    image = jnp.clip(image, 0, 1) if clamp else image
    after = State(
        image=image,
        optimizer=optimizer_state,
        average=decay * state.average + (1 - decay) * image,
        samples=state.samples + 1,
        finite=finite,
    )
    kept = jax.tree.map(lambda new, old: jnp.where(finite, new, old), after, state)
    return kept._replace(finite=finite), Info(loss, terms, finite)


def run(
    loss_fn: LossFn,
    optimizer: optax.GradientTransformationExtraArgs,
    state: State,
    num_steps: int | Int[Array, ""],
    *,
    length: int | None = None,
    decay: float | Float[Array, ""] = 0.0,
    clamp: bool = True,
) -> tuple[State, Info]:
    """State after `num_steps` steps, and what each reported.

    Args:
      loss_fn: as for `step`.
      optimizer: as for `step`.
      state: where to start.
      num_steps: how many steps; traced, if `length` is given, so that chunks of any
        length share one compilation.
      length: static length of the report, `num_steps` or more; entries past
        `num_steps` are 0.
      decay: as for `step`.
      clamp: as for `step`.
    """
    rows = int(num_steps) if length is None else length

    def body(i: jax.Array, carry: tuple[State, Info]) -> tuple[State, Info]:
        state, trace = carry
        state, info = step(loss_fn, optimizer, state, decay=decay, clamp=clamp)
        return state, jax.tree.map(lambda all_rows, row: all_rows.at[i].set(row), trace, info)

    # Of the loss alone: to trace a whole step once more takes a second.
    loss, terms = jax.eval_shape(loss_fn, state.image)
    shape = Info(loss, terms, state.finite)
    trace = jax.tree.map(lambda leaf: jnp.zeros((rows, *leaf.shape), leaf.dtype), shape)
    return jax.lax.fori_loop(0, num_steps, body, (state, trace))


def averaged(state: State, *, decay: float | Float[Array, ""] = 0.0) -> Float[Array, "h w 3"]:
    """Average of the pictures so far, with the bias of its short history taken out.

    Σ_k d^(n-k) x_k / Σ_k d^(n-k), as style-transfer-pytorch does.
    """
    return state.average / (1 - jnp.asarray(decay, jnp.float32) ** state.samples)
