import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxstyle import StyleConfig
from jaxstyle.optimize import averaged, init, make_optimizer, run
from jaxstyle.pyramid import carry, detail, fit_shape, levels, resize, style_shape

KEY = jax.random.key(0)


def bowl(image):
    return jnp.sum((image - 0.3) ** 2), {}


def test_fit_shape_keeps_proportions():
    assert fit_shape((400, 600), 300) == (200, 300)
    assert fit_shape((600, 400), 512) == (512, 341)


def shapes(shape, config):
    return [size for size, _ in levels(shape, config)]


def test_levels_grow_by_the_scale_factor_up_to_the_size():
    config = StyleConfig(size=512, min_size=128, scale_factor=2)
    assert shapes((400, 600), config) == [(85, 128), (171, 256), (341, 512)]
    # The sizes that style-transfer-pytorch uses.
    config = StyleConfig(size=512, min_size=128, scale_factor=2**0.5)
    assert [max(s) for s in shapes((1, 1), config)] == [128, 181, 256, 362, 512]


def test_there_is_one_level_if_the_size_is_below_the_minimum_size():
    assert shapes((300, 200), StyleConfig(size=96, min_size=128)) == [(96, 64)]


def test_levels_too_small_for_the_layers_are_left_out_with_their_steps():
    # A 10:1 panorama is 13 pixels high at a long edge of 128; relu5_1 needs 16.
    config = StyleConfig(min_size=128, steps=(9, 5, 3))
    assert levels((60, 600), config) == [((26, 256), 5), ((51, 512), 3)]


def test_size_too_small_for_the_layers_is_an_error():
    with pytest.raises(ValueError, match="512x5; its layers need both sides at least 16"):
        levels((10, 1000), StyleConfig())


def test_matting_laplacian_needs_sides_of_at_least_3():
    shallow = {"content_layers": ("relu1_1",), "style_layers": ("relu1_1",)}
    levels((2, 64), StyleConfig(size=64, **shallow))
    with pytest.raises(ValueError, match="both sides at least 3"):
        levels((2, 64), StyleConfig(size=64, laplacian_weight=1, **shallow))


@pytest.mark.parametrize(
    ("steps", "size", "expected"),
    [((9, 5), 1024, [9, 5, 5, 5]), ((9, 5, 3), 256, [9, 5]), ((7,), 512, [7, 7, 7])],
)
def test_steps_are_assigned_coarse_to_fine_and_the_last_repeats(steps, size, expected):
    config = StyleConfig(size=size, min_size=128, steps=steps)
    assert [count for _, count in levels((1, 1), config)] == expected


def test_style_image_gets_the_size_of_the_result_but_is_enlarged_at_most_twice():
    assert style_shape((1000, 800), (256, 200), StyleConfig()) == (256, 205)
    assert style_shape((1000, 800), (256, 200), StyleConfig(style_scale=0.5)) == (128, 102)
    assert style_shape((220, 176), (256, 200), StyleConfig()) == (220, 176)
    assert style_shape((160, 128), (256, 200), StyleConfig()) == (256, 205)
    assert style_shape((100, 80), (256, 200), StyleConfig()) == (200, 160)
    assert style_shape((100, 80), (256, 200), StyleConfig(), enlarge=False) == (100, 80)


def test_elongated_style_image_keeps_the_height_that_the_layers_need():
    # It would be 13 pixels high at a long edge of 128; relu5_1 needs 16.
    assert style_shape((100, 1000), (128, 128), StyleConfig()) == (16, 160)


def test_resize_keeps_flat_images_and_clips_to_the_unit_interval():
    flat = resize(jnp.full((9, 7, 3), 0.4), (20, 30))
    np.testing.assert_allclose(flat, 0.4, rtol=1e-5)
    edge = resize(jnp.zeros((8, 8, 3)).at[:, 4:].set(1.0), (32, 32))
    assert edge.min() == 0
    assert edge.max() == 1


