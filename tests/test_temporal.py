"""The temporal loss in the objective and in whole runs."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxstyle
from jaxstyle import StyleConfig
from jaxstyle.losses import temporal_loss
from jaxstyle.objective import Previous

CONFIG = StyleConfig(
    size=32, min_size=16, steps=(6, 6), style_layers="relu1_1", content_layers="relu2_1", noise=0
)


def images(count):
    random = np.random.default_rng(0)
    # Smooth, so that resizing keeps what there is.
    small = random.random((count, 4, 4, 3)).astype(np.float32)
    return jax.image.resize(small, (count, 32, 32, 3), "linear")


def left_half(weight):
    return jnp.zeros((32, 32)).at[:, :16].set(weight)


def test_the_loss_has_a_temporal_term(params):
    content, style, image, before = images(4)
    previous = Previous(before, left_half(3.0))
    targets = jaxstyle.make_targets(params, content, [style], CONFIG, previous=previous)
    loss, terms = jaxstyle.total_loss(params, image, targets, CONFIG.weights)
    np.testing.assert_allclose(terms["temporal"], temporal_loss(image, *previous))
    without = jaxstyle.make_targets(params, content, [style], CONFIG)
    expected, _ = jaxstyle.total_loss(params, image, without, CONFIG.weights)
    np.testing.assert_allclose(loss, expected + terms["temporal"], rtol=1e-6)


def test_a_run_stays_near_the_previous_frame_where_it_has_weight(params):
    content, style, before = images(3)
    config = dataclasses.replace(CONFIG, steps=(30, 20), learning_rate=0.05)
    previous = Previous(before, left_half(1e5))
    result = jaxstyle.stylize(params, content, style, config, previous=previous)
    difference = np.abs(np.asarray(result.image) - np.asarray(before)).mean(axis=(0, 2))
    # At the border between both halves, the enlargement of the coarse level mixes them.
    assert difference[:14].mean() < 0.03
    assert difference[18:].mean() > 3 * difference[:14].mean()


def test_tiles_do_not_change_the_temporal_loss(params):
    content, style, image, before = (jnp.tile(x, (5, 6, 1)) for x in images(4))
    previous = Previous(before, jnp.linspace(0, 1e3, 160 * 192).reshape(160, 192))
    results = []
    for tile in (0, 64):
        config = dataclasses.replace(CONFIG, tile=tile)
        targets = jaxstyle.make_targets(params, content, [style], config, previous=previous)
        loss = lambda x, targets=targets: jaxstyle.total_loss(params, x, targets, CONFIG.weights)
        results.append(jax.value_and_grad(loss, has_aux=True)(image))
    ((loss, terms), gradient), ((tiled, tiled_terms), tiled_gradient) = results
    np.testing.assert_allclose(tiled_terms["temporal"], terms["temporal"], rtol=1e-6)
    np.testing.assert_allclose(tiled, loss, rtol=1e-4)
    np.testing.assert_allclose(tiled_gradient, gradient, atol=1e-3 * np.abs(gradient).max())


@pytest.mark.parametrize("color", ["style", "luminance"])
def test_every_result_of_a_batch_has_its_own_previous_frame(params, color):
    # In float32, rounding decides the sign of a few gradients, and with it Adam's first step.
    with jax.enable_x64(True):
        config = dataclasses.replace(CONFIG, color=color, min_size=32, steps=(4,), dtype="float64")
        drawn = np.asarray(images(5), np.float64)
        contents, style, befores = drawn[:2], drawn[2], drawn[3:]
        weights = np.asarray([left_half(1e4), left_half(1e2)], np.float64)
        batch = jaxstyle.stylize_batch(
            params, contents, style, config, previous=Previous(befores, weights)
        )
        for i in range(2):
            previous = Previous(befores[i], weights[i])
            single = jaxstyle.stylize(params, contents[i], style, config, previous=previous)
            np.testing.assert_allclose(batch.image[i], single.image, atol=1e-6)
            assert "temporal" in single.trace.terms
