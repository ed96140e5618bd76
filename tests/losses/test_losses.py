"""Content loss, Gram matrices and total variation."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

from jaxstyle import content_loss, gram_loss, gram_matrix, total_variation


def maps(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def test_content_loss_is_the_mean_squared_difference():
    a, b = jnp.zeros((2, 3, 4)), jnp.full((2, 3, 4), 0.5)
    assert content_loss(a, b) == 0.25


def test_gatys_content_loss_is_half_the_sum():
    # ½ · 24 · 0.5². Gatys et al. (2016), eq. 1.
    a, b = jnp.zeros((2, 3, 4)), jnp.full((2, 3, 4), 0.5)
    assert content_loss(a, b, norm="gatys") == 3.0


def test_gram_matrix_is_the_mean_product_of_channels():
    features = maps(0, 3, 5, 4)
    expected = np.zeros((4, 4))
    for i in range(4):
        for j in range(4):
            expected[i, j] = np.mean(np.asarray(features[..., i]) * np.asarray(features[..., j]))
    np.testing.assert_allclose(gram_matrix(features), expected, rtol=1e-5, atol=1e-6)


def test_gradient_of_a_single_element_of_the_gram_matrix():
    # d/dF of (1/n) Σ_p F_p0 F_p1: the other channel, over n. Its cotangent is not symmetric.
    features = maps(0, 3, 4, 2)
    gradient = jax.grad(lambda x: gram_matrix(x)[0, 1])(features)
    np.testing.assert_allclose(gradient, features[..., ::-1] / 12, rtol=1e-5)


def test_gatys_gram_loss_is_equation_4():
    # The paper's Gram matrices are not normalized, and both maps have the same size.
    features, style = maps(0, 3, 5, 4), maps(1, 3, 5, 4)
    f, s = (np.asarray(x, np.float64).reshape(15, 4) for x in (features, style))
    expected = np.sum((f.T @ f - s.T @ s) ** 2) / (4 * 4**2 * 15**2)
    loss = gram_loss(gram_matrix(features), gram_matrix(style), norm="gatys")
    np.testing.assert_allclose(loss, expected, rtol=1e-5)


def test_gram_loss_is_a_mean_over_pairs_of_channels():
    a, b = jnp.eye(3), jnp.zeros((3, 3))
    np.testing.assert_allclose(gram_loss(a, b), 3 / 9)


def test_binary_mask_selects_a_region():
    features = maps(0, 4, 6, 3)
    mask = jnp.zeros((4, 6)).at[:, :2].set(1)
    np.testing.assert_allclose(
        gram_matrix(features, mask), gram_matrix(features[:, :2]), rtol=1e-5, atol=1e-6
    )


def test_gram_matrix_is_invariant_to_the_scale_of_the_mask():
    features, mask = maps(0, 4, 6, 3), jnp.abs(maps(1, 4, 6))
    np.testing.assert_allclose(
        gram_matrix(features, mask), gram_matrix(features, 3 * mask), rtol=1e-4, atol=1e-6
    )


def test_empty_mask_gives_zero_and_a_finite_gradient():
    loss = lambda f: gram_matrix(f, jnp.zeros((4, 6))).sum()
    value, grad = jax.value_and_grad(loss)(maps(0, 4, 6, 3))
    assert value == 0
    assert jnp.isfinite(grad).all()


@pytest.mark.slow
@given(seed=st.integers(0, 100), h=st.integers(1, 6), w=st.integers(1, 6), c=st.integers(1, 5))
@settings(max_examples=20, deadline=None)
def test_gram_is_symmetric_positive_and_invariant_to_pixel_order(seed, h, w, c):
    features = maps(seed, h, w, c)
    gram = gram_matrix(features)
    np.testing.assert_allclose(gram, gram.T, rtol=1e-5, atol=1e-6)
    assert np.linalg.eigvalsh(np.asarray(gram)).min() > -1e-4
    order = np.random.default_rng(seed).permutation(h * w)
    shuffled = features.reshape(-1, c)[order].reshape(h, w, c)
    np.testing.assert_allclose(gram_matrix(shuffled), gram, rtol=1e-4, atol=1e-5)


def test_gram_sums_bfloat16_features_in_float32():
    features = jnp.full((64, 64, 2), 1.0, jnp.bfloat16)
    gram = gram_matrix(features)
    assert gram.dtype == jnp.float32
    # A sum of ones in bfloat16 stops growing at 256.
    np.testing.assert_array_equal(gram, 1.0)


def test_squared_variation_of_a_ramp():
    # Equal rows of 0, 1, 2: every horizontal difference is 1.
    ramp = jnp.broadcast_to(jnp.arange(3.0)[None, :, None], (4, 3, 3))
    assert total_variation(ramp, form="squared") == 1.0


def test_nine_point_variation_of_one_bright_pixel():
    # Padding a 1x1 image gives 3x3 equal values.
    assert total_variation(jnp.ones((1, 1, 3))) == 0
    # 3x3 pixels, padded to 5x5, the center is 1. Of the differences, 2 of 4x5 vertical ones, 2 of
    # 5x4 horizontal ones, and 2 of 4x4 on each diagonal are 1.
    center = jnp.zeros((3, 3, 1)).at[1, 1, 0].set(1.0)
    expected = 2 * ((2 / 20 + 2 / 20) / 3 + (2 / 16 + 2 / 16) / 12)
    np.testing.assert_allclose(total_variation(center), expected, rtol=1e-6)


def test_squared_variation_of_one_row_is_horizontal():
    assert total_variation(jnp.arange(3.0).reshape(1, 3, 1), form="squared") == 1.0


@pytest.mark.parametrize(
    "call",
    [
        lambda x: inspect.unwrap(content_loss)(x, x, norm="sum"),
        lambda x: inspect.unwrap(gram_loss)(x[0], x[0], norm="sum"),
        lambda x: inspect.unwrap(total_variation)(x, form="sum"),
    ],
)
def test_unknown_options_are_errors(call):
    with pytest.raises(ValueError, match="is 'sum'; it must be one of"):
        call(jnp.ones((2, 3, 3)))


@pytest.mark.slow
@pytest.mark.parametrize("form", ["nine_point", "squared"])
def test_variation_of_a_flat_image_is_zero_with_a_finite_gradient(form):
    value, grad = jax.value_and_grad(total_variation)(jnp.full((4, 5, 3), 0.7), form=form)
    assert value == 0
    np.testing.assert_array_equal(grad, 0)


CASES = {
    "content": (lambda x: content_loss(x, jnp.ones_like(x)), (4, 5, 3)),
    "content gatys": (lambda x: content_loss(x, jnp.ones_like(x), norm="gatys"), (4, 5, 3)),
    "gram": (
        lambda x: gram_loss(gram_matrix(x), jnp.broadcast_to(jnp.eye(3), (*x.shape[:-3], 3, 3))),
        (4, 5, 3),
    ),
    "gram under a mask": (
        lambda x: gram_loss(
            gram_matrix(x, jnp.broadcast_to(jnp.arange(5.0), x.shape[:-1])),
            jnp.broadcast_to(jnp.eye(3), (*x.shape[:-3], 3, 3)),
        ),
        (4, 5, 3),
    ),
    "nine_point": (total_variation, (4, 5, 3)),
    "squared": (lambda x: total_variation(x, form="squared"), (4, 5, 3)),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_gradient_agrees_with_finite_differences(case):
    loss, shape = CASES[case]
    with jax.enable_x64(True):
        x = jnp.asarray(np.random.default_rng(0).normal(size=shape))
        check_grads(lambda x: loss(jnp.asarray(x)), (x,), 1, modes=["rev"], rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_eager_jit_vmap_and_batch_axes_agree(case):
    loss, shape = CASES[case]
    batch = maps(0, 2, *shape)
    rows = jnp.stack([loss(x) for x in batch])
    for values in (loss(batch), jax.jit(loss)(batch), jax.vmap(loss)(batch)):
        np.testing.assert_allclose(values, rows, rtol=1e-5)
