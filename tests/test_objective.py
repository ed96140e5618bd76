"""Targets, the total loss, and how losses, masks and blends combine."""

import dataclasses
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxstyle import (
    StyleConfig,
    content_loss,
    features,
    gram_loss,
    gram_matrix,
    make_targets,
    total_loss,
    total_variation,
)
from jaxstyle.losses import (
    channel_quantiles,
    color_windows,
    histogram_loss,
    laplacian_loss,
    nearest_loss,
    points,
    self_similarity,
    self_similarity_loss,
)
from jaxstyle.options import StyleLoss
from jaxstyle.vgg19 import transform_kernels

# Shallow layers are fast, and no test here depends on depth.
CONFIG = StyleConfig(
    content_layers=("relu2_2",),
    style_layers={"relu1_1": 3, "relu2_1": 1},
    content_weight=2.0,
    style_weight=5.0,
    tv_weight=0.5,
    padding="zeros",
    style_loss="gram",
)


@pytest.fixture(scope="module")
def image():
    return jnp.asarray(np.random.default_rng(1).random((32, 48, 3)), jnp.float32)


def check_terms(loss, terms, expected, *, rtol):
    assert terms.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(terms[name], value, rtol=rtol)
    np.testing.assert_allclose(loss, sum(expected.values()), rtol=rtol)


@pytest.mark.slow
def test_loss_is_the_weighted_sum_of_its_terms(params, content, style, image):
    image = image[: content.shape[0], : content.shape[1]]
    targets = make_targets(params, content, [style], CONFIG)
    loss, terms = total_loss(params, image, targets, CONFIG.weights)
    extract = lambda x: features(params, x, ("relu1_1", "relu2_1", "relu2_2"))
    image_maps, content_maps, style_maps = extract(image), extract(content), extract(style)
    gram = {
        name: gram_loss(gram_matrix(x), gram_matrix(style_maps[name]))
        for name, x in image_maps.items()
    }
    expected = {
        "content": 2.0 * content_loss(image_maps["relu2_2"], content_maps["relu2_2"]),
        "style/relu1_1": 5.0 * 0.75 * gram["relu1_1"],
        "style/relu2_1": 5.0 * 0.25 * gram["relu2_1"],
        "tv": 0.5 * total_variation(image),
    }
    check_terms(loss, terms, expected, rtol=1e-4)


@pytest.mark.slow
def test_content_and_style_terms_are_zero_at_their_own_images(params, style):
    targets = make_targets(params, style, [style], CONFIG)
    _, terms = total_loss(params, style, targets, CONFIG.weights)
    assert terms["content"] < 1e-8
    assert terms["style/relu1_1"] < 1e-6
    assert terms["style/relu2_1"] < 1e-6


def test_terms_are_absent_without_their_images(params, style):
    texture = make_targets(params, None, [style], CONFIG)
    assert set(total_loss(params, style, texture, CONFIG.weights)[1]) == {
        "style/relu1_1",
        "style/relu2_1",
        "tv",
    }
    reconstruction = make_targets(params, style, [], CONFIG)
    assert set(total_loss(params, style, reconstruction, CONFIG.weights)[1]) == {"content", "tv"}


