import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxstyle.losses import gaussian, gram_matrix, moments, wasserstein_loss
from jaxstyle.losses.moments import root_trace


def features(random, shape=(6, 8, 5), shift=1.0):
    """Like activations: correlated, at least 0, of a mean above 0."""
    mixed = random.standard_normal(shape) @ random.standard_normal((shape[-1], shape[-1]))
    return jnp.asarray(np.maximum(mixed + shift, 0), jnp.float32)


def root(matrix):
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T


def oracle(x, y):
    """Squared distance of the Gaussians of two sets of features, in float64."""
    x, y = (np.asarray(f, np.float64).reshape(-1, f.shape[-1]) for f in (x, y))
    a, b = np.cov(x.T, bias=True), np.cov(y.T, bias=True)
    middle = root(root(b) @ a @ root(b))
    means = np.square(x.mean(0) - y.mean(0)).sum()
    return (means + np.trace(a + b - 2 * middle)) / x.shape[1]


def loss(x, y, mask=None):
    return wasserstein_loss(x, gaussian(moments(y)), mask)


# With fewer positions than channels the smaller of two matrices is the other one.
@pytest.mark.parametrize("shape", [(6, 8, 5), (2, 3, 12), (1, 1, 4), (16, 16, 64)])
def test_loss_is_the_distance_of_gaussians(random, shape):
    x, y = features(random, shape), features(random, shape[::1], shift=0.3)
    np.testing.assert_allclose(loss(x, y), oracle(x, y), rtol=1e-3)


def test_faint_directions_count(random):
    # As in the network: a few directions vary a hundred times as much as most.
    scales = np.geomspace(1, 3e-3, 24)
    x, y = (
        jnp.asarray((random.standard_normal((40, 40, 24)) * scales) @ turned, jnp.float32)
        for turned in (np.linalg.qr(random.standard_normal((24, 24)))[0] for _ in range(2))
    )
    y = 0.9 * x + 0.1 * y
    np.testing.assert_allclose(loss(x, y), oracle(x, y), rtol=0.05)


def test_a_mean_far_above_the_deviations_is_no_noise(random):
    # Flat parts of a picture: features that hardly vary.
    x, y = 1e-3 * features(random, (8, 12, 6)), features(random, (8, 12, 6))
    target = gaussian(moments(y))
    grad, far = (jax.grad(wasserstein_loss)(x + shift, target) for shift in (0, 3))
    means = 2 * 3 / x.size
    np.testing.assert_allclose(far - means, grad, atol=0.02 * np.abs(grad).max())


def test_loss_of_independent_channels_is_that_of_means_and_deviations(random):
    # Channels that never vary together: the squares of differences of means and deviations.
    x = jnp.asarray([[[0.0, 2]], [[2, 2]], [[0, 4]], [[2, 4]]])
    y = 3 * x + 1
    means, deviations = (1 - 4) ** 2 + (3 - 10) ** 2, 2 * (1 - 3) ** 2
    np.testing.assert_allclose(loss(x, y), (means + deviations) / 2, rtol=1e-4)


def test_loss_is_zero_at_the_style_and_does_not_know_places(random):
    x = features(random)
    assert abs(loss(x, x)) < 1e-4
    y = features(random)
    np.testing.assert_allclose(loss(x[::-1], y), loss(x, y), rtol=1e-5)


def test_loss_is_symmetric(random):
    x, y = features(random), features(random)
    np.testing.assert_allclose(loss(x, y), loss(y, x), rtol=1e-3)


def test_second_moment_is_the_gram_matrix_and_moments_blend(random):
    x, y = features(random), features(random)
    np.testing.assert_array_equal(moments(x).second, gram_matrix(x))
    both = jnp.concatenate([x, y])
    half = jax.tree.map(lambda a, b: (a + b) / 2, moments(x), moments(y))
    np.testing.assert_allclose(half.mean, moments(both).mean, rtol=1e-5)
    np.testing.assert_allclose(half.second, moments(both).second, rtol=1e-5)


def test_mask_of_a_region_is_the_region_alone(random):
    x, y = features(random), features(random)
    mask = jnp.zeros(x.shape[:2]).at[:, :3].set(1)
    np.testing.assert_allclose(loss(x, y, mask), loss(x[:, :3], y), rtol=1e-3)
    np.testing.assert_allclose(moments(x, mask).mean, moments(x[:, :3]).mean, rtol=1e-5)


@pytest.mark.parametrize("shape", [(6, 8, 5), (2, 3, 12)])
def test_gradient_is_the_slope(random, shape):
    x, y = features(random, shape), features(random, shape)
    direction = features(random, shape, shift=0.0)
    slope = jnp.vdot(jax.grad(loss)(x, y), direction)
    step = 1e-3
    around = (np.asarray(x, np.float64) + s * step * np.asarray(direction) for s in (1, -1))
    after, before = (oracle(point, y) for point in around)
    np.testing.assert_allclose(slope, (after - before) / (2 * step), rtol=2e-2)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_gradient_is_finite_on_a_flat_map(random, value):
    flat = jnp.full((4, 4, 5), value)
    assert jnp.isfinite(jax.grad(loss)(flat, features(random))).all()
    assert jnp.isfinite(jax.grad(loss)(features(random), flat)).all()
    assert jnp.isfinite(jax.grad(loss)(flat, flat)).all()


def test_root_trace_is_the_sum_of_singular_values(random):
    y = random.standard_normal((7, 20)).astype(np.float32)
    u, s, _ = np.linalg.svd(y, full_matrices=False)
    trace, grad = jax.value_and_grad(root_trace)(jnp.asarray(y @ y.T))
    np.testing.assert_allclose(trace, s.sum(), rtol=1e-4)
    np.testing.assert_allclose(grad, (u / (2 * s)) @ u.T, atol=2e-2)


def test_batch_is_row_by_row_and_jit_is_eager(random):
    x = jnp.stack([features(random), features(random)])
    y = features(random)
    each = jnp.stack([loss(row, y) for row in x])
    target = gaussian(moments(y))
    np.testing.assert_allclose(jax.vmap(loss, in_axes=(0, None))(x, y), each, rtol=1e-4)
    np.testing.assert_allclose(jax.jit(wasserstein_loss)(x[0], target), each[0], rtol=1e-4)
    pair = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), target)
    np.testing.assert_allclose(wasserstein_loss(x, pair), each, rtol=1e-4)


def test_half_precision_is_summed_in_float32(random):
    x, y = features(random), features(random)
    half = wasserstein_loss(x.astype(jnp.bfloat16), gaussian(moments(y)))
    assert half.dtype == jnp.float32
    # Of the same rounded features, so that only the sums are compared.
    rounded = x.astype(jnp.bfloat16).astype(jnp.float32)
    np.testing.assert_allclose(half, loss(rounded, y), rtol=1e-4)
    assert moments(x.astype(jnp.bfloat16)).mean.dtype == jnp.float32
