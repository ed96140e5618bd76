from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxstyle.optimize import (
    PYRAMID_SHARE,
    averaged,
    init,
    make_optimizer,
    on_pyramid,
    primal_averaging,
    run,
    step,
)

TARGET = jnp.linspace(0.2, 0.8, 4 * 5 * 3).reshape(4, 5, 3)
START = jnp.full((4, 5, 3), 0.5)


def bowl(image):
    loss = jnp.sum((image - TARGET) ** 2)
    return loss, {"distance": loss}


def valley(image):
    """Compute Rosenbrock's function of neighboring values: badly scaled, with its minimum at 1."""
    x = image.ravel()
    loss = jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)
    return loss, {}


def saddle(image):
    """Compute a sum of sines: L-BFGS without a guard ascends where the curvature is negative."""
    loss = jnp.sum(jnp.sin(9 * image))
    return loss, {}


OPTIMIZERS = {
    "adam": lambda: make_optimizer("adam", 0.05),
    "lbfgs": lambda: make_optimizer("lbfgs", 1.0),
    "lbfgs with line search": lambda: make_optimizer("lbfgs", 1.0, line_search=True),
    "any of optax": lambda: optax.sgd(0.1),
}
OPTAX = {
    "adamw": optax.adamw(0.02),
    "lion": optax.lion(0.02),
    "clipped": optax.chain(optax.clip_by_global_norm(1.0), optax.adam(0.02)),
    "scheduled": optax.sgd(optax.cosine_decay_schedule(0.1, 100)),
    "nadam": optax.nadam(0.02),
    "lbfgs": optax.lbfgs(),
}


@pytest.mark.parametrize("name", OPTAX)
def test_optimizers_of_optax_are_used_as_they_are(name):
    state, trace = run(bowl, OPTAX[name], init(START, OPTAX[name]), 100)
    assert trace.finite.all()
    assert trace.loss[-1] < 0.05 * trace.loss[0]
    assert state.image.dtype == START.dtype


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_converges_on_a_quadratic(name):
    optimizer = OPTIMIZERS[name]()
    state, trace = run(bowl, optimizer, init(START, optimizer), 200)
    np.testing.assert_allclose(state.image, TARGET, atol=1e-3)
    assert trace.loss.shape == trace.terms["distance"].shape == (200,)
    assert trace.finite.all()


@pytest.mark.parametrize("name", ["lbfgs", "lbfgs with line search"])
def test_lbfgs_converges_on_the_rosenbrock_function(name):
    optimizer = OPTIMIZERS[name]()
    _, trace = run(valley, optimizer, init(START, optimizer), 300, clamp=False)
    assert trace.finite.all()
    assert trace.loss[-1] < 1e-3 * trace.loss[0]


def test_lbfgs_descends_where_the_curvature_is_negative():
    optimizer = make_optimizer("lbfgs", 1.0)
    # At 0.2 the second derivative is negative. Without the guard the run climbs to +60.
    start = jnp.full_like(START, 0.2)
    _, trace = run(saddle, optimizer, init(start, optimizer), 60, clamp=False)
    assert trace.loss[-1] < -0.9 * START.size


def test_first_adam_step_is_the_learning_rate_times_the_gradients_sign():
    optimizer = make_optimizer("adam", 0.05)
    state, info = step(bowl, optimizer, init(START, optimizer))
    expected = START - 0.05 * jnp.sign(START - TARGET)
    np.testing.assert_allclose(state.image, expected, atol=1e-5)
    np.testing.assert_allclose(
        info.loss, np.sum((np.asarray(START) - np.asarray(TARGET)) ** 2), rtol=1e-5
    )


def test_adam_equals_its_formula_with_betas_of_09_and_099():
    # The gradient x² falls from step to step, so the betas show.
    loss_fn = lambda image: (jnp.sum(image**3) / 3, {})
    optimizer = make_optimizer("adam", 0.05)
    state, _ = run(loss_fn, optimizer, init(jnp.ones((1, 1, 3)), optimizer), 12)
    x, mean, square = 1.0, 0.0, 0.0
    for k in range(1, 13):
        gradient = x**2
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.99 * square + 0.01 * gradient**2
        x -= 0.05 * (mean / (1 - 0.9**k)) / (np.sqrt(square / (1 - 0.99**k)) + 1e-8)
    np.testing.assert_allclose(state.image, x, rtol=1e-5)


def test_first_pyramid_adam_step_is_the_sum_of_the_steps_of_its_levels():
    # On one pixel, each level moves by the learning rate, scaled once more per level.
    loss_fn = lambda image: (jnp.sum(image), {})
    optimizer = make_optimizer("pyramid_adam", 0.05)
    state, _ = step(loss_fn, optimizer, init(jnp.ones((1, 1, 3)), optimizer))
    levels = 1 + 0.7 + 0.7**2 + 0.7**3 + 0.7**4
    np.testing.assert_allclose(state.image, 1 - 0.05 * levels, rtol=1e-5)


