"""Gradient-based minimization of any function of an image: `init`, `step`, `run`.

The loss function maps an image to `(loss, terms)`. `State` is carried from step to step and
`Info` is reported by each step; both are pytrees. The caller compiles the loop:

    state = init(image, optimizer)
    state, info = jax.jit(partial(run, loss_fn, optimizer, num_steps=100))(state)

A loss or gradient that is not finite is a value (`finite`), not an error. From then on the
state stays at the last finite image, so one image of a batch can fail alone.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from jaxstyle.options import Optimizer, check_option
from jaxstyle.types import check_floating

Terms = dict[str, Float[Array, ""]]
LossFn = Callable[[Float[Array, "h w 3"]], tuple[Float[Array, ""], Terms]]

# Pairs in the L-BFGS history. style-transfer-pytorch uses 10; 100 would take ten times the memory.
LBFGS_HISTORY = 10

# Levels of the pyramid in `pyramid_adam`; STROTSS uses 5, NNST 8.
PYRAMID_LEVELS = 5

# Scale of each coarser level's step relative to the finer one; avoids global oscillation.
PYRAMID_SHARE = 0.7

# β₂ of `pyramid_adam`, an average over 10 steps: it needs fewer steps than 0.99.
PYRAMID_DECAY = 0.9

# Iterate k has a weight of about k³: the last quarter carries two thirds of the average.
AVERAGE_POWER = 3


class State(NamedTuple):
    """State of the optimization, carried from step to step.

    Attributes:
      image: image at which the next gradient is taken. With `primal_averaging` it is the
        average of the optimizer's iterates; the last iterate is in `optimizer`.
      optimizer: state of the optimizer.
      average: sum of the images so far under exponential weights, without bias correction;
        see `averaged`.
      samples: number of images in the average.
      finite: whether all losses, gradients and images so far were finite.
    """

    image: Float[Array, "h w 3"]
    optimizer: Any
    average: Float[Array, "h w 3"]
    samples: Int[Array, ""]
    finite: Bool[Array, ""]


class Info(NamedTuple):
    """Report of a step, evaluated at the image from which the step started.

    Attributes:
      loss: total loss.
      terms: terms of the loss by name.
      finite: whether all losses, gradients and images so far were finite.
    """

    loss: Float[Array, "*steps"]
    terms: dict[str, Float[Array, "*steps"]]
    finite: Bool[Array, "*steps"]


def make_optimizer(
    name: str, learning_rate: float | Float[Array, ""], *, line_search: bool = False
) -> optax.GradientTransformationExtraArgs:
    """Create an optimizer from its name in `StyleConfig`.

    `adam` uses β = (0.9, 0.99), as style-transfer-pytorch does: a second moment averaged over
    100 steps suits schedules of a few hundred. `pyramid_adam` is Adam without momentum and
    with β₂ = 0.9, applied `on_pyramid` and wrapped in `primal_averaging`. `lbfgs` stores 10
    pairs. It takes the full quasi-Newton step, or with `line_search` a step that satisfies the
    strong Wolfe conditions, and ignores the learning rate.

    Args:
      name: `adam`, `pyramid_adam` or `lbfgs`.
      learning_rate: step size in units of pixel values; may be traced.
      line_search: whether `lbfgs` searches for the length of its step.

    Raises:
      ValueError: `name` is not an optimizer.

    Example:
      A traced learning rate lets one compiled program run a sweep:

      >>> import jax, jax.numpy as jnp
      >>> from jaxstyle.optimize import init, make_optimizer, step
      >>> def mean_after_step(rate):
      ...     optimizer = make_optimizer("adam", rate)
      ...     state = init(jnp.full((4, 4, 3), 0.5), optimizer)
      ...     return step(lambda image: (image.sum(), {}), optimizer, state)[0].image.mean()
      >>> means = jax.jit(jax.vmap(mean_after_step))(jnp.array([0.1, 0.2]))
      >>> [f"{mean:.2f}" for mean in means]
      ['0.40', '0.30']
    """
    check_option("name", name, Optimizer)
    if name == "adam":
        return optax.with_extra_args_support(optax.adam(learning_rate, b2=0.99))
    if name == "pyramid_adam":
        adam = optax.rmsprop(learning_rate, PYRAMID_DECAY, eps_in_sqrt=False, bias_correction=True)
        return optax.with_extra_args_support(primal_averaging(on_pyramid(adam)))
    if line_search:
        return optax.lbfgs(memory_size=LBFGS_HISTORY)
    direction = _with_positive_curvature(optax.scale_by_lbfgs(memory_size=LBFGS_HISTORY))
    return optax.with_extra_args_support(optax.chain(direction, optax.scale(-1.0)))


def on_pyramid(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """Apply an optimizer to the levels of an image pyramid instead of to the pixels.

    The image is a sum of levels, each half the size of the one before, enlarged bilinearly and
    scaled by `PYRAMID_SHARE`. The optimizer updates every level by that level's gradient, so
    large regions change nearly as fast as single pixels. Kolkin et al. (2019), "Style Transfer
    by Relaxed Optimal Transport and Self-Similarity".
    """

    def zero_levels(image: Array) -> list[Array]:
        height, width, channels = image.shape
        scales = [2**k for k in range(PYRAMID_LEVELS)]
        sizes = [(-(-height // s), -(-width // s), channels) for s in scales]
        return _vary_like([jnp.zeros(size, image.dtype) for size in sizes], image)

    def collapse(levels: Any) -> Array:
        *finer, image = levels
        for level in reversed(finer):
            image = level + PYRAMID_SHARE * jax.image.resize(image, level.shape, "linear")
        return image

    def init(params):
        return optimizer.init(zero_levels(params))

    def update(updates, state, params=None):
        zeros = zero_levels(updates)
        (gradients,) = jax.linear_transpose(collapse, zeros)(updates)
        level_updates, state = optimizer.update(gradients, state, zeros)
        return collapse(level_updates), state

    return optax.GradientTransformation(init, update)


class PrimalAveragingState(NamedTuple):
    """State of `primal_averaging`.

    Attributes:
      iterate: iterate z of the wrapped optimizer.
      optimizer: state of the wrapped optimizer.
      num_steps: number of steps so far.
    """

    iterate: Any
    optimizer: Any
    num_steps: Int[Array, ""]


def primal_averaging(optimizer: optax.GradientTransformation) -> optax.GradientTransformation:
    """Take an optimizer's gradients at the average x of its iterates z; x is the image.

    x ← x + c (z - x) after each step of z, with c = 4 / (k + 4) at step k = 0, 1, ….
    The steps of z can be several times as long as with an average taken afterwards, and they
    need no learning rate schedule. Defazio et al. (2024), "The Road Less Scheduled", with β = 1
    (primal averaging, Defazio 2020) and the weights of Shamir and Zhang (2013).
    """

    def init(params):
        return PrimalAveragingState(params, optimizer.init(params), jnp.zeros((), jnp.int32))

    def update(updates, state, params=None):
        z_updates, inner = optimizer.update(updates, state.optimizer, state.iterate)
        iterate = optax.apply_updates(state.iterate, z_updates)
        c = (AVERAGE_POWER + 1) / (state.num_steps + AVERAGE_POWER + 1)
        x_updates = jax.tree.map(lambda z, x: c * (z - x), iterate, params)
        return x_updates, PrimalAveragingState(iterate, inner, state.num_steps + 1)

    return optax.GradientTransformation(init, update)


def _with_positive_curvature(
    lbfgs: optax.GradientTransformation,
) -> optax.GradientTransformation:
    """Make L-BFGS a descent method without a line search.

    A pair (s, y) of image step and gradient difference with s·y <= 0 makes the inverse Hessian
    indefinite, and the next step increases the loss. Such a y is replaced by the vector of the
    same length along s, by changing the stored gradient.
    """

    def update(updates, state, params=None):
        s, y = params - state.params, updates - state.updates
        s_norm, y_norm = jnp.linalg.norm(s), jnp.linalg.norm(y)
        is_positive = jnp.vdot(s, y) > 1e-6 * s_norm * y_norm
        gradient_along_s = updates - s * y_norm / jnp.maximum(s_norm, 1e-30)
        state = state._replace(updates=jnp.where(is_positive, state.updates, gradient_along_s))
        return lbfgs.update(updates, state, params)

    return optax.GradientTransformation(lbfgs.init, update)


def init(
    image: Float[Array, "h w 3"],
    optimizer: optax.GradientTransformation,
    *,
    decay: float | Float[Array, ""] = 0.0,
) -> State:
    """Initialize the state; `image` is the first sample of the average.

    Args:
      image: start image, RGB in [0, 1].
      optimizer: from `make_optimizer`, or any other optimizer of optax.
      decay: decay of the average over images, as for `step`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxstyle.optimize import averaged, init, make_optimizer
      >>> state = init(jnp.full((4, 4, 3), 0.5), make_optimizer("adam", 0.02), decay=0.9)
      >>> int(state.samples), bool(state.finite), f"{averaged(state, decay=0.9).mean():.1f}"
      (1, True, '0.5')
    """
    check_floating(image=image)
    # A weakly typed image, e.g. from `jnp.full`, would compile the loop twice.
    image = jnp.asarray(image, image.dtype)
    decay = jnp.asarray(decay, image.dtype)
    state = State(
        image=image,
        optimizer=optimizer.init(image),
        average=(1 - decay) * image,
        samples=jnp.ones((), jnp.int32),
        finite=jnp.ones((), bool),
    )
    return _vary_like(state, image)


def _vary_like(tree: Any, image: Array) -> Any:
    """Let arrays vary over the same mesh axes as an image under `jax.shard_map`."""
    # The compiler removes a choice between equal values.
    is_zero = image[(0,) * image.ndim] == 0
    return jax.tree.map(lambda x: jnp.where(is_zero, x, x), tree)


def step(
    loss_fn: LossFn,
    optimizer: optax.GradientTransformation,
    state: State,
    *,
    decay: float | Float[Array, ""] = 0.0,
    clamp: bool = True,
) -> tuple[State, Info]:
    """Take one step; return the new state and the loss before the step.

    If the loss, the gradient or the new image is not finite, only `state.finite` changes.

    Args:
      loss_fn: maps an image to its loss and a dict of the loss's terms.
      optimizer: as for `init`.
      state: state before the step.
      decay: decay of the exponential average over images; with 0 the average is the last image.
      clamp: whether to clip the image to [0, 1] after the update.

    Example:
      >>> from functools import partial
      >>> import jax, jax.numpy as jnp
      >>> from jaxstyle.optimize import init, make_optimizer, step
      >>> optimizer = make_optimizer("adam", 0.02)
      >>> loss_fn = lambda image: (jnp.mean((image - 0.2) ** 2), {})
      >>> state = init(jnp.full((4, 4, 3), 0.5), optimizer)
      >>> state, info = jax.jit(partial(step, loss_fn, optimizer))(state)
      >>> f"{info.loss:.2f}", f"{state.image.mean():.2f}"
      ('0.09', '0.48')
    """
    (loss, terms), grad = jax.value_and_grad(loss_fn, has_aux=True)(state.image)
    optimizer = optax.with_extra_args_support(optimizer)
    decay = jnp.asarray(decay, state.image.dtype)
    # optax relies on implicit dtype promotion, which callers may have disabled.
    with jax.numpy_dtype_promotion("standard"):
        updates, optimizer_state = optimizer.update(
            grad,
            state.optimizer,
            state.image,
            value=loss,
            grad=grad,
            value_fn=lambda image: loss_fn(image)[0],
        )
    image = state.image + jnp.asarray(updates, state.image.dtype)
    finite = (
        state.finite & jnp.isfinite(loss) & jnp.isfinite(grad).all() & jnp.isfinite(image).all()
    )
    image = jnp.clip(image, 0, 1) if clamp else image
    updated = State(
        image=image,
        optimizer=optimizer_state,
        average=decay * state.average + (1 - decay) * image,
        samples=state.samples + 1,
        finite=finite,
    )
    state = jax.tree.map(lambda new, old: jnp.where(finite, new, old), updated, state)
    return state._replace(finite=finite), Info(loss, terms, finite)


def run(
    loss_fn: LossFn,
    optimizer: optax.GradientTransformation,
    state: State,
    num_steps: int | Int[Array, ""],
    *,
    length: int | None = None,
    decay: float | Float[Array, ""] = 0.0,
    clamp: bool = True,
) -> tuple[State, Info]:
    """Take `num_steps` steps; return the new state and the reports of all steps.

    Args:
      loss_fn: as for `step`.
      optimizer: as for `init`.
      state: state before the first step.
      num_steps: number of steps. It may be traced if `length` is given, so that chunks of any
        number of steps share one compilation.
      length: static length of the report, at least `num_steps`; entries past `num_steps`
        are 0. The default is `num_steps`.
      decay: as for `step`.
      clamp: as for `step`.

    Example:
      >>> from functools import partial
      >>> import jax, jax.numpy as jnp
      >>> from jaxstyle.optimize import init, make_optimizer, run
      >>> optimizer = make_optimizer("adam", 0.02)
      >>> loss_fn = lambda image: (jnp.mean((image - 0.2) ** 2), {})
      >>> descend = jax.jit(partial(run, loss_fn, optimizer, num_steps=50))
      >>> state, info = descend(init(jnp.full((4, 4, 3), 0.5), optimizer))
      >>> info.loss.shape, f"{state.image.mean():.1f}"
      ((50,), '0.2')
    """
    length = int(num_steps) if length is None else length

    def body(i: jax.Array, carry: tuple[State, Info]) -> tuple[State, Info]:
        state, reports = carry
        state, info = step(loss_fn, optimizer, state, decay=decay, clamp=clamp)
        return state, jax.tree.map(lambda leaf, value: leaf.at[i].set(value), reports, info)

    # Trace only the loss: tracing a whole step a second time is slow.
    loss, terms = jax.eval_shape(loss_fn, state.image)
    shapes = Info(loss, terms, state.finite)
    reports = jax.tree.map(lambda leaf: jnp.zeros((length, *leaf.shape), leaf.dtype), shapes)
    return jax.lax.fori_loop(0, num_steps, body, (state, _vary_like(reports, state.image)))


def averaged(state: State, *, decay: float | Float[Array, ""] = 0.0) -> Float[Array, "h w 3"]:
    """Return the exponential average of the images so far, with bias correction.

    Σ_k d^(n-k) x_k / Σ_k d^(n-k), as style-transfer-pytorch does.

    Args:
      state: state from `init`, `step` or `run`.
      decay: the decay d that these were called with.
    """
    dtype = state.average.dtype
    total = 1 - jnp.asarray(decay, dtype) ** state.samples.astype(dtype)
    return state.average / total
