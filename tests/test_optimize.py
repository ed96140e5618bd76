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
    on_average,
    on_pyramid,
    run,
    step,
)

TARGET = jnp.linspace(0.2, 0.8, 4 * 5 * 3).reshape(4, 5, 3)
START = jnp.full((4, 5, 3), 0.5)


def bowl(image):
    loss = jnp.sum((image - TARGET) ** 2)
    return loss, {"distance": loss}


def valley(image):
    """Rosenbrock's function of neighboring values: curved, badly scaled, minimum at 1."""
    x = image.ravel()
    loss = jnp.sum(100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2)
    return loss, {}


def saddle(image):
    """Negative curvature almost everywhere: L-BFGS without care climbs."""
    loss = jnp.sum(jnp.sin(9 * image))
    return loss, {}


OPTIMIZERS = {
    "adam": lambda: make_optimizer("adam", 0.05),
    "lbfgs": lambda: make_optimizer("lbfgs", 1.0),
    "lbfgs with line search": lambda: make_optimizer("lbfgs", 1.0, line_search=True),
    "any of optax": lambda: optax.with_extra_args_support(optax.sgd(0.1)),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_finds_the_bottom_of_a_bowl(name):
    optimizer = OPTIMIZERS[name]()
    state, trace = run(bowl, optimizer, init(START, optimizer), 200)
    np.testing.assert_allclose(state.image, TARGET, atol=1e-3)
    assert trace.loss.shape == trace.terms["distance"].shape == (200,)
    assert trace.finite.all()


@pytest.mark.parametrize("name", ["lbfgs", "lbfgs with line search"])
def test_lbfgs_finds_the_end_of_a_curved_valley(name):
    optimizer = OPTIMIZERS[name]()
    _, trace = run(valley, optimizer, init(START, optimizer), 300, clamp=False)
    assert trace.finite.all()
    assert trace.loss[-1] < 1e-3 * trace.loss[0]


def test_lbfgs_descends_where_curvature_is_negative():
    optimizer = make_optimizer("lbfgs", 1.0)
    _, trace = run(saddle, optimizer, init(START, optimizer), 60, clamp=False)
    assert trace.loss[-1] < -0.9 * START.size


def test_adam_step_by_hand():
    # The first step of Adam is the learning rate against the sign of the gradient.
    optimizer = make_optimizer("adam", 0.05)
    state, info = step(bowl, optimizer, init(START, optimizer))
    expected = START - 0.05 * jnp.sign(START - TARGET)
    np.testing.assert_allclose(state.image, expected, atol=1e-5)
    np.testing.assert_allclose(
        info.loss, np.sum((np.asarray(START) - np.asarray(TARGET)) ** 2), rtol=1e-5
    )


def test_pyramid_moves_regions_faster_than_pixels():
    target = jnp.full((24, 40, 3), 0.2).at[:, 20:].set(0.8)
    far = lambda image: (jnp.mean((image - target) ** 2), {})
    nearest = {}
    for name in ("adam", "pyramid_adam"):
        optimizer = make_optimizer(name, 0.01)
        start = init(jnp.full(target.shape, 0.5), optimizer)
        nearest[name] = run(far, optimizer, start, 16)[1].loss.min() / far(start.image)[0]
    assert nearest["adam"] > 0.25
    assert nearest["pyramid_adam"] < 0.05


def test_gradients_are_those_of_the_average_of_the_iterates():
    optimizer = optax.with_extra_args_support(on_average(optax.sgd(0.1)))
    state = init(START, optimizer)
    iterate, target = np.asarray(START, np.float64), np.asarray(TARGET, np.float64)
    picture, iterates = iterate, []
    for count in range(6):
        state, _ = step(bowl, optimizer, state, clamp=False)
        iterate = iterate - 0.1 * 2 * (picture - target)
        iterates.append(iterate)
        # Weights (k + 1)(k + 2)(k + 3), k³ in the long run.
        weights = [(k + 1) * (k + 2) * (k + 3) for k in range(count + 1)]
        picture = np.average(iterates, axis=0, weights=weights)
        np.testing.assert_allclose(state.image, picture, rtol=1e-5)
    np.testing.assert_allclose(state.optimizer.iterate, iterate, rtol=1e-5)


@pytest.mark.parametrize("shape", [(32, 48, 3), (37, 21, 3), (1, 1, 3)])
def test_pyramid_adds_up_the_steps_of_its_levels(shape):
    # The first step of sign descent moves every map by 1; enlarged flat maps stay flat.
    optimizer = on_pyramid(optax.sign_sgd(1.0))
    image = jnp.zeros(shape)
    update, _ = optimizer.update(jnp.ones(shape), optimizer.init(image), image)
    np.testing.assert_allclose(update, -sum(PYRAMID_SHARE**k for k in range(5)), rtol=1e-5)


def test_pyramid_step_is_the_gradient_seen_through_every_level(random):
    # With plain descent: Σ_k s²ᵏ U_k U_kᵀ g, U_k the matrix of an enlargement. It is symmetric, and
    # descends; level by level it equals matrices written out.
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
    np.testing.assert_allclose(np.ravel(update), expected, atol=1e-3)


def test_clamp_keeps_pixels_in_the_box():
    outside = lambda image: (jnp.sum((image - 2) ** 2), {})
    optimizer = make_optimizer("adam", 0.3)
    kept, _ = run(outside, optimizer, init(START, optimizer), 10)
    free, _ = run(outside, optimizer, init(START, optimizer), 10, clamp=False)
    assert kept.image.max() == 1
    assert free.image.max() > 1


def test_average_is_the_bias_corrected_exponential_mean_of_the_iterates():
    optimizer = make_optimizer("adam", 0.05)
    state, decay = init(START, optimizer, decay=0.7), 0.7
    iterates = [state.image]
    for _ in range(4):
        state, _ = step(bowl, optimizer, state, decay=decay)
        iterates.append(state.image)
    weights = decay ** np.arange(4, -1, -1)
    expected = np.tensordot(weights / weights.sum(), np.stack(iterates), axes=1)
    np.testing.assert_allclose(averaged(state, decay=decay), expected, rtol=1e-5)


def test_average_without_decay_is_the_last_iterate():
    optimizer = make_optimizer("adam", 0.05)
    state, _ = run(bowl, optimizer, init(START, optimizer), 5)
    np.testing.assert_array_equal(averaged(state), state.image)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_not_a_number_is_a_value_and_the_last_good_image_stays(name):
    def cliff(image):
        loss, _ = bowl(image)
        return jnp.where(loss < 0.1, jnp.nan, loss), {}

    optimizer = OPTIMIZERS[name]()
    state, trace = run(cliff, optimizer, init(START, optimizer), 100)
    assert jnp.isfinite(state.image).all()
    assert trace.finite[0]
    # A line search sees the cliff and stays before it; the others fall once, and stop there.
    assert trace.finite[-1] == state.finite == (name == "lbfgs with line search")


@pytest.mark.parametrize(
    "loss",
    [
        # At its own root: 0 / 0.
        lambda image: (jnp.sqrt(jnp.sum((image - START) ** 2)), {}),
        # An infinite slope, which the clip to [0, 1] must not hide.
        lambda image: (jnp.sum(jnp.sqrt(image - START)), {}),
    ],
    ids=["nan", "inf"],
)
@pytest.mark.parametrize("name", ["adam", "any of optax"])
def test_gradient_that_is_not_finite_is_caught_though_the_loss_is(loss, name):
    optimizer = OPTIMIZERS[name]()
    state, info = step(loss, optimizer, init(START, optimizer))
    assert jnp.isfinite(info.loss)
    assert not state.finite
    np.testing.assert_array_equal(state.image, START)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_one_bad_image_of_a_batch_fails_alone(name):
    optimizer = OPTIMIZERS[name]()
    batch = jnp.stack([START, START.at[0, 0, 0].set(jnp.nan)])
    states, _ = jax.vmap(lambda image: run(bowl, optimizer, init(image, optimizer), 50))(batch)
    np.testing.assert_array_equal(states.finite, [True, False])
    alone, _ = run(bowl, optimizer, init(START, optimizer), 50)
    np.testing.assert_allclose(states.image[0], alone.image, atol=1e-4)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_eager_steps_and_jitted_run_agree(name):
    optimizer = OPTIMIZERS[name]()
    eager = init(START, optimizer)
    for _ in range(2):
        eager, _ = step(bowl, optimizer, eager)
    jitted, _ = jax.jit(partial(run, bowl, optimizer, num_steps=2))(init(START, optimizer))
    np.testing.assert_allclose(jitted.image, eager.image, atol=1e-5)


def test_chunks_of_any_length_compile_once_and_equal_one_run():
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


def test_other_learning_rates_do_not_compile_again():
    traces = []

    @jax.jit
    def first_step(image, rate):
        traces.append(1)
        optimizer = make_optimizer("adam", rate)
        return step(bowl, optimizer, init(image, optimizer))[0].image

    moved = [jnp.abs(first_step(START, rate) - START).max() for rate in (0.01, 0.02)]
    assert len(traces) == 1
    np.testing.assert_allclose(moved[1] / moved[0], 2, rtol=1e-3)
