import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import GOLDEN, IMAGES

from jaxstyle import LAYERS, features, limit_filters, normalize_weights, read_image, vgg19
from jaxstyle.options import BLOCKS, min_side
from jaxstyle.vgg19 import PARAM_SHAPES, transform_kernels

CONVS = [name for name in LAYERS if name.startswith("conv")]
RELUS = [name for name in LAYERS if name.startswith("relu")]


def relative_error(values, expected):
    return np.abs(np.asarray(values) - expected).max() / np.abs(expected).max()


def test_layer_names_follow_the_papers():
    assert LAYERS[:6] == ("conv1_1", "relu1_1", "conv1_2", "relu1_2", "pool1", "conv2_1")
    assert LAYERS[-2:] == ("relu5_4", "pool5")
    assert len(CONVS) == 16


def test_weights_have_the_documented_tree(params):
    assert jax.tree.map(jnp.shape, params) == PARAM_SHAPES
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    assert params["conv1_1"]["kernel"].shape == (3, 3, 3, 64)


@pytest.mark.slow
def test_features_match_pytorch_within_float16_weight_precision(params):
    # The golden values come from float32 weights. float16 has 11 bits: relative error 5e-4.
    golden = np.load(GOLDEN / "features.npz")
    maps = features(params, read_image(IMAGES / "chelsea.jpg", 96), CONVS)
    for name, values in maps.items():
        error = np.abs(values.ravel()[golden[f"{name}/places"]] - golden[f"{name}/values"]).max()
        assert error / golden[f"{name}/largest"] < 2e-3, name


@pytest.mark.slow
@pytest.mark.parametrize("padding", ["zeros", "edge", "reflect"])
def test_transformed_kernels_give_the_same_features(params, content, padding):
    transformed = transform_kernels(params, ("relu5_1",))
    names = {name for name, leaves in transformed.items() if "winograd" in leaves}
    # From conv2_2 up to the deepest requested layer.
    expected = {"conv2_2", *(f"conv{b}_{i}" for b in (3, 4) for i in range(1, 5))}
    assert names == expected | {"conv5_1"}
    expected = features(params, content, RELUS[:13], padding=padding)
    for name, values in features(transformed, content, RELUS[:13], padding=padding).items():
        assert relative_error(values, expected[name]) < 5e-5, name


def test_which_kernels_are_transformed_depends_on_layers_option_and_backend(params, monkeypatch):
    assert transform_kernels(params, ("relu2_1",)) == params
    assert transform_kernels(params, ("relu5_1",), "direct") is params
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert transform_kernels(params, ("relu5_1",)) is params
    assert "winograd" in transform_kernels(params, ("relu1_2",), "winograd")["conv1_2"]


def test_feature_maps_have_the_papers_sizes(params, content):
    h, w = content.shape[:2]
    for name, values in features(params, content, LAYERS).items():
        block = int(name[4])
        halvings = block if name.startswith("pool") else block - 1
        assert values.shape == (h >> halvings, w >> halvings, BLOCKS[block - 1][0])


def test_feature_maps_come_in_the_requested_order(params, content):
    layers = ("relu3_1", "conv1_2", "pool1")
    assert tuple(features(params, content, layers)) == layers


def test_layers_after_the_deepest_requested_one_are_not_computed(params, content):
    shallow = {name: params[name] for name in ("color", "conv1_1", "conv1_2", "conv2_1")}
    values = features(shallow, content, ("relu2_1",))["relu2_1"]
    np.testing.assert_array_equal(values, features(params, content, ("relu2_1",))["relu2_1"])


def test_relu_is_the_positive_part_of_conv(params, content):
    maps = features(params, content, ("conv2_2", "relu2_2"))
    np.testing.assert_array_equal(maps["relu2_2"], jnp.maximum(maps["conv2_2"], 0))


def test_tap_is_called_for_each_layer_and_its_map_is_passed_on(params, content):
    layers = ("relu1_1", "relu2_1")
    maps = features(params, content, layers)
    means = features(params, content, layers, tap=lambda name, x: (x, (name, x.mean())))
    for name in layers:
        assert means[name] == (name, maps[name].mean())
    zeroed = features(params, content, layers, tap=lambda name, x: (0 * x, x))
    assert (zeroed["relu1_1"] == maps["relu1_1"]).all()
    assert not np.allclose(zeroed["relu2_1"], maps["relu2_1"])


