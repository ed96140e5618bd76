"""Losses of style by name, and those of content and photographs beside the papers' own."""

from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxstyle.losses import (
    channel_quantiles,
    color_windows,
    histogram_loss,
    laplacian_loss,
    mean_std_loss,
    moments,
    nearest_loss,
    points,
    self_similarity,
    self_similarity_loss,
    sliced_loss,
    sliced_quantiles,
    style_family,
    transport_loss,
)
from jaxstyle.losses.neighbors import blend_points
from jaxstyle.options import StyleLoss


def features(random, shape=(6, 8, 5), shift=0.5):
    return jnp.asarray(np.maximum(random.standard_normal(shape) + shift, 0), jnp.float32)


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def flat(x):
    return np.asarray(x, np.float64).reshape(-1, x.shape[-1])


def test_mean_std_is_the_formula(random):
    x, y = features(random), features(random, (4, 3, 5))
    means = np.square(flat(x).mean(0) - flat(y).mean(0))
    stds = np.square(flat(x).std(0) - flat(y).std(0))
    np.testing.assert_allclose(mean_std_loss(x, moments(y)), (means + stds).mean(), rtol=1e-4)


def test_histogram_is_the_distance_of_values_in_order(random):
    # 512 positions, as many as quantiles are kept: each value has its own.
    x, y = (jnp.asarray(random.standard_normal((16, 32, 3)), jnp.float32) for _ in range(2))
    expected = np.square(np.sort(flat(x), 0) - np.sort(flat(y), 0)).mean()
    np.testing.assert_allclose(histogram_loss(x, channel_quantiles(y)), expected, rtol=1e-4)


def test_histogram_of_other_sizes_compares_shapes(random):
    x = jnp.asarray(random.standard_normal((40, 40, 2)), jnp.float32)
    # Shifted by 3: every value has 3 to go.
    y = jnp.asarray(random.standard_normal((60, 50, 2)), jnp.float32) + 3
    np.testing.assert_allclose(histogram_loss(x, channel_quantiles(y)), 9, rtol=0.1)


def test_sliced_sees_correlations_that_histograms_do_not(random):
    x = jnp.asarray(random.standard_normal((16, 32, 2)), jnp.float32)
    y = jnp.stack([x[..., 0], x[..., 0]], axis=-1)
    z = jnp.stack([x[..., 0], jnp.flip(x[..., 0])], axis=-1)
    assert histogram_loss(z, channel_quantiles(y)) < 1e-6
    assert sliced_loss(z, sliced_quantiles(y)) > 0.05
    # Mean of squares along unit directions of a plane: half the squared length.
    shifted = sliced_loss(y + jnp.asarray([3.0, 0.0]), sliced_quantiles(y))
    np.testing.assert_allclose(shifted, 9 / 2, rtol=0.1)


def test_nearest_is_the_mean_cosine_distance_to_the_nearest(random):
    x, y = features(random, (5, 6, 4)), features(random, (32, 32, 4))
    a, b = unit(flat(x) - flat(x).mean(0)), unit(flat(y) - flat(y).mean(0))
    expected = (1 - (a @ b.T).max(1)).mean()
    np.testing.assert_allclose(nearest_loss(x, points(y)), expected, rtol=1e-4)


def test_transport_is_the_larger_of_both_ways(random):
    x, y = (features(random, shape, shift=4.0) for shape in ((5, 6, 4), (32, 32, 4)))
    distances = 1 - unit(flat(x)) @ unit(flat(y)).T
    expected = max(distances.min(1).mean(), distances.min(0).mean())
    np.testing.assert_allclose(transport_loss(x, points(y)), expected, rtol=1e-3)
    # A part of the painting is not all of it: the way back is the longer one.
    part = jnp.broadcast_to(y[:1, :1], (5, 6, 4))
    assert transport_loss(part, points(y)) > 2 * expected


def test_transport_does_not_reach_past_a_soft_mask(random):
    x, y = features(random, (16, 16, 5)), features(random, (16, 16, 5))
    mask = jnp.full((16, 16), 1 / 255).at[:, :8].set(1)
    slope = jax.grad(lambda x: transport_loss(x, points(y), mask))(x)
    assert abs(slope[:, 8:]).sum() < 0.05 * abs(slope).sum()


def test_quantiles_of_a_batch_are_row_by_row(random):
    x = jnp.stack([features(random), features(random)])
    for measure in (channel_quantiles, sliced_quantiles):
        np.testing.assert_allclose(measure(x)[1], measure(x[1]), rtol=1e-4)


def test_points_of_a_small_map_come_again_and_blend_by_weight(random):
    x, y = features(random, (3, 2, 4)), features(random, (40, 40, 4))
    kept = points(x)
    assert kept.shape == (1024, 4)
    assert {tuple(row) for row in np.asarray(kept)} == {tuple(row) for row in np.asarray(flat(x))}
    both = jnp.stack([jnp.zeros((1024, 4)), points(y) + 1])
    mixed = blend_points(both, jnp.asarray([0.25, 0.75]))
    assert int((mixed == 0).all(-1).sum()) == 256
    np.testing.assert_array_equal(blend_points(both, jnp.asarray([0.0, 1.0])), both[1])


def test_self_similarity_is_the_formula_and_does_not_know_colors(random):
    x = features(random, (4, 5, 6), shift=1.0)
    distances = 1 - unit(flat(x)) @ unit(flat(x)).T
    expected = distances / distances.mean(1, keepdims=True)
    np.testing.assert_allclose(self_similarity(x), expected, atol=1e-4)
    assert self_similarity_loss(3 * x[..., ::-1], self_similarity(x)) < 1e-4
    assert self_similarity_loss(x[::-1], self_similarity(x)) > 0.1
    assert self_similarity(jnp.ones((70, 33, 2))).shape == (24 * 17, 24 * 17)