def test_statistics_of_several_styles_are_blended(params, content, style):
    other = style[:, ::-1] * 0.5
    config = StyleConfig(
        style_layers=("relu1_1",), blend=(3, 1), padding="zeros", style_loss="gram"
    )
    blended = make_targets(params, content, [style, other], config).style["relu1_1"]
    grams = [gram_matrix(features(params, s, ("relu1_1",))["relu1_1"]) for s in (style, other)]
    np.testing.assert_allclose(blended[0], 0.75 * grams[0] + 0.25 * grams[1], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("style_loss", ["gram", "wasserstein"])
def test_masked_styles_apply_only_to_their_regions(params, content, style, style_loss):
    h, w = content.shape[:2]
    masks = np.zeros((2, h, w), np.float32)
    masks[0, :, : w // 2] = 1
    masks[1, :, w // 2 :] = 1
    config = StyleConfig(
        content_layers=(), style_layers=("relu1_1",), tv_weight=0, style_loss=style_loss
    )
    targets = make_targets(params, content, [style, 1 - style], config, masks=masks)
    only_left = targets.__class__(
        targets.content, targets.style, targets.masks, jnp.asarray([1.0, 0.0]), targets.spec
    )
    grad = jax.grad(lambda x: total_loss(params, x, only_left, config.weights)[0])(content)
    assert jnp.abs(grad[:, : w // 2]).max() > 0
    # The receptive field of relu1_1 reaches one pixel into the other region.
    np.testing.assert_array_equal(grad[:, w // 2 + 1 :], 0)


@pytest.mark.slow
@pytest.mark.parametrize("style_loss", ["gram", "wasserstein"])
def test_a_mask_of_ones_changes_nothing(params, content, style, style_loss):
    config = dataclasses.replace(CONFIG, style_loss=style_loss)
    mask = np.ones((1, *content.shape[:2]), np.float32)
    losses = [
        total_loss(
            params, content, make_targets(params, content, [style], config, masks=m), config.weights
        )[0]
        for m in (None, mask)
    ]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-4)


def test_shares_of_regions_are_proportional_to_area(params, content, style):
    masks = np.zeros((2, *content.shape[:2]), np.float32)
    masks[0, : content.shape[0] // 4] = 1
    masks[1, content.shape[0] // 4 :] = 1
    targets = make_targets(params, content, [style, style], CONFIG, masks=masks)
    np.testing.assert_allclose(targets.shares, [0.25, 0.75], rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("style_loss", ["gram", "wasserstein"])
def test_gradient_agrees_with_finite_differences(params, content, style, style_loss):
    config = dataclasses.replace(CONFIG, style_loss=style_loss)
    targets = make_targets(params, content, [style], config)
    image = jnp.asarray(1 - content)
    loss = lambda x: total_loss(params, x, targets, CONFIG.weights)[0]
    grad = jax.grad(loss)(image)
    noise = jnp.asarray(np.random.default_rng(2).normal(size=image.shape), jnp.float32)
    # Partly along the gradient: in float32, finite differences have an error of about 0.3.
    direction = noise + grad / grad.std()
    slope = jnp.vdot(grad, direction)
    step = 1e-3
    measured = (loss(image + step * direction) - loss(image - step * direction)) / (2 * step)
    np.testing.assert_allclose(slope, measured, rtol=5e-3)


@pytest.mark.slow
def test_gradient_is_finite_on_a_flat_image(params, content, style):
    targets = make_targets(params, content, [style], CONFIG)
    flat = jnp.full(content.shape, 0.5)
    assert jnp.isfinite(
        jax.grad(lambda x: total_loss(params, x, targets, CONFIG.weights)[0])(flat)
    ).all()


def test_eager_jit_and_vmap_agree(params, content, style):
    targets = make_targets(params, content, [style], CONFIG)
    images = jnp.stack([jnp.asarray(content), jnp.asarray(1 - content)])
    loss = lambda image: total_loss(params, image, targets, CONFIG.weights)[0]
    eager = jnp.stack([loss(image) for image in images])
    np.testing.assert_allclose(jax.jit(jax.vmap(loss))(images), eager, rtol=1e-4)


@pytest.mark.slow
def test_make_targets_works_under_vmap(params, content, style):
    contents = jnp.stack([jnp.asarray(content), jnp.asarray(1 - content)])
    targets = jax.vmap(lambda c: make_targets(params, c, [style], CONFIG))(contents)
    single = make_targets(params, contents[1], [style], CONFIG)
    np.testing.assert_allclose(
        targets.content["relu2_2"][1], single.content["relu2_2"], rtol=1e-4, atol=1e-4
    )


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "fewer"), [("float32", True), ("bfloat16", False)])
def test_gradient_uses_transformed_kernels_in_float32_only(params, content, style, dtype, fewer):
    config = StyleConfig(content_layers=("relu3_2",), style_layers=("relu3_1",), dtype=dtype)
    targets = make_targets(params, content, [style], config)

    def convolutions(params):
        grad = jax.grad(lambda x: total_loss(params, x, targets, config.weights)[0])
        return str(jax.make_jaxpr(grad)(content)).count("conv_general_dilated[")

    transformed = transform_kernels(params, ("relu3_2",))
    assert (convolutions(transformed) < convolutions(params)) is fewer


def test_other_weights_do_not_recompile(params, content, style):
    targets, traces = make_targets(params, content, [style], CONFIG), []

    @jax.jit
    def loss(weights):
        traces.append(1)
        return total_loss(params, content, targets, weights)[0]

    for style_weight in (1.0, 2.0, 3.0):
        loss(StyleConfig(**{**vars(CONFIG), "style_weight": style_weight}).weights)
    assert len(traces) == 1


def test_an_image_of_another_size_than_the_targets_is_an_error(params, content, style):
    targets = make_targets(params, content, [style], CONFIG)
    with pytest.raises(ValueError, match="but `targets` were made for 32x48"):
        total_loss(params, jnp.zeros((40, 40, 3)), targets, CONFIG.weights)


def test_masks_without_a_content_image_are_an_error(params, style):
    with pytest.raises(ValueError, match="`masks` need a content image"):
        make_targets(params, None, [style], CONFIG, masks=np.ones((1, 8, 8), np.float32))


@pytest.mark.parametrize(
    ("config", "styles", "masks", "message"),
    [
        ({"blend": (1, 2)}, 1, None, "`blend` has 2 weights for 1 styles"),
        ({"blend": (0, 0)}, 2, None, "`blend` is 0 for every style"),
        ({}, 1, 2, "`masks` has 2 masks for 1 styles"),
    ],
)
def test_blend_and_masks_must_match_the_styles(
    params, content, style, config, styles, masks, message
):
    masks = None if masks is None else np.ones((masks, 8, 8), np.float32)
    with pytest.raises(ValueError, match=message):
        make_targets(params, content, [style] * styles, StyleConfig(**config), masks=masks)


MIXED = dataclasses.replace(
    CONFIG,
    content_layers={"relu2_2": 1, "self_similarity:relu2_1": 3},
    style_layers={"relu1_1": 1, "histogram:relu1_1": 2, "nearest:relu2_1": 1},
    laplacian_weight=7.0,
)


@pytest.mark.slow
def test_each_term_may_have_its_own_loss(params, content, style, image):
    image = image[: content.shape[0], : content.shape[1]]
    targets = make_targets(params, content, [style], MIXED)
    loss, terms = total_loss(params, image, targets, MIXED.weights)
    extract = lambda x: features(params, x, ("relu1_1", "relu2_1", "relu2_2"))
    image_maps, content_maps, style_maps = extract(image), extract(content), extract(style)
    content_term = content_loss(image_maps["relu2_2"], content_maps["relu2_2"])
    similarity = self_similarity_loss(
        image_maps["relu2_1"], self_similarity(content_maps["relu2_1"])
    )
    gram = gram_loss(gram_matrix(image_maps["relu1_1"]), gram_matrix(style_maps["relu1_1"]))
    histogram = histogram_loss(image_maps["relu1_1"], channel_quantiles(style_maps["relu1_1"]))
    nearest = nearest_loss(image_maps["relu2_1"], points(style_maps["relu2_1"]))
    expected = {
        "content": 0.5 * content_term + 1.5 * similarity,
        "style/relu1_1": 5.0 * 0.25 * gram,
        "style/histogram:relu1_1": 5.0 * 0.5 * histogram,
        "style/nearest:relu2_1": 5.0 * 0.25 * nearest,
        "tv": 0.5 * total_variation(image),
        "laplacian": 7.0 * laplacian_loss(image, color_windows(jnp.asarray(content))),
    }
    check_terms(loss, terms, expected, rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", get_args(StyleLoss))
def test_every_style_loss_blends_styles_and_takes_masks(params, content, style, name):
    config = dataclasses.replace(CONFIG, style_loss=name, blend=(1.0, 0.0))
    one = make_targets(params, content, [style], dataclasses.replace(config, blend=()))
    both = make_targets(params, content, [style, 1 - style], config)
    terms = jax.jit(lambda targets: total_loss(params, content, targets, config.weights)[1])
    expected = terms(one)["style/relu2_1"]
    np.testing.assert_allclose(terms(both)["style/relu2_1"], expected, rtol=1e-3)
    masks = jnp.stack([jnp.ones(content.shape[:2]), jnp.zeros(content.shape[:2])])
    masked = make_targets(params, content, [style, 1 - style], config, masks=masks)
    # The first of two styles has the whole image, and shares have a mean of 1: its share is 2.
    np.testing.assert_allclose(terms(masked)["style/relu2_1"], 2 * expected, rtol=1e-3)
    grad = jax.grad(lambda image: total_loss(params, image, masked, config.weights)[0])
    assert jnp.isfinite(grad(jnp.asarray(content))).all()


def test_laplacian_is_not_computed_without_a_weight(params, content, style):
    targets = make_targets(params, content, [style], CONFIG)
    assert targets.windows is None
    assert "laplacian" not in total_loss(params, content, targets, CONFIG.weights)[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"content_layers": ("self_similarity:relu2_1",)},
        {"content_layers": (), "laplacian_weight": 1.0},
    ],
)
def test_an_image_of_another_size_is_an_error_for_every_loss(params, content, style, changes):
    config = dataclasses.replace(CONFIG, **changes)
    targets = make_targets(params, content, [style], config)
    with pytest.raises(ValueError, match="`image` is 48x32"):
        total_loss(params, jnp.asarray(content).swapaxes(0, 1), targets, config.weights)