def inverse_hessian_product(pairs, gradient):
    """Nocedal and Wright (2006), algorithm 7.4."""
    q, shares = gradient.copy(), []
    for s, y in reversed(pairs):
        shares.append(s @ q / (y @ s))
        q -= shares[-1] * y
    s, y = pairs[-1]
    r = (s @ y) / (y @ y) * q
    for (s, y), share in zip(pairs, reversed(shares), strict=True):
        r += s * (share - y @ r / (y @ s))
    return r


def test_lbfgs_equals_its_formula_with_ten_pairs():
    # Badly scaled: one pair fewer, or one more, changes the result by 0.007.
    curvature = np.geomspace(0.01, 1, 48)
    scale = jnp.asarray(curvature, jnp.float32).reshape(4, 4, 3)
    loss_fn = lambda image: (0.5 * jnp.sum(scale * image**2), {})
    optimizer = make_optimizer("lbfgs", 1.0)
    state, _ = run(loss_fn, optimizer, init(jnp.ones((4, 4, 3)), optimizer), 15, clamp=False)
    x, pairs = np.ones(48), []
    for _ in range(15):
        gradient = curvature * x
        if pairs:
            move = -inverse_hessian_product(pairs[-10:], gradient)
        else:
            move = -gradient * min(1, 1 / np.linalg.norm(gradient))
        pairs.append((move, curvature * move))
        x = x + move
    np.testing.assert_allclose(np.ravel(state.image), x, atol=1e-3)


@pytest.mark.slow
def test_pyramid_adam_moves_large_regions_faster_than_adam():
    target = jnp.full((24, 40, 3), 0.2).at[:, 20:].set(0.8)
    loss_fn = lambda image: (jnp.mean((image - target) ** 2), {})
    relative_loss = {}
    for name in ("adam", "pyramid_adam"):
        optimizer = make_optimizer(name, 0.01)
        start = init(jnp.full(target.shape, 0.5), optimizer)
        losses = run(loss_fn, optimizer, start, 16)[1].loss
        relative_loss[name] = losses.min() / loss_fn(start.image)[0]
    assert relative_loss["adam"] > 0.25
    assert relative_loss["pyramid_adam"] < 0.05


def test_primal_averaging_takes_gradients_at_the_average_of_the_iterates():
    optimizer = optax.with_extra_args_support(primal_averaging(optax.sgd(0.1)))
    state = init(START, optimizer)
    iterate, target = np.asarray(START, np.float64), np.asarray(TARGET, np.float64)
    average, iterates = iterate, []
    for count in range(6):
        state, _ = step(bowl, optimizer, state, clamp=False)
        iterate = iterate - 0.1 * 2 * (average - target)
        iterates.append(iterate)
        # c = 4 / (k + 4) gives iterate k the weight (k + 1)(k + 2)(k + 3), about k³.
        weights = [(k + 1) * (k + 2) * (k + 3) for k in range(count + 1)]
        average = np.average(iterates, axis=0, weights=weights)
        np.testing.assert_allclose(state.image, average, rtol=1e-5)
    np.testing.assert_allclose(state.optimizer.iterate, iterate, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(32, 48, 3), (37, 21, 3), (1, 1, 3)])
def test_pyramid_step_is_the_sum_of_the_steps_of_its_levels(shape):
    # Sign descent moves every level by 1, and an enlarged flat level is flat.
    optimizer = on_pyramid(optax.sign_sgd(1.0))
    image = jnp.zeros(shape)
    update, _ = optimizer.update(jnp.ones(shape), optimizer.init(image), image)
    np.testing.assert_allclose(
        np.asarray(update), -sum(PYRAMID_SHARE**k for k in range(5)), rtol=1e-5
    )


