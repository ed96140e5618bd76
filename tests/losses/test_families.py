"""Style losses by name, and the content losses on self-similarity and the matting Laplacian."""

from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxstyle import StyleConfig, make_targets, total_loss
from jaxstyle import features as extract_features
from jaxstyle.losses import (
    channel_quantiles,
    color_windows,
    histogram_loss,
    laplacian_loss,
    mean_std_loss,
    moments,
    nearest_loss,
    points,
    register_style_loss,
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


def test_mean_std_loss_is_the_formula(random):
    x, y = features(random), features(random, (4, 3, 5))
    means = np.square(flat(x).mean(0) - flat(y).mean(0))
    stds = np.square(flat(x).std(0) - flat(y).std(0))
    np.testing.assert_allclose(mean_std_loss(x, moments(y)), (means + stds).mean(), rtol=1e-4)


def test_histogram_loss_compares_sorted_values(random):
    # With 512 positions, each value is one of the 512 quantiles.
    x, y = (jnp.asarray(random.standard_normal((16, 32, 3)), jnp.float32) for _ in range(2))
    expected = np.square(np.sort(flat(x), 0) - np.sort(flat(y), 0)).mean()
    np.testing.assert_allclose(histogram_loss(x, channel_quantiles(y)), expected, rtol=1e-4)


def test_quantiles_are_those_of_numpy_in_the_middle_of_each_level(random):
    style = features(random, (9, 7, 3))
    levels = (np.arange(512) + 0.5) / 512
    expected = np.quantile(flat(style), levels, axis=0, method="hazen")
    np.testing.assert_allclose(channel_quantiles(style), expected, rtol=1e-4, atol=1e-5)


def test_histogram_loss_is_independent_of_image_size(random):
    x = jnp.asarray(random.standard_normal((40, 40, 2)), jnp.float32)
    # Every value is shifted by 3, so the loss is 3².
    y = jnp.asarray(random.standard_normal((60, 50, 2)), jnp.float32) + 3
    np.testing.assert_allclose(histogram_loss(x, channel_quantiles(y)), 9, rtol=0.1)


@pytest.mark.slow
def test_sliced_loss_depends_on_correlations_unlike_histogram_loss(random):
    x = jnp.asarray(random.standard_normal((16, 32, 2)), jnp.float32)
    y = jnp.stack([x[..., 0], x[..., 0]], axis=-1)
    z = jnp.stack([x[..., 0], jnp.flip(x[..., 0])], axis=-1)
    assert histogram_loss(z, channel_quantiles(y)) < 1e-6
    assert sliced_loss(z, sliced_quantiles(y)) > 0.05
    # The mean square along random directions in a plane is half the squared length.
    shifted = sliced_loss(y + jnp.asarray([3.0, 0.0]), sliced_quantiles(y))
    np.testing.assert_allclose(shifted, 9 / 2, rtol=0.1)


@pytest.mark.slow
def test_nearest_loss_is_the_mean_cosine_distance_to_the_nearest_neighbor(random):
    x, y = features(random, (5, 6, 4)), features(random, (32, 32, 4))
    a, b = unit(flat(x) - flat(x).mean(0)), unit(flat(y) - flat(y).mean(0))
    expected = (1 - (a @ b.T).max(1)).mean()
    np.testing.assert_allclose(nearest_loss(x, points(y)), expected, rtol=1e-4)


def test_transport_loss_is_the_larger_of_both_directions(random):
    x, y = (features(random, shape, shift=4.0) for shape in ((5, 6, 4), (32, 32, 4)))
    distances = 1 - unit(flat(x)) @ unit(flat(y)).T
    expected = max(distances.min(1).mean(), distances.min(0).mean())
    np.testing.assert_allclose(transport_loss(x, points(y)), expected, rtol=1e-3)
    # One repeated feature: the distance from the style image to it is the larger one.
    repeated = jnp.broadcast_to(y[:1, :1], (5, 6, 4))
    assert transport_loss(repeated, points(y)) > 2 * expected


@pytest.mark.slow
def test_transport_loss_has_almost_no_gradient_where_a_mask_is_small(random):
    x, y = features(random, (16, 16, 5)), features(random, (16, 16, 5))
    mask = jnp.full((16, 16), 1 / 255).at[:, :8].set(1)
    grad = jax.grad(lambda x: transport_loss(x, points(y), mask))(x)
    assert abs(grad[:, 8:]).sum() < 0.05 * abs(grad).sum()


@pytest.mark.slow
def test_quantiles_of_a_batch_are_those_of_each_image(random):
    x = jnp.stack([features(random), features(random)])
    for quantiles in (channel_quantiles, sliced_quantiles):
        np.testing.assert_allclose(quantiles(x)[1], quantiles(x[1]), rtol=1e-4)


def test_points_of_a_small_map_contain_every_position(random):
    x = features(random, (3, 2, 4))
    sample = points(x)
    assert sample.shape == (1024, 4)
    assert {tuple(row) for row in np.asarray(sample)} == {tuple(row) for row in np.asarray(flat(x))}


def test_blended_points_are_taken_in_proportion_to_the_weights(random):
    y = features(random, (40, 40, 4))
    both = jnp.stack([jnp.zeros((1024, 4)), points(y) + 1])
    blended = blend_points(both, jnp.asarray([0.25, 0.75]))
    assert int((blended == 0).all(-1).sum()) == 256
    np.testing.assert_array_equal(blend_points(both, jnp.asarray([0.0, 1.0])), both[1])


def test_self_similarity_is_the_formula(random):
    x = features(random, (4, 5, 6), shift=1.0)
    distances = 1 - unit(flat(x)) @ unit(flat(x)).T
    expected = distances / distances.mean(1, keepdims=True)
    np.testing.assert_allclose(self_similarity(x), expected, atol=1e-4)
    assert self_similarity(jnp.ones((70, 33, 2))).shape == (24 * 17, 24 * 17)


def test_self_similarity_loss_ignores_channels_but_not_positions(random):
    x = features(random, (4, 5, 6), shift=1.0)
    assert self_similarity_loss(3 * x[..., ::-1], self_similarity(x)) < 1e-4
    assert self_similarity_loss(x[::-1], self_similarity(x)) > 0.1


def dense_laplacian(image, epsilon):
    """Matting Laplacian of Levin, Lischinski and Weiss (2008), eq. 12, in float64."""
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


@pytest.mark.slow
def test_laplacian_loss_is_the_dense_quadratic_form(random):
    content, image = random.uniform(size=(2, 6, 7, 3))
    matrix = dense_laplacian(content, 1e-5)
    values = image.reshape(-1, 3)
    expected = np.trace(values.T @ matrix @ values) / (9 * 4 * 5)
    target = color_windows(jnp.asarray(content, jnp.float32))
    loss = laplacian_loss(jnp.asarray(image, jnp.float32), target)
    np.testing.assert_allclose(loss, expected, rtol=1e-3)


@pytest.mark.slow
def test_laplacian_loss_allows_an_affine_color_transform(random):
    content = jnp.asarray(random.uniform(size=(9, 8, 3)), jnp.float32)
    transformed = content @ jnp.asarray(random.uniform(size=(3, 3)), jnp.float32) / 3 + 0.1
    target = color_windows(content)
    assert laplacian_loss(transformed, target) < 1e-5
    assert laplacian_loss(content[::-1], target) > 1e-3


NAMES = get_args(StyleLoss)


def loss_of(name, x, y, mask=None):
    family = style_family(name)
    return family.loss(x, family.target(family.statistics(y)), mask)


@pytest.mark.parametrize("name", NAMES)
def test_loss_is_zero_at_the_style_image_and_invariant_to_pixel_order(random, name):
    x, y = features(random, (16, 32, 5)), features(random, (16, 32, 5), shift=2.0)
    loss = loss_of(name, x, y)
    assert loss > 0
    assert abs(loss_of(name, y, y)) < min(1e-4, 0.02 * loss)
    np.testing.assert_allclose(loss_of(name, x[::-1], y), loss, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_masked_loss_is_the_loss_of_the_region(random, name):
    x, y = features(random), features(random, (9, 9, 5))
    mask = jnp.zeros(x.shape[:2]).at[:, :3].set(1)
    np.testing.assert_allclose(loss_of(name, x, y, mask), loss_of(name, x[:, :3], y), rtol=1e-3)
    assert jnp.isfinite(loss_of(name, x, y, 0 * mask))


# test_moments.py compares the gradient of `wasserstein` with an oracle.
@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NAMES if name != "wasserstein"])
def test_gradient_agrees_with_finite_differences(random, name):
    with jax.enable_x64():
        # No value is 0: where values are equal, sorting is not differentiable.
        x, y, direction = random.uniform(0.1, 1, size=(3, 5, 6, 4))
        target = style_family(name).statistics(jnp.asarray(y))
        target = style_family(name).target(target)
        loss = lambda x: style_family(name).loss(x, target, None)
        slope = jnp.vdot(jax.grad(loss)(jnp.asarray(x)), direction)
        after, before = (loss(jnp.asarray(x + step * direction)) for step in (1e-6, -1e-6))
        np.testing.assert_allclose(slope, (after - before) / 2e-6, rtol=1e-4)


