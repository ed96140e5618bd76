"""Moments and the Gaussian Wasserstein loss. test_families.py has claims of all style losses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import IMAGES

from jaxstyle.losses import gaussian, gram_matrix, moments, wasserstein_loss


def features(random, shape=(6, 8, 5), shift=1.0):
    """Random features that resemble activations: correlated, at least 0, with a mean above 0."""
    mixed = random.standard_normal(shape) @ random.standard_normal((shape[-1], shape[-1]))
    return jnp.asarray(np.maximum(mixed + shift, 0), jnp.float32)


def root(matrix):
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T


def oracle(x, y):
    """Squared distance between the Gaussians of two sets of features, in float64."""
    x, y = (np.asarray(f, np.float64).reshape(-1, f.shape[-1]) for f in (x, y))
    a, b = np.cov(x.T, bias=True), np.cov(y.T, bias=True)
    product = root(root(b) @ a @ root(b))
    means = np.square(x.mean(0) - y.mean(0)).sum()
    return (means + np.trace(a + b - 2 * product)) / x.shape[1]


def loss(x, y, mask=None):
    return wasserstein_loss(x, gaussian(moments(y)), mask)


# With fewer positions than channels, the loss uses the other of two matrices.
@pytest.mark.slow
@pytest.mark.parametrize("shape", [(6, 8, 5), (2, 3, 12), (1, 1, 4), (16, 16, 64)])
def test_loss_is_the_distance_between_gaussians(random, shape):
    x, y = features(random, shape), features(random, shape[::1], shift=0.3)
    np.testing.assert_allclose(loss(x, y), oracle(x, y), rtol=1e-3)


@pytest.mark.slow
def test_directions_of_low_variance_are_included(random):
    # As in VGG19: the standard deviations span a factor of several hundred.
    scales = np.geomspace(1, 3e-3, 24)
    x, y = (
        jnp.asarray((random.standard_normal((40, 40, 24)) * scales) @ rotation, jnp.float32)
        for rotation in (np.linalg.qr(random.standard_normal((24, 24)))[0] for _ in range(2))
    )
    y = 0.9 * x + 0.1 * y
    np.testing.assert_allclose(loss(x, y), oracle(x, y), rtol=0.05)


@pytest.mark.slow
def test_gradient_is_accurate_for_a_mean_far_above_the_deviation(random):
    # Flat parts of an image have features with a small deviation.
    x, y = 1e-3 * features(random, (8, 12, 6)), features(random, (8, 12, 6))
    target = gaussian(moments(y))
    grad, shifted_grad = (jax.grad(wasserstein_loss)(x + shift, target) for shift in (0, 3))
    mean_grad = 2 * 3 / x.size
    np.testing.assert_allclose(shifted_grad - mean_grad, grad, atol=0.02 * np.abs(grad).max())


@pytest.mark.slow
def test_loss_of_independent_channels_is_that_of_means_and_deviations(random):
    # Both channels are uncorrelated, with means 1 and 3, and deviation 1.
    x = jnp.asarray([[[0.0, 2]], [[2, 2]], [[0, 4]], [[2, 4]]])
    y = 3 * x + 1
    means, deviations = (1 - 4) ** 2 + (3 - 10) ** 2, 2 * (1 - 3) ** 2
    np.testing.assert_allclose(loss(x, y), (means + deviations) / 2, rtol=1e-4)


def test_loss_is_symmetric(random):
    x, y = features(random), features(random)
    np.testing.assert_allclose(loss(x, y), loss(y, x), rtol=1e-3)


def test_second_moment_is_the_gram_matrix(random):
    x = features(random)
    np.testing.assert_array_equal(moments(x).second, gram_matrix(x))


def test_averaged_moments_are_those_of_both_maps(random):
    x, y = features(random), features(random)
    both = jnp.concatenate([x, y])
    average = jax.tree.map(lambda a, b: (a + b) / 2, moments(x), moments(y))
    np.testing.assert_allclose(average.mean, moments(both).mean, rtol=1e-5)
    np.testing.assert_allclose(average.second, moments(both).second, rtol=1e-5)


def test_masked_mean_is_the_mean_of_the_region(random):
    x = features(random)
    mask = jnp.zeros(x.shape[:2]).at[:, :3].set(1)
    np.testing.assert_allclose(moments(x, mask).mean, moments(x[:, :3]).mean, rtol=1e-5)


@pytest.mark.parametrize("shape", [(6, 8, 5), (2, 3, 12)])
def test_gradient_agrees_with_finite_differences(random, shape):
    x, y = features(random, shape), features(random, shape)
    direction = features(random, shape, shift=0.0)
    slope = jnp.vdot(jax.grad(loss)(x, y), direction)
    step = 1e-3
    around = (np.asarray(x, np.float64) + s * step * np.asarray(direction) for s in (1, -1))
    after, before = (oracle(point, y) for point in around)
    np.testing.assert_allclose(slope, (after - before) / (2 * step), rtol=2e-2)


def test_moments_of_half_precision_features_are_float32(random):
    assert moments(features(random).astype(jnp.bfloat16)).mean.dtype == jnp.float32


@pytest.mark.slow
def test_loss_of_real_features_is_accurate_in_value_and_gradient(params):
    from jaxstyle import features as extract
    from jaxstyle import read_image

    pictures = (read_image(IMAGES / name, 128) for name in ("coffee.jpg", "cafe_terrace.jpg"))
    # Half of the singular values are below a thousandth of the largest.
    x, y = (extract(params, image, ("relu1_1",))["relu1_1"] for image in pictures)
    value, grad = jax.value_and_grad(loss)(x, y)
    np.testing.assert_allclose(value, oracle(x, y), rtol=2e-3)
    # d |X R|_* = U Vᵀ R, from the singular values U S Vᵀ of X R.
    flat, style = (np.asarray(a, np.float64).reshape(-1, a.shape[-1]) for a in (x, y))
    centered = (flat - flat.mean(0)) / np.sqrt(len(flat))
    style_root = root(np.cov(style.T, bias=True))
    u, _, v = np.linalg.svd(centered @ style_root, full_matrices=False)
    spread = 2 * (centered - u @ v @ style_root)
    expected = (spread - spread.mean(0)) / np.sqrt(len(flat))
    expected += 2 * (flat.mean(0) - style.mean(0)) / len(flat)
    error = np.asarray(grad).reshape(flat.shape) - expected / flat.shape[1]
    assert np.linalg.norm(error) < 0.035 * np.linalg.norm(expected / flat.shape[1])
