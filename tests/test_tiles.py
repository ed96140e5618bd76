"""Images in tiles: the same loss, gradient and statistics as whole images."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import IMAGES

import jaxstyle
from jaxstyle import StyleConfig, make_targets, total_loss, total_variation
from jaxstyle.analysis import cost
from jaxstyle.losses.variation import banded_variation
from jaxstyle.tiles import split_axis

SHALLOW = {"style_layers": ("relu1_1", "relu2_1", "relu3_1"), "content_layers": ("relu3_1",)}


@pytest.mark.parametrize("length", [16, 47, 64, 100, 257, 1000])
@pytest.mark.parametrize("tile", [0, 16, 48])
@pytest.mark.parametrize("halo", [1, 16, 70])
def test_windows_see_their_tiles_and_what_is_around_them(length, tile, halo):
    window, starts, edges = split_axis(length, tile, halo)
    assert (edges[0], edges[-1]) == (0, length)
    assert len(starts) == len(edges) - 1
    for start, begin, end in zip(starts, edges, edges[1:], strict=False):
        assert begin < end
        assert begin - start >= min(begin, halo)
        assert start + window - end >= min(length - end, halo)
        assert start % 16 == begin % 16 == 0
        assert start + window <= length
        assert not tile or len(starts) == 1 or end - begin <= tile


SUMMED = ("relu1_1", "gram:relu2_1", "mean_std:relu3_1", "wasserstein:relu3_1")
WHOLE = ("histogram:relu2_1", "sliced:relu2_1", "nearest:relu3_1")


def evaluate(params, masks, dtype, **options):
    """Return the loss and its gradient at a noisy photograph of 93x150 pixels."""
    style, other, content = (
        jnp.asarray(jaxstyle.read_image(IMAGES / f"{name}.jpg", 150), dtype)
        for name in ("cafe_terrace", "langlois_bridge", "coffee")
    )
    content = content[:93]
    noise = 0.05 * jax.random.normal(jax.random.key(0), content.shape, jnp.float32)
    image = jnp.clip(content + noise.astype(dtype), 0, 1)
    styles = [style] if masks is None else [style, other]
    params = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), jaxstyle.limit_filters(params))
    config = StyleConfig(dtype=dtype, **options)

    @jax.jit
    def compute(params, content, styles, image):
        targets = make_targets(params, content, styles, config, masks=masks)
        loss = lambda x: total_loss(params, x, targets, config.weights)
        return jax.value_and_grad(loss, has_aux=True)(image)

    (loss, terms), gradient = compute(params, content, styles, image)
    return float(loss), terms, np.asarray(gradient)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("with_masks", "options"),
    [
        (True, {"style_layers": SUMMED, "content_layers": ("relu3_1",)}),
        (
            False,
            {
                "style_layers": SUMMED,
                "content_layers": ("relu2_2",),
                "padding": "zeros",
                "content_norm": "gatys",
                "gram_norm": "gatys",
                "tv_form": "squared",
            },
        ),
        (
            False,
            {
                "style_layers": WHOLE,
                "content_layers": ("self_similarity:relu3_1",),
                "padding": "reflect",
                "pooling": "average",
                "laplacian_weight": 100.0,
            },
        ),
    ],
)
def test_tiles_change_neither_loss_nor_gradient(params, with_masks, options):
    with jax.enable_x64(True):
        ramp = jnp.broadcast_to(jnp.linspace(0, 1, 150), (1, 93, 150))
        masks = jnp.concatenate([ramp, 1 - ramp]) if with_masks else None
        loss, terms, gradient = evaluate(params, masks, "float64", **options)
        tiled_loss, tiled_terms, tiled = evaluate(params, masks, "float64", tile=48, **options)
    assert tiled_loss == pytest.approx(loss, rel=1e-9)
    assert {k: float(v) for k, v in tiled_terms.items()} == pytest.approx(
        {k: float(v) for k, v in terms.items()}, rel=1e-8
    )
    assert np.linalg.norm(tiled - gradient) <= 1e-9 * np.linalg.norm(gradient)


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["wasserstein", "gram"])
def test_tiles_differ_by_the_rounding_of_float32(params, loss):
    options = SHALLOW | {"style_loss": loss}
    value, _, gradient = evaluate(params, None, "float32", **options)
    tiled_value, _, tiled = evaluate(params, None, "float32", tile=48, **options)
    # The root of a covariance loses four digits, with and without tiles.
    assert tiled_value == pytest.approx(value, rel=1e-4 if loss == "wasserstein" else 1e-6)
    assert np.linalg.norm(tiled - gradient) <= 1e-4 * np.linalg.norm(gradient)


@pytest.mark.parametrize("shape", [(1, 7, 3), (2, 9, 3), (64, 5, 3), (130, 1, 3), (200, 31, 3)])
@pytest.mark.parametrize("form", ["squared", "nine_point"])
def test_bands_change_neither_variation_nor_gradient(shape, form):
    image = jax.random.uniform(jax.random.key(0), shape)
    loss, gradient = jax.value_and_grad(partial(total_variation, form=form))(image)
    banded, banded_gradient = jax.value_and_grad(partial(banded_variation, form=form))(image)
    np.testing.assert_allclose(banded, loss, rtol=1e-6)
    np.testing.assert_allclose(banded_gradient, gradient, atol=1e-6 * abs(gradient).max())


@pytest.mark.slow
def test_memory_of_tiles_is_that_of_a_tile(params):
    def temporaries(size, tile):
        config = StyleConfig(size=size, tile=tile, **SHALLOW)
        return cost.lower_step(params, config, (size, size))[0].compile().memory_analysis()

    small, large = (temporaries(size, 64).temp_size_in_bytes for size in (256, 512))
    image = (512**2 - 256**2) * 12
    # The state of the optimizer, the gradient, and relu3_1 of the content image.
    assert large - small < 12 * image
    assert large < temporaries(512, 0).temp_size_in_bytes / 3


@pytest.mark.parametrize("tile", [8, 64, 100, -80])
def test_tiles_smaller_than_what_is_around_them_are_an_error(tile):
    with pytest.raises(ValueError, match=rf"`tile` is {tile}; .* multiple of 16 of at least 80"):
        StyleConfig(tile=tile)
    assert dataclasses.replace(StyleConfig(), tile=80).spec.tile == 80


def test_tiles_are_no_part_of_what_determines_a_result():
    assert StyleConfig(tile=512).record == StyleConfig().record
    assert "size" in StyleConfig().record