def test_a_registered_loss_is_used_by_its_name(random, params):
    x, y = jnp.asarray(random.uniform(size=(2, 8, 8, 3)), jnp.float32)

    def mean_loss(features, target, mask):
        return jnp.square(moments(features, mask).mean - target.mean).mean(axis=-1)

    family = style_family("mean_std")._replace(loss=mean_loss)
    register_style_loss("only_means", family)
    config = StyleConfig(content_layers=(), style_layers="relu1_1", style_loss="only_means")
    targets = make_targets(params, x, [y], config)
    terms = total_loss(params, x, targets, config.weights)[1]
    maps = [
        extract_features(params, image, ("relu1_1",), padding="edge")["relu1_1"] for image in (x, y)
    ]
    difference = maps[0].mean((0, 1)) - maps[1].mean((0, 1))
    expected = config.style_weight * jnp.square(difference).mean()
    np.testing.assert_allclose(terms["style/relu1_1"], expected, rtol=1e-3)
    # A notebook's cell may run again, with other code.
    compiled = jax.jit(lambda x: total_loss(params, x, targets, config.weights)[1])
    assert compiled(x)["style/relu1_1"] > 0
    register_style_loss("only_means", family._replace(loss=lambda *_: jnp.zeros(())))
    assert compiled(x)["style/relu1_1"] == 0