def test_resize_rejects_integer_images():
    with pytest.raises(TypeError, match="`image` is uint8; it must be floating point"):
        resize.__wrapped__(np.full((4, 4, 3), 128, np.uint8), (2, 2))


def test_noise_is_added_to_the_start_of_the_next_level():
    optimizer = make_optimizer("adam", 0.05)
    state = init(jnp.full((8, 8, 3), 0.5), optimizer)
    one, other = (
        carry(state, (32, 32), optimizer, key=key, noise=0.1) for key in jax.random.split(KEY)
    )
    np.testing.assert_allclose(one.image.std(), 0.1, rtol=0.05)
    np.testing.assert_array_equal(one.image, averaged(one))
    assert jnp.abs(one.image - other.image).max() > 0.1


def test_next_level_starts_from_the_average_of_the_previous_level():
    optimizer, decay = make_optimizer("adam", 0.05), 0.9
    state = init(jnp.full((8, 8, 3), 0.5), optimizer, decay=decay)
    state, _ = run(bowl, optimizer, state, 5, decay=decay)
    next_state = carry(state, (16, 16), optimizer, key=KEY, decay=decay)
    expected = averaged(state, decay=decay)[0, 0, 0]
    np.testing.assert_allclose(next_state.image, expected, rtol=1e-5)
    np.testing.assert_allclose(averaged(next_state, decay=decay), expected, rtol=1e-5)
    assert next_state.samples == 1


@pytest.mark.parametrize("name", ["adam", "pyramid_adam", "lbfgs"])
def test_optimizer_state_is_reset_at_the_next_level(name):
    optimizer = make_optimizer(name, 0.05)
    state, _ = run(bowl, optimizer, init(jnp.full((8, 8, 3), 0.5), optimizer), 3)
    next_state = carry(state, (16, 16), optimizer, key=KEY)
    counts = [count for _, count in optax.tree.get_all_with_path(next_state.optimizer, "count")]
    assert counts
    assert not any(counts)


def test_nonfinite_state_stays_nonfinite_at_the_next_level():
    optimizer = make_optimizer("adam", 0.05)
    state = init(jnp.full((8, 8, 3), 0.5), optimizer)._replace(finite=jnp.asarray(False))
    assert not carry(state, (16, 16), optimizer, key=KEY).finite


def test_detail_is_the_difference_between_two_levels(random):
    image = jnp.asarray(random.uniform(0.3, 0.7, size=(32, 48, 3)), jnp.float32)
    band = detail(image, (8, 12), (16, 24))
    coarse, fine = resize(image, (8, 12)), resize(image, (16, 24))
    np.testing.assert_allclose(resize(coarse, (16, 24)) + band, fine, atol=1e-6)
    assert abs(detail(jnp.full((32, 48, 3), 0.4), (8, 12), (16, 24))).max() < 1e-6


def test_detail_is_added_to_the_start_of_the_next_level():
    optimizer = make_optimizer("adam", 0.05)
    state = init(jnp.full((8, 8, 3), 0.5), optimizer)
    band = jnp.zeros((16, 16, 3)).at[3, 4].set(0.2)
    next_state = carry(state, (16, 16), optimizer, key=KEY, detail=band)
    np.testing.assert_allclose(next_state.image, 0.5 + band, rtol=1e-5)


def test_moments_option_carries_adams_moments_to_the_next_level():
    optimizer = make_optimizer("adam", 0.05)
    state, _ = run(bowl, optimizer, init(jnp.full((8, 8, 3), 0.5), optimizer), 3)
    next_state = carry(state, (16, 16), optimizer, key=KEY, moments=True)
    assert optax.tree.get(next_state.optimizer, "count") == 3
    for name in ("mu", "nu"):
        moment = optax.tree.get(state.optimizer, name)[0, 0, 0]
        carried = optax.tree.get(next_state.optimizer, name)
        np.testing.assert_allclose(carried, jnp.full((16, 16, 3), moment), rtol=1e-5)