def dense_laplacian(image, epsilon):
    """Levin, Lischinski and Weiss (2008), eq. 12, entry by entry, in float64."""
    height, width, _ = image.shape
    matrix = np.zeros((height * width, height * width))
    for i in range(height - 2):
        for j in range(width - 2):
            pixels = [(i + a) * width + j + b for a in range(3) for b in range(3)]
            window = image.reshape(-1, 3)[pixels]
            centered = window - window.mean(0)
            inverse = np.linalg.inv(centered.T @ centered / 9 + epsilon / 9 * np.eye(3))
            affinity = (1 + centered @ inverse @ centered.T) / 9
            matrix[np.ix_(pixels, pixels)] += np.eye(9) - affinity
    return matrix


def test_laplacian_is_levins_matrix(random):
    photo, image = random.uniform(size=(2, 6, 7, 3))
    matrix = dense_laplacian(photo, 1e-5)
    values = image.reshape(-1, 3)
    expected = np.trace(values.T @ matrix @ values) / (9 * 4 * 5)
    target = color_windows(jnp.asarray(photo, jnp.float32))
    found = laplacian_loss(jnp.asarray(image, jnp.float32), target)
    np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_laplacian_allows_what_is_affine_in_colors(random):
    photo = jnp.asarray(random.uniform(size=(9, 8, 3)), jnp.float32)
    graded = photo @ jnp.asarray(random.uniform(size=(3, 3)), jnp.float32) / 3 + 0.1
    target = color_windows(photo)
    assert laplacian_loss(graded, target) < 1e-5
    assert laplacian_loss(photo[::-1], target) > 1e-3


NAMES = get_args(StyleLoss)


def loss_of(name, x, y, mask=None):
    family = style_family(name)
    return family.loss(x, family.target(family.statistics(y)), mask)


@pytest.mark.parametrize("name", NAMES)
def test_loss_is_small_at_the_style_and_does_not_know_places(random, name):
    x, y = features(random, (16, 32, 5)), features(random, (16, 32, 5), shift=2.0)
    far = loss_of(name, x, y)
    assert far > 0
    assert abs(loss_of(name, y, y)) < 0.02 * far
    np.testing.assert_allclose(loss_of(name, x[::-1], y), far, rtol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_mask_of_a_region_is_the_region_alone(random, name):
    x, y = features(random), features(random, (9, 9, 5))
    mask = jnp.zeros(x.shape[:2]).at[:, :3].set(1)
    np.testing.assert_allclose(loss_of(name, x, y, mask), loss_of(name, x[:, :3], y), rtol=2e-3)
    assert jnp.isfinite(loss_of(name, x, y, 0 * mask))


@pytest.mark.parametrize("name", NAMES)
def test_gradient_is_the_slope(random, name):
    with jax.enable_x64():
        # Not cut off at 0: values that tie have no slope where they are put in order.
        x, y, along = random.uniform(0.1, 1, size=(3, 5, 6, 4))
        target = style_family(name).statistics(jnp.asarray(y))
        target = style_family(name).target(target)
        loss = lambda x: style_family(name).loss(x, target, None)
        slope = jnp.vdot(jax.grad(loss)(jnp.asarray(x)), along)
        after, before = (loss(jnp.asarray(x + step * along)) for step in (1e-6, -1e-6))
        # The damping of weak directions is not in the Wasserstein loss's gradient.
        rtol = 2e-2 if name == "wasserstein" else 1e-4
        np.testing.assert_allclose(slope, (after - before) / 2e-6, rtol=rtol)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_gradient_is_finite_on_a_flat_map(random, name, value):
    image = jnp.full((4, 4, 5), value)
    assert jnp.isfinite(jax.grad(lambda x: loss_of(name, x, features(random)))(image)).all()
    assert jnp.isfinite(jax.grad(lambda x: loss_of(name, x, image))(image)).all()


@pytest.mark.parametrize("name", NAMES)
def test_batch_is_row_by_row_and_jit_is_eager(random, name):
    x, y = jnp.stack([features(random), features(random)]), features(random)
    each = jnp.stack([loss_of(name, row, y) for row in x])
    mapped = jax.jit(jax.vmap(lambda row: loss_of(name, row, y)))(x)
    np.testing.assert_allclose(mapped, each, rtol=1e-3)
    family = style_family(name)
    pair = jax.tree.map(lambda a: jnp.stack([a, a]), family.target(family.statistics(y)))
    np.testing.assert_allclose(family.loss(x, pair, None), each, rtol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_half_precision_is_summed_in_float32(random, name):
    x, y = features(random), features(random)
    assert loss_of(name, x.astype(jnp.bfloat16), y).dtype == jnp.float32


@pytest.mark.parametrize(
    "loss",
    [
        lambda x, y: self_similarity_loss(x, self_similarity(y)),
        lambda x, y: laplacian_loss(x, color_windows(y)),
    ],
)
def test_content_losses_have_slopes_and_are_finite_on_flat_maps(random, loss):
    with jax.enable_x64():
        x, y, along = (jnp.asarray(random.uniform(0.2, 1, size=(5, 6, 3))) for _ in range(3))
        slope = jnp.vdot(jax.grad(loss)(x, y), along)
        after, before = (loss(x + step * along, y) for step in (1e-6, -1e-6))
        np.testing.assert_allclose(slope, (after - before) / 2e-6, rtol=1e-4)
        np.testing.assert_allclose(jax.vmap(loss)(x[None], y[None])[0], loss(x, y), rtol=1e-6)
    for value in (0.0, 1.0):
        image = jnp.full((5, 6, 3), value)
        assert jnp.isfinite(jax.grad(loss)(image, image)).all()