@pytest.mark.parametrize(
    ("name", "message"),
    [("gram", "already a style loss"), ("a:b", "must be a word"), ("", "must be a word")],
)
def test_names_of_registered_losses_are_checked(name, message):
    with pytest.raises(ValueError, match=message):
        register_style_loss(name, style_family("gram"))


CHECKERBOARD = jnp.indices((4, 4)).sum(axis=0) % 2
DEGENERATE = {
    "black": jnp.zeros((4, 4, 5)),
    "white": jnp.ones((4, 4, 5)),
    "checkerboard": jnp.broadcast_to(CHECKERBOARD[..., None], (4, 4, 5)).astype(jnp.float32),
    "equal channels": jnp.broadcast_to(jnp.linspace(0, 1, 16).reshape(4, 4, 1), (4, 4, 5)),
    "fewer positions than channels": jnp.linspace(0, 1, 60).reshape(2, 3, 10) ** 2,
    "one position": jnp.linspace(0, 1, 5).reshape(1, 1, 5),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", DEGENERATE)
def test_gradients_for_image_and_style_are_finite_on_degenerate_maps(random, name, kind):
    degenerate = DEGENERATE[kind]
    regular = features(random, (5, 6, degenerate.shape[-1]))
    grads = jax.jit(jax.grad(lambda x, y: loss_of(name, x, y), argnums=(0, 1)))
    for x, y in ((degenerate, regular), (regular, degenerate), (degenerate, degenerate)):
        assert all(jnp.isfinite(grad).all() for grad in grads(x, y))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_jit_vmap_and_batch_axes_agree(random, name):
    x, y = jnp.stack([features(random), features(random)]), features(random)
    each = jnp.stack([loss_of(name, row, y) for row in x])
    mapped = jax.jit(jax.vmap(lambda row: loss_of(name, row, y)))(x)
    np.testing.assert_allclose(mapped, each, rtol=1e-4)
    family = style_family(name)
    pair = jax.tree.map(lambda a: jnp.stack([a, a]), family.target(family.statistics(y)))
    np.testing.assert_allclose(family.loss(x, pair, None), each, rtol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_half_precision_is_summed_in_float32(random, name):
    x, y = features(random), features(random)
    loss = loss_of(name, x.astype(jnp.bfloat16), y)
    assert loss.dtype == jnp.float32
    # From the same rounded features, so that only the sums are compared.
    expected = loss_of(name, x.astype(jnp.bfloat16).astype(jnp.float32), y)
    # The random directions of `sliced` and the centered features of `wasserstein` are rounded too.
    rounds_more = name in ("sliced", "wasserstein")
    np.testing.assert_allclose(loss, expected, rtol=5e-3 if rounds_more else 1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    "loss",
    [
        lambda x, y: self_similarity_loss(x, self_similarity(y)),
        lambda x, y: laplacian_loss(x, color_windows(y)),
    ],
)
def test_content_losses_have_correct_and_finite_gradients(random, loss):
    with jax.enable_x64():
        x, y, direction = (jnp.asarray(random.uniform(0.2, 1, size=(5, 6, 3))) for _ in range(3))
        slope = jnp.vdot(jax.grad(loss)(x, y), direction)
        after, before = (loss(x + step * direction, y) for step in (1e-6, -1e-6))
        np.testing.assert_allclose(slope, (after - before) / 2e-6, rtol=1e-4)
        np.testing.assert_allclose(jax.vmap(loss)(x[None], y[None])[0], loss(x, y), rtol=1e-6)
    for value in (0.0, 1.0):
        image = jnp.full((5, 6, 3), value)
        assert jnp.isfinite(jax.grad(loss)(image, image)).all()