@pytest.mark.parametrize("pooling", ["max", "average", "scaled_average"])
def test_pooling_reduces_blocks_of_two_by_two(params, content, pooling):
    maps = features(params, content, ("relu1_2", "pool1"), pooling=pooling)
    relu = np.asarray(maps["relu1_2"])
    h, w, c = relu.shape
    blocks = relu[: h // 2 * 2, : w // 2 * 2].reshape(h // 2, 2, w // 2, 2, c)
    expected = blocks.max((1, 3)) if pooling == "max" else blocks.mean((1, 3))
    expected = 1.43 * expected if pooling == "scaled_average" else expected
    np.testing.assert_allclose(maps["pool1"], expected, rtol=1e-6)


def test_relu_before_max_pooling_is_the_same_whether_it_is_requested_or_not(params, content):
    def gradient(layers):
        return jax.grad(lambda x: jnp.square(features(params, x, layers)["relu2_1"]).mean())(
            content
        )

    maps = features(params, content, ("relu1_2", "pool1"))
    np.testing.assert_array_equal(maps["pool1"], features(params, content, ("pool1",))["pool1"])
    both, alone = gradient(("relu1_2", "relu2_1")), gradient(("relu2_1",))
    np.testing.assert_allclose(both, alone, rtol=1e-5, atol=1e-9)


def test_gradient_of_relu_is_0_where_it_is_0():
    x = jnp.array([-1.0, 0.0, 2.0])
    np.testing.assert_array_equal(jax.grad(lambda x: 3 * vgg19._relu(x).sum())(x), [0, 0, 3])


def test_scaled_average_keeps_the_mean_activation_of_max_pooling(params):
    image = read_image(IMAGES / "coffee.jpg", 256)
    size = {
        pooling: float(features(params, image, ("relu5_1",), pooling=pooling)["relu5_1"].mean())
        for pooling in ("max", "average", "scaled_average")
    }
    # Four average poolings without the factor leave a quarter of the mean activation.
    assert size["average"] / size["max"] < 0.35
    assert 0.7 < size["scaled_average"] / size["max"] < 1.5


@pytest.mark.parametrize("padding", ["reflect", "edge", "edge_first"])
def test_padding_changes_only_the_borders(params, content, padding):
    padded = features(params, content, ("relu1_2",), padding=padding)["relu1_2"]
    zeros = features(params, content, ("relu1_2",))["relu1_2"]
    np.testing.assert_allclose(padded[2:-2, 2:-2], zeros[2:-2, 2:-2], rtol=1e-4, atol=1e-4)
    assert relative_error(padded[0], np.asarray(zeros[0])) > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("padding", ["reflect", "edge"])
def test_flat_image_has_flat_features_without_zero_padding(params, padding):
    flat = jnp.full((32, 32, 3), 0.3)
    maps = features(params, flat, ("relu3_1", "relu5_1"), padding=padding)
    for values in maps.values():
        np.testing.assert_allclose(values, jnp.broadcast_to(values[0, 0], values.shape), atol=1e-3)


@pytest.mark.slow
def test_bfloat16_features_are_close_to_float32(params, content):
    full = features(params, content, ("relu4_2",))["relu4_2"]
    half = features(params, content, ("relu4_2",), dtype=jnp.bfloat16)["relu4_2"]
    assert half.dtype == jnp.bfloat16
    # bfloat16 has 8 bits: an error of 4e-3 per operation, over ten layers.
    assert relative_error(half.astype(jnp.float32), np.asarray(full)) < 0.05


@pytest.mark.slow
def test_eager_jit_vmap_and_batch_axes_agree(params, random):
    images = jnp.asarray(random.random((2, 3, 24, 40, 3)), jnp.float32)
    extract = lambda image: features(params, image, ("relu3_1",))["relu3_1"]
    rows = jnp.stack([jnp.stack([extract(image) for image in row]) for row in images])
    for batched in (extract(images), jax.jit(extract)(images), jax.vmap(jax.vmap(extract))(images)):
        np.testing.assert_allclose(batched, rows, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_gradient_of_deep_features_is_finite_on_a_flat_image(params):
    loss = lambda image: features(params, image, ("relu5_1",))["relu5_1"].sum()
    assert jnp.isfinite(jax.grad(loss)(jnp.zeros((32, 32, 3)))).all()


@pytest.mark.parametrize("layer", LAYERS)
def test_smallest_image_gives_one_pixel_and_a_smaller_one_raises(params, layer):
    side = min_side((layer,))
    shape = jax.eval_shape(lambda: features(params, jnp.zeros((side, side + 1, 3)), (layer,)))
    assert shape[layer].shape[:2] == (1, 1) or side == 1
    if side > 1:
        with pytest.raises(
            ValueError, match=rf"{side - 1}x{side} .*; {layer} needs .* least {side}"
        ):
            features(params, jnp.zeros((side - 1, side, 3)), (layer,))


@pytest.mark.slow
def test_reflect_padding_needs_two_pixels_at_the_deepest_layer(params):
    assert features(params, jnp.zeros((32, 32, 3)), ("relu5_1",), padding="reflect")
    with pytest.raises(ValueError, match="at least 32"):
        features(params, jnp.zeros((31, 32, 3)), ("relu5_1",), padding="reflect")
    assert features(params, jnp.zeros((32, 32, 3)), ("pool5",), padding="reflect")


def test_integer_image_raises_type_error(params):
    with pytest.raises(TypeError, match="`image` is int32"):
        features.__wrapped__(params, jnp.zeros((32, 32, 3), jnp.int32), ("relu1_1",))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layers": ("relu4-2",)}, "unknown layer 'relu4-2'; did you mean 'relu4_2'"),
        ({"layers": ("xyz",)}, "layers are conv1_1, relu1_1"),
        ({"pooling": "min"}, "`pooling` is 'min'; it must be one of max, average"),
        ({"padding": "wrap"}, "`padding` is 'wrap'; it must be one of zeros"),
    ],
)
def test_unknown_options_are_named_in_the_error(params, content, arguments, message):
    arguments = {"layers": ("relu1_1",), **arguments}
    layers = arguments.pop("layers")
    # The wrapped function would fail earlier, in the run-time check of annotations.
    with pytest.raises(ValueError, match=message):
        features.__wrapped__(params, content, layers, **arguments)


