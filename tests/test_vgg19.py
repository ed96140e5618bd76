import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import GOLDEN, IMAGES

from jaxstyle import LAYERS, features, load_weights, normalize_weights, read_image
from jaxstyle.options import BLOCKS, min_side
from jaxstyle.vgg19 import PARAM_SHAPES, transform_kernels

CONVS = [name for name in LAYERS if name.startswith("conv")]
RELUS = [name for name in LAYERS if name.startswith("relu")]


def relative_error(values, expected):
    return np.abs(np.asarray(values) - expected).max() / np.abs(expected).max()


def test_layers_are_named_as_in_the_papers():
    assert LAYERS[:6] == ("conv1_1", "relu1_1", "conv1_2", "relu1_2", "pool1", "conv2_1")
    assert LAYERS[-2:] == ("relu5_4", "pool5")
    assert len(CONVS) == 16


def test_weights_are_the_documented_tree(params):
    assert jax.tree.map(jnp.shape, params) == PARAM_SHAPES
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
    assert params["conv1_1"]["kernel"].shape == (3, 3, 3, 64)


def test_features_equal_those_of_pytorch_up_to_the_weights_float16():
    # The golden values come from float32 weights; float16 has 11 bits, 5e-4 per value.
    params = load_weights(limit=np.inf)
    golden = np.load(GOLDEN / "features.npz")
    maps = features(params, read_image(IMAGES / "chelsea.jpg", 96), CONVS)
    for name, values in maps.items():
        error = np.abs(values.ravel()[golden[f"{name}/places"]] - golden[f"{name}/values"]).max()
        assert error / golden[f"{name}/largest"] < 2e-3, name


@pytest.mark.parametrize("padding", ["zeros", "edge", "reflect"])
def test_transformed_kernels_give_the_same_features(params, content, padding):
    transformed = transform_kernels(params, ("relu5_1",))
    found = {name for name, leaves in transformed.items() if "winograd" in leaves}
    # From conv2_2 on, and no deeper than is asked for.
    expected = {"conv2_2", *(f"conv{b}_{i}" for b in (3, 4) for i in range(1, 5))}
    assert found == expected | {"conv5_1"}
    expected = features(params, content, RELUS[:13], padding=padding)
    for name, values in features(transformed, content, RELUS[:13], padding=padding).items():
        assert relative_error(values, expected[name]) < 5e-5, name


def test_where_kernels_are_not_transformed(params, monkeypatch):
    assert transform_kernels(params, ("relu2_1",)) == params
    assert transform_kernels(params, ("relu5_1",), "direct") is params
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert transform_kernels(params, ("relu5_1",)) is params
    assert "winograd" in transform_kernels(params, ("relu1_2",), "winograd")["conv1_2"]


def test_maps_have_the_papers_sizes(params, content):
    h, w = content.shape[:2]
    for name, found in features(params, content, LAYERS).items():
        block = int(name[4])
        halvings = block if name.startswith("pool") else block - 1
        assert found.shape == (h >> halvings, w >> halvings, BLOCKS[block - 1][0])


def test_layers_come_in_the_order_asked_for(params, content):
    asked = ("relu3_1", "conv1_2", "pool1")
    assert tuple(features(params, content, asked)) == asked


def test_nothing_behind_the_deepest_layer_is_computed(params, content):
    shallow = {name: params[name] for name in ("color", "conv1_1", "conv1_2", "conv2_1")}
    found = features(shallow, content, ("relu2_1",))["relu2_1"]
    np.testing.assert_array_equal(found, features(params, content, ("relu2_1",))["relu2_1"])


def test_relu_is_the_positive_part_of_conv(params, content):
    maps = features(params, content, ("conv2_2", "relu2_2"))
    np.testing.assert_array_equal(maps["relu2_2"], jnp.maximum(maps["conv2_2"], 0))


def test_a_tap_sees_every_layer_and_says_how_to_go_on(params, content):
    layers = ("relu1_1", "relu2_1")
    maps = features(params, content, layers)
    means = features(params, content, layers, tap=lambda name, x: (x, (name, x.mean())))
    for name in layers:
        assert means[name] == (name, maps[name].mean())
    emptied = features(params, content, layers, tap=lambda name, x: (0 * x, x))
    assert (emptied["relu1_1"] == maps["relu1_1"]).all()
    assert not np.allclose(emptied["relu2_1"], maps["relu2_1"])