@pytest.mark.slow
def test_pyramid_step_with_gradient_descent_equals_explicit_matrices(random):
    # With gradient descent the step is -Σ_k s²ᵏ U_k U_kᵀ g, where U_k enlarges level k.
    shape = (13, 18)
    gradient = jnp.asarray(random.normal(size=(*shape, 1)), jnp.float32)
    optimizer = on_pyramid(optax.sgd(1.0))
    update, _ = optimizer.update(gradient, optimizer.init(gradient), gradient)
    sizes = [(-(-shape[0] // 2**k), -(-shape[1] // 2**k)) for k in range(5)]
    expected, up = np.zeros(13 * 18), np.eye(13 * 18)
    for k, (h, w) in enumerate(sizes):
        if k:
            maps = PYRAMID_SHARE * jnp.eye(h * w).reshape(h, w, h * w)
            up = up @ jax.image.resize(maps, (*sizes[k - 1], h * w), "linear").reshape(-1, h * w)
        expected -= up @ (up.T @ np.asarray(gradient).ravel())
    np.testing.assert_allclose(np.asarray(update).ravel(), expected, atol=1e-3)


def test_clamp_clips_pixels_to_the_unit_interval():
    outside = lambda image: (jnp.sum((image - 2) ** 2), {})
    optimizer = make_optimizer("adam", 0.3)
    clamped, _ = run(outside, optimizer, init(START, optimizer), 10)
    unclamped, _ = run(outside, optimizer, init(START, optimizer), 10, clamp=False)
    assert clamped.image.max() == 1
    assert unclamped.image.max() > 1


def test_average_is_the_bias_corrected_exponential_mean_of_the_images():
    optimizer = make_optimizer("adam", 0.05)
    state, decay = init(START, optimizer, decay=0.7), 0.7
    iterates = [state.image]
    for _ in range(4):
        state, _ = step(bowl, optimizer, state, decay=decay)
        iterates.append(state.image)
    weights = decay ** np.arange(4, -1, -1)
    expected = np.tensordot(weights / weights.sum(), np.stack(iterates), axes=1)
    np.testing.assert_allclose(averaged(state, decay=decay), expected, rtol=1e-5)


def test_average_without_decay_is_the_last_image():
    optimizer = make_optimizer("adam", 0.05)
    state, _ = run(bowl, optimizer, init(START, optimizer), 5)
    np.testing.assert_array_equal(averaged(state), state.image)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_state_stays_at_the_last_finite_image_when_the_loss_is_nan(name):
    def cliff(image):
        loss, _ = bowl(image)
        return jnp.where(loss < 0.1, jnp.nan, loss), {}

    optimizer = OPTIMIZERS[name]()
    state, trace = run(cliff, optimizer, init(START, optimizer), 100)
    assert jnp.isfinite(state.image).all()
    assert trace.finite[0]
    # The line search rejects steps into the NaN region; the others take one and stop.
    assert trace.finite[-1] == state.finite == (name == "lbfgs with line search")


@pytest.mark.parametrize(
    "loss",
    [
        # The gradient of the norm at 0 is 0 / 0.
        lambda image: (jnp.sqrt(jnp.sum((image - START) ** 2)), {}),
        # The gradient is infinite; clipping the image to [0, 1] must not hide it.
        lambda image: (jnp.sum(jnp.sqrt(image - START)), {}),
    ],
    ids=["nan", "inf"],
)
@pytest.mark.parametrize("name", ["adam", "any of optax"])
def test_nonfinite_gradient_of_a_finite_loss_is_detected(loss, name):
    optimizer = OPTIMIZERS[name]()
    state, info = step(loss, optimizer, init(START, optimizer))
    assert jnp.isfinite(info.loss)
    assert not state.finite
    np.testing.assert_array_equal(state.image, START)


def test_nonfinite_gradient_that_the_optimizer_hides_is_detected():
    loss_fn = lambda image: (jnp.sum(jnp.sqrt(image)), {})
    optimizer = optax.with_extra_args_support(
        optax.chain(optax.clip(1.0), optax.zero_nans(), optax.sgd(0.1))
    )
    state, info = step(loss_fn, optimizer, init(jnp.zeros((4, 4, 3)), optimizer))
    assert jnp.isfinite(info.loss)
    assert not state.finite


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_nonfinite_image_of_a_batch_leaves_the_others_unchanged(name):
    optimizer = OPTIMIZERS[name]()
    batch = jnp.stack([START, START.at[0, 0, 0].set(jnp.nan)])
    states, _ = jax.vmap(lambda image: run(bowl, optimizer, init(image, optimizer), 50))(batch)
    np.testing.assert_array_equal(states.finite, [True, False])
    alone, _ = run(bowl, optimizer, init(START, optimizer), 50)
    np.testing.assert_allclose(states.image[0], alone.image, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_eager_steps_and_jitted_run_agree(name):
    optimizer = OPTIMIZERS[name]()
    eager = init(START, optimizer)
    for _ in range(2):
        eager, _ = step(bowl, optimizer, eager)
    jitted, _ = jax.jit(partial(run, bowl, optimizer, num_steps=2))(init(START, optimizer))
    np.testing.assert_allclose(jitted.image, eager.image, atol=1e-5)


def test_chunks_of_any_length_compile_once_and_equal_a_single_run():
    optimizer = make_optimizer("adam", 0.05)
    traces = []

    @jax.jit
    def advance(state, count):
        traces.append(1)
        return run(bowl, optimizer, state, count, length=8)

    state, losses = init(START, optimizer), []
    for count in (1, 3, 8, 2):
        state, info = advance(state, count)
        losses.append(info.loss[:count])
    assert len(traces) == 1
    whole, trace = run(bowl, optimizer, init(START, optimizer), 14)
    np.testing.assert_allclose(state.image, whole.image, atol=1e-6)
    np.testing.assert_allclose(np.concatenate(losses), trace.loss, rtol=1e-4)


def test_changing_the_learning_rate_does_not_recompile():
    traces = []

    @jax.jit
    def first_step(image, rate):
        traces.append(1)
        optimizer = make_optimizer("adam", rate)
        return step(bowl, optimizer, init(image, optimizer))[0].image

    distances = [jnp.abs(first_step(START, rate) - START).max() for rate in (0.01, 0.02)]
    assert len(traces) == 1
    np.testing.assert_allclose(distances[1] / distances[0], 2, rtol=1e-3)
