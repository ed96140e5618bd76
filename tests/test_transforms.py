"""The pure functions under JAX's transformations: the table in `jaxstyle/README.md`, by cell."""

import subprocess
import sys
from dataclasses import replace
from functools import partial
from typing import get_args

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from conftest import assert_same_picture, with_devices
from jax import export

import jaxstyle
from jaxstyle import (
    StyleConfig,
    color,
    features,
    load_weights,
    losses,
    make_targets,
    metrics,
    optimize,
    pyramid,
    stylize,
    stylize_batch,
    total_loss,
)
from jaxstyle.options import StyleLoss

CONFIG = StyleConfig(
    content_layers=("relu2_1", "self_similarity:relu2_1"),
    style_layers=("relu1_1", "relu2_1"),
    laplacian_weight=1.0,
)
# The loss of every style, on one layer each.
ALL_LOSSES = replace(CONFIG, style_layers=tuple(f"{name}:relu2_1" for name in get_args(StyleLoss)))
RUN = StyleConfig(size=24, steps=(2,), min_size=24, content_layers=("relu2_1",))
RUN = replace(RUN, style_layers=("relu1_1", "relu2_1"))


@pytest.fixture
def unchecked():
    """Turn off the tests' own check of shapes and dtypes."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="module")
def images():
    return jnp.asarray(np.random.default_rng(0).random((2, 16, 24, 3)), jnp.float32)


@pytest.fixture(scope="module")
def loss(params, images):
    targets = make_targets(params, images[0], [images[1]], ALL_LOSSES)
    return lambda image: total_loss(params, image, targets, ALL_LOSSES.weights)[0]


@pytest.fixture(scope="module")
def expected(loss, images):
    return jax.jit(jax.value_and_grad(loss))(images[1])


def assert_same(actual, expected):
    for a, b in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3 * np.abs(b).max())


@pytest.mark.slow
@pytest.mark.parametrize("transform", ["checkpoint", "lax.map", "export"])
def test_gradient_of_every_loss_is_the_same_under(loss, images, expected, transform):
    function = jax.value_and_grad(loss)
    if transform == "checkpoint":
        actual = jax.jit(jax.value_and_grad(jax.checkpoint(loss)))(images[1])
    elif transform == "lax.map":
        actual = jax.tree.map(lambda x: x[1], jax.lax.map(function, images))
    else:
        shape = jax.ShapeDtypeStruct(images.shape[1:], images.dtype)
        actual = export.export(jax.jit(function))(shape).call(images[1])
    assert_same(actual, expected)


@pytest.mark.slow
@pytest.mark.parametrize(
    "context",
    [
        partial(jax.numpy_rank_promotion, "raise"),
        partial(jax.debug_nans, True),
        jax.checking_leaks,
    ],
)
def test_gradient_of_every_loss_is_the_same_with(loss, images, expected, context):
    jax.clear_caches()
    with context():
        assert_same(jax.jit(jax.value_and_grad(loss))(images[1]), expected)


@pytest.mark.slow
def test_compiled_loss_transfers_nothing_from_the_host(loss, images, expected):
    function = jax.jit(jax.value_and_grad(loss))
    image = images[1]
    with jax.transfer_guard("disallow"):
        actual = function(image)
    assert_same(actual, expected)


TWO_DEVICES = """
from dataclasses import replace
from functools import partial
from typing import get_args

import jax, numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec as P

from jaxstyle import StyleConfig, load_weights, make_targets, stylize, stylize_batch, total_loss
from jaxstyle.options import StyleLoss

config = StyleConfig(
    content_layers=("relu2_1", "self_similarity:relu2_1"),
    style_layers=tuple(f"{name}:relu2_1" for name in get_args(StyleLoss)),
    laplacian_weight=1.0,
)
params = load_weights()
images = np.random.default_rng(0).random((2, 16, 24, 3)).astype(np.float32)
style = images[1]

def grad(image):
    targets = make_targets(params, image, [style], config)
    return jax.grad(lambda x: total_loss(params, x, targets, config.weights)[0])(image[::-1])

def check(actual, expected):
    assert len(actual.sharding.device_set) == 2
    np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-3 * abs(expected).max())

expected = jax.jit(jax.vmap(grad))(images)
mesh = jax.make_mesh((2,), ("images",), axis_types=(AxisType.Auto,))
mapped = jax.shard_map(jax.vmap(grad), mesh=mesh, in_specs=P("images"), out_specs=P("images"))
check(jax.jit(mapped)(images), expected)