@pytest.mark.parametrize("pooling", ["max", "average", "scaled_average"])
def test_pooling_takes_blocks_of_two_by_two(params, content, pooling):
    maps = features(params, content, ("relu1_2", "pool1"), pooling=pooling)
    relu = np.asarray(maps["relu1_2"])
    h, w, c = relu.shape
    blocks = relu[: h // 2 * 2, : w // 2 * 2].reshape(h // 2, 2, w // 2, 2, c)
    expected = blocks.max((1, 3)) if pooling == "max" else blocks.mean((1, 3))
    expected = 1.43 * expected if pooling == "scaled_average" else expected
    np.testing.assert_allclose(maps["pool1"], expected, rtol=1e-6)


def test_scaled_average_keeps_activations_nearer_to_max(params):
    image = read_image(IMAGES / "coffee.jpg", 256)
    size = {
        pooling: float(features(params, image, ("relu5_1",), pooling=pooling)["relu5_1"].mean())
        for pooling in ("max", "average", "scaled_average")
    }
    # Four poolings without the factor leave a quarter of the mean activation.
    assert size["average"] / size["max"] < 0.35
    assert 0.7 < size["scaled_average"] / size["max"] < 1.5


@pytest.mark.parametrize("padding", ["reflect", "edge", "edge_first"])
def test_padding_changes_borders_alone(params, content, padding):
    kept = features(params, content, ("relu1_2",), padding=padding)["relu1_2"]
    zeros = features(params, content, ("relu1_2",))["relu1_2"]
    np.testing.assert_allclose(kept[2:-2, 2:-2], zeros[2:-2, 2:-2], rtol=1e-4, atol=1e-4)
    assert relative_error(kept[0], np.asarray(zeros[0])) > 0.01


@pytest.mark.parametrize("padding", ["reflect", "edge"])
def test_flat_image_has_flat_features_without_zeros_at_the_border(params, padding):
    flat = jnp.full((32, 32, 3), 0.3)
    maps = features(params, flat, ("relu3_1", "relu5_1"), padding=padding)
    for found in maps.values():
        np.testing.assert_allclose(found, jnp.broadcast_to(found[0, 0], found.shape), atol=1e-3)


def test_bfloat16_is_the_dtype_of_the_maps_and_close(params, content):
    full = features(params, content, ("relu4_2",))["relu4_2"]
    half = features(params, content, ("relu4_2",), dtype=jnp.bfloat16)["relu4_2"]
    assert half.dtype == jnp.bfloat16
    # bfloat16 has 8 bits: 4e-3 per operation, over ten layers.
    assert relative_error(half.astype(jnp.float32), np.asarray(full)) < 0.05


def test_eager_jit_vmap_and_batch_axes_agree(params, random):
    images = jnp.asarray(random.random((2, 3, 24, 40, 3)), jnp.float32)
    look = lambda image: features(params, image, ("relu3_1",))["relu3_1"]
    rows = jnp.stack([jnp.stack([look(image) for image in row]) for row in images])
    for batched in (look(images), jax.jit(look)(images), jax.vmap(jax.vmap(look))(images)):
        np.testing.assert_allclose(batched, rows, rtol=1e-4, atol=1e-5)


def test_gradient_of_deep_features_is_finite_on_a_flat_image(params):
    loss = lambda image: features(params, image, ("relu5_1",))["relu5_1"].sum()
    assert jnp.isfinite(jax.grad(loss)(jnp.zeros((32, 32, 3)))).all()


@pytest.mark.parametrize("layer", LAYERS)
def test_smallest_image_gives_one_pixel_and_one_less_is_an_error(params, layer):
    side = min_side((layer,))
    shape = jax.eval_shape(lambda: features(params, jnp.zeros((side, side + 1, 3)), (layer,)))
    assert shape[layer].shape[:2] == (1, 1) or side == 1
    if side > 1:
        with pytest.raises(
            ValueError, match=rf"{side - 1}x{side} .*; {layer} needs .* least {side}"
        ):
            features(params, jnp.zeros((side - 1, side, 3)), (layer,))


def test_reflection_needs_two_pixels_at_the_deepest_layer(params):
    assert features(params, jnp.zeros((32, 32, 3)), ("relu5_1",), padding="reflect")
    with pytest.raises(ValueError, match="at least 32"):
        features(params, jnp.zeros((31, 32, 3)), ("relu5_1",), padding="reflect")
    assert features(params, jnp.zeros((32, 32, 3)), ("pool5",), padding="reflect")


def test_integers_are_no_image(params):
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
def test_wrong_words_are_named(params, content, arguments, message):
    arguments = {"layers": ("relu1_1",), **arguments}
    layers = arguments.pop("layers")
    # The run-time check of annotations would come first.
    with pytest.raises(ValueError, match=message):
        features.__wrapped__(params, content, layers, **arguments)


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


def test_normalized_weights_compute_the_same_up_to_known_scales(params, content):
    images = [read_image(IMAGES / "coffee.jpg", 64)]
    scale = features(params, images[0], ("relu5_1",))["relu5_1"].mean(axis=(0, 1))
    scale = jnp.where(scale > 0, scale, 1)
    before = features(params, content, ("relu5_1",))["relu5_1"]
    after = features(normalize_weights(params, images), content, ("relu5_1",))["relu5_1"]
    assert relative_error(after * scale, np.asarray(before)) < 1e-4