@pytest.mark.slow
def test_normalized_weights_have_mean_activations_of_one(params):
    images = [read_image(IMAGES / "coffee.jpg", 192), read_image(IMAGES / "chelsea.jpg", 96)]
    normalized = normalize_weights(params, images)
    maps = [features(normalized, image, RELUS) for image in images]
    for name in RELUS:
        values = np.concatenate([m[name].reshape(-1, m[name].shape[-1]) for m in maps])
        mean = values.mean(axis=0)
        fires = mean > 0
        assert fires.mean() > 0.5, name
        np.testing.assert_allclose(mean[fires], 1, rtol=1e-3)


@pytest.mark.slow
def test_normalized_weights_compute_the_same_up_to_channel_scales(params, content):
    images = [read_image(IMAGES / "coffee.jpg", 64)]
    scale = features(params, images[0], ("relu5_1",))["relu5_1"].mean(axis=(0, 1))
    scale = jnp.where(scale > 0, scale, 1)
    before = features(params, content, ("relu5_1",))["relu5_1"]
    after = features(normalize_weights(params, images), content, ("relu5_1",))["relu5_1"]
    assert relative_error(after * scale, np.asarray(before)) < 1e-4


def test_filters_that_rarely_activate_are_scaled_down(params, content):
    norms = lambda leaves: np.linalg.norm(
        np.reshape(leaves["kernel"], (-1, len(leaves["bias"]))), axis=0
    )
    stored, params = params, limit_filters(params)
    outlying = norms(stored["conv4_2"]) > 6 * np.median(norms(stored["conv4_2"]))
    assert np.flatnonzero(outlying).tolist() == [291]
    maps = [features(weights, content, ("conv4_2", "relu4_4")) for weights in (params, stored)]
    ratio = float(params["conv4_2"]["bias"][291] / stored["conv4_2"]["bias"][291])
    assert 0.1 < ratio < 0.2
    # Only this map changes, by one factor; the maps of later layers stay equal.
    expected = np.where(outlying, ratio, 1) * np.asarray(maps[1]["conv4_2"])
    np.testing.assert_allclose(maps[0]["conv4_2"], expected, rtol=1e-3, atol=1e-3)
    unlimited = norms(stored["conv4_4"]) <= 6 * np.median(norms(stored["conv4_4"]))
    actual, expected = (np.asarray(m["relu4_4"])[..., unlimited] for m in maps)
    np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-3)


def test_limited_weights_are_the_same_in_numpy_in_jax_and_under_jit(params):
    as_numpy = jax.tree.map(np.asarray, params)
    results = limit_filters(params), limit_filters(as_numpy), jax.jit(limit_filters)(params)
    assert isinstance(results[0]["conv4_2"]["kernel"], jax.Array)
    assert isinstance(results[1]["conv4_2"]["kernel"], np.ndarray)
    for name in ("conv1_1", "conv4_2", "conv4_3"):
        for result in results[1:]:
            for leaf in ("kernel", "bias"):
                np.testing.assert_allclose(result[name][leaf], results[0][name][leaf], rtol=1e-5)
    assert limit_filters(params)["conv1_1"]["kernel"] is params["conv1_1"]["kernel"]


def test_limit_of_zero_is_an_error(params):
    with pytest.raises(ValueError, match="`limit` is 0; it must be above 0"):
        limit_filters(params, 0)