run = replace(config, size=24, min_size=24, steps=(2,), learning_rate=0.002)
run = replace(run, style_layers=("relu1_1", "relu2_1"))
one = lambda image: stylize(params, image, style, run).image
mapped = jax.shard_map(jax.vmap(one), mesh=mesh, in_specs=P("images"), out_specs=P("images"))
result = jax.jit(mapped)(images)
assert (abs(np.asarray(result) - np.asarray(jax.vmap(one)(images))) > 2e-3).mean() < 5e-3

explicit = jax.make_mesh((2,), ("images",), axis_types=(AxisType.Explicit,))
with jax.set_mesh(explicit):
    sharded = jax.device_put(images, NamedSharding(explicit, P("images")))
    automatic = jax.sharding.auto_axes(jax.vmap(grad), out_sharding=P("images"))
    check(jax.jit(automatic)(sharded), expected)
    try:
        stylize_batch(params, sharded, style, run)
    except ValueError as error:
        assert "pass `sharding`" in str(error), error
    else:
        raise AssertionError("no error for explicit axes")
    stylize_batch(params, sharded, style, run, sharding=sharded.sharding)
"""


@pytest.mark.slow
def test_loss_targets_and_run_under_shard_map_and_explicit_axes():
    command = [sys.executable, "-W", "error", "-c", TWO_DEVICES]
    subprocess.run(command, check=True, env=with_devices(2))


@pytest.mark.slow
def test_gradients_over_the_numbers_of_a_configuration_equal_finite_differences(images):
    """Sweeps go through `vmap` and `grad`: every number of the configuration may be traced."""
    with jax.enable_x64():
        params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), load_weights())
        content, style = (jnp.asarray(image, jnp.float64) for image in images)

        def brightness(numbers):
            style_weight, learning_rate, tv_weight, blend = numbers
            config = replace(RUN, style_weight=style_weight, learning_rate=learning_rate)
            config = replace(config, tv_weight=tv_weight, blend=(1.0, blend), optimizer="lbfgs")
            config = replace(config, clamp=False, noise=0.0, dtype="float64")
            return jnp.square(stylize(params, content, [content, style], config).image).mean()

        numbers = jnp.array([2.0, 0.02, 1.0, 1.0])
        grads = jax.grad(brightness)(numbers)
        assert jnp.isfinite(grads).all()
        steps = 1e-4 * jnp.eye(4)
        after, before = (jax.vmap(brightness)(numbers + sign * steps) for sign in (1, -1))
        np.testing.assert_allclose(grads, (after - before) / 2e-4, rtol=1e-3)


def test_forward_mode_is_an_error_that_names_reverse_mode(params, images):
    with pytest.raises(TypeError) as info:
        jax.jvp(lambda x: features(params, x, ("relu1_1",)), (images[0],), (images[0],))
    assert any("reverse mode" in note for note in info.value.__notes__)


def test_a_batch_without_vmap_is_an_error_that_names_it(params, images, unchecked):
    targets = make_targets(params, images[0], [images[1]], CONFIG)
    with pytest.raises(ValueError, match=r"`image` has shape \(2, 16, 24, 3\).*`jax.vmap`"):
        total_loss(params, images, targets, CONFIG.weights)
    with pytest.raises(ValueError, match=r"`content` has shape .*`jax.vmap`"):
        make_targets(params, images, [images[0]], CONFIG)
    with pytest.raises(ValueError, match=r"`styles` has shape .*`jax.vmap`"):
        make_targets(params, images[0], [images], CONFIG)


@pytest.mark.slow
def test_float64_stays_float64(images):
    with jax.enable_x64():
        params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), load_weights())
        content, style = (jnp.asarray(image, jnp.float64) for image in images)
        # With fewer positions than channels, singular values of 0 limit finite differences.
        layers = tuple(f"{name}:relu1_1" for name in get_args(StyleLoss))
        config = replace(CONFIG, style_layers=layers, dtype="float64")
        targets = make_targets(params, content, [style, content], config)
        assert {x.dtype for x in jax.tree.leaves(targets)} == {jnp.dtype("float64")}
        loss = lambda x: total_loss(params, x, targets, config.weights)[0]
        image, gradient = content[::-1], jax.jit(jax.grad(loss))
        value, grad = jax.jit(loss)(image), gradient(image)
        assert value.dtype == grad.dtype == jnp.float64
        direction = jnp.asarray(np.random.default_rng(1).normal(size=image.shape))
        after, before = (jax.jit(loss)(image + step * direction) for step in (1e-6, -1e-6))
        np.testing.assert_allclose(jnp.vdot(grad, direction), (after - before) / 2e-6, rtol=1e-3)
        product = jax.jit(jax.grad(lambda x: jnp.vdot(jax.grad(loss)(x), direction)))
        after, before = (gradient(image + step * direction) for step in (1e-10, -1e-10))
        measured = (after - before) / 2e-10
        error = jnp.linalg.norm(product(image) - measured)
        assert error < 1e-3 * jnp.linalg.norm(measured)
        result = stylize(params, content, style, replace(RUN, dtype="float64"))
        assert result.image.dtype == result.trace.loss.dtype == jnp.float64


@pytest.mark.slow
@pytest.mark.parametrize("init", ["content", "statistics"])
def test_float32_stays_float32_with_float64_enabled(params, images, init):
    config = replace(RUN, init=init, optimizer="adam", average=0.5, min_size=16, laplacian_weight=1)
    expected = stylize(params, images[0], images[1], config)
    with jax.enable_x64():
        single = stylize(params, images[0], images[1], config)
        batch = stylize_batch(params, images[:1], images[1], config)
    assert single.image.dtype == batch.image.dtype == single.trace.loss.dtype == jnp.float32
    assert_same_picture(single.image, expected.image)
    assert_same_picture(batch.image[0], expected.image)


@pytest.mark.slow
@pytest.mark.parametrize("color", ["luminance", "match"])
def test_gradient_of_a_run_is_finite_for_content_and_style(params, images, color):
    config = replace(RUN, style_layers=("relu1_1", "relu3_1"), color=color, init="statistics")

    def brightness(content, style):
        return stylize(params, content, style, config).image.mean()

    grad = jax.jit(jax.grad(brightness, argnums=(0, 1)))
    checkerboard = np.indices((16, 24)).sum(axis=0)[..., None] % 2
    for value in (0, 1, checkerboard, images[1]):
        style = jnp.broadcast_to(jnp.asarray(value, jnp.float32), (16, 24, 3))
        for pair in ((images[0], style), (style, images[0])):
            assert all(jnp.isfinite(leaf).all() for leaf in grad(*pair))


PIXELS = np.zeros((16, 16, 3), np.uint8)
INTEGER_CALLS = {
    "features": lambda params: features(params, PIXELS, ("relu1_1",)),
    "make_targets": lambda params: make_targets(params, PIXELS, [PIXELS], CONFIG),
    "stylize": lambda params: stylize(params, PIXELS, PIXELS, RUN),
    "preview": lambda params: jaxstyle.preview(params, PIXELS, PIXELS, RUN),
    "texture": lambda params: jaxstyle.synthesize_texture(params, PIXELS, RUN),
    "normalize_weights": lambda params: jaxstyle.normalize_weights(params, [PIXELS]),
    "gram_loss": lambda _: jaxstyle.gram_loss(PIXELS[0], PIXELS[0]),
    "content_loss": lambda _: jaxstyle.content_loss(PIXELS, PIXELS),
    "match_color": lambda _: color.match_color(PIXELS, PIXELS),
    "match_luminance": lambda _: color.match_luminance(PIXELS, PIXELS),
    "with_chroma": lambda _: color.with_chroma(PIXELS, PIXELS),
    "laplacian_loss": lambda _: losses.color_windows(PIXELS),
    "add_noise": lambda _: pyramid.add_noise(jax.random.key(0), PIXELS, 0.1),
    "init": lambda _: optimize.init(PIXELS, optimize.make_optimizer("adam", 0.1)),
    "grain": lambda _: metrics.grain(PIXELS, PIXELS),
    "smooth_grain": lambda _: metrics.smooth_grain(PIXELS, PIXELS, PIXELS),
    "border": lambda _: metrics.border(PIXELS),
    "color_distance": lambda _: metrics.color_distance(PIXELS, PIXELS),
}
for name in ("gram_matrix", "total_variation", "moments", "self_similarity", "points"):
    INTEGER_CALLS[name] = lambda _, name=name: getattr(losses, name)(PIXELS)
for name in ("channel_quantiles", "sliced_quantiles"):
    INTEGER_CALLS[name] = lambda _, name=name: getattr(losses, name)(PIXELS)


@pytest.mark.parametrize("name", INTEGER_CALLS)
def test_integers_are_refused(params, unchecked, name):
    with pytest.raises(TypeError, match=r"is uint8; it must be floating point"):
        INTEGER_CALLS[name](params)
