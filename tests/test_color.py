import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxstyle.color import luminance, match_color, match_luminance, with_chroma

# RGB to YIQ: the FCC matrix, as in Python's colorsys.
YIQ = np.array([[0.299, 0.587, 0.114], [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])


@pytest.fixture
def images(random):
    # Values stay near 0.5, so that nothing is clipped.
    make = lambda: jnp.asarray(0.5 + 0.05 * random.normal(size=(30, 20, 3)), jnp.float32)
    skewed = make() @ jnp.asarray([[1, 0.3, 0], [0.2, 0.8, 0.1], [0, 0, 0.5]]) * 0.7
    return make(), skewed


def statistics(image):
    pixels = np.asarray(image, np.float64).reshape(-1, 3)
    return pixels.mean(axis=0), np.cov(pixels.T, bias=True)


def test_luminance_is_the_y_of_yiq(images):
    np.testing.assert_allclose(luminance(images[0])[..., 0], images[0] @ YIQ[0], rtol=1e-5)


def test_match_color_gives_mean_and_covariance_of_the_reference(images):
    image, reference = images
    mean, covariance = statistics(match_color(image, reference))
    expected_mean, expected_covariance = statistics(reference)
    np.testing.assert_allclose(mean, expected_mean, atol=1e-4)
    np.testing.assert_allclose(covariance, expected_covariance, atol=2e-5)


def test_match_color_does_not_change_an_image_that_matches(images):
    np.testing.assert_allclose(match_color(images[1], images[1]), images[1], atol=1e-4)


def test_match_color_of_gray_images_is_finite():
    gray = jnp.full((8, 8, 3), 0.5)
    ramp = jnp.broadcast_to(jnp.linspace(0, 1, 8)[:, None, None], (8, 8, 3))
    for image in (gray, ramp):
        for reference in (gray, ramp):
            assert jnp.isfinite(match_color(image, reference)).all()


def test_match_color_does_not_amplify_the_rounding_errors_of_a_gray_image(images):
    ramp = jnp.broadcast_to(jnp.linspace(0, 1, 8)[:, None, None], (8, 8, 3))
    errors = 1e-4 * jax.random.normal(jax.random.key(0), ramp.shape)
    exact, rounded = (match_color(image, images[1]) for image in (ramp, ramp + errors))
    np.testing.assert_allclose(rounded, exact, atol=2e-3)


def test_match_luminance_is_gray_with_the_mean_and_deviation_of_the_reference(images):
    image, reference = images
    matched = match_luminance(image, reference)
    np.testing.assert_array_equal(matched[..., 0], matched[..., 2])
    np.testing.assert_allclose(matched.mean(), luminance(reference).mean(), rtol=1e-4)
    np.testing.assert_allclose(luminance(matched).std(), luminance(reference).std(), rtol=1e-3)


def test_with_chroma_takes_y_from_one_and_iq_from_the_other(images):
    stylized, content = images
    mixed = np.asarray(with_chroma(stylized, content)) @ YIQ.T
    np.testing.assert_allclose(mixed[..., 0], np.asarray(stylized) @ YIQ[0], atol=1e-4)
    np.testing.assert_allclose(mixed[..., 1:], np.asarray(content) @ YIQ[1:].T, atol=1e-4)


@pytest.mark.parametrize("function", [match_color, match_luminance, with_chroma])
def test_eager_jit_and_vmap_agree(images, function):
    image, reference = images
    eager = function(image, reference)
    np.testing.assert_allclose(jax.jit(function)(image, reference), eager, atol=1e-4)
    stacked = jax.vmap(function)(jnp.stack([image, reference]), jnp.stack([reference, image]))
    np.testing.assert_allclose(stacked[0], eager, atol=1e-4)
