import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import IMAGES
from PIL import Image

from jaxstyle import StyleConfig, load_weights, preview, read_image, stylize
from jaxstyle.adain import DECODER_SHAPES, adain, adaptive_instance_norm, decode
from jaxstyle.cli import main
from jaxstyle.io.weights import write_weights
from jaxstyle.losses import deviation, moments
from jaxstyle.vgg19 import features

PHOTO, PAINTING = str(IMAGES / "chelsea.jpg"), str(IMAGES / "cafe_terrace.jpg")
CONFIG = StyleConfig(size=48)


@pytest.fixture(scope="module")
def params():
    return load_weights(decoder=True)


@pytest.mark.slow
def test_decoder_matches_pytorch(params, random):
    torch = pytest.importorskip("torch", reason="torch is an extra: pip install '.[convert]'")
    encoded = np.maximum(random.standard_normal((1, 3, 4, 512)), 0).astype(np.float32)
    x = torch.from_numpy(encoded).permute(0, 3, 1, 2)
    for i in range(1, 10):
        leaves = params["decoder"][f"conv{i}"]
        kernel = torch.from_numpy(np.asarray(leaves["kernel"]).transpose(3, 2, 0, 1).copy())
        x = torch.nn.functional.pad(x, (1, 1, 1, 1), mode="reflect")
        x = torch.nn.functional.conv2d(x, kernel, torch.from_numpy(np.array(leaves["bias"])))
        x = x if i == 9 else torch.relu(x)
        # Huang and Belongie upsample after the last convolution of each mirrored VGG block.
        if kernel.shape[0] < kernel.shape[1] and i < 9:
            x = torch.nn.functional.interpolate(x, scale_factor=2, mode="nearest")
    expected = x.permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(decode(params, jnp.asarray(encoded)), expected, atol=1e-4)


@pytest.mark.slow
def test_decoder_approximately_inverts_the_encoder(params):
    # The decoder was trained on larger and on stylized images, so the match is approximate.
    content = read_image(PHOTO, 192)
    encoded = features(params, content, ("relu4_1",), padding="reflect")["relu4_1"]
    decoded = np.asarray(decode(params, encoded))
    assert np.corrcoef(decoded.ravel(), content.ravel())[0, 1] > 0.7


def test_instance_norm_gives_features_the_means_and_deviations_of_the_style(random):
    x, y = (jnp.asarray(random.standard_normal((6, 7, 5)) * s + s, jnp.float32) for s in (1, 3))
    actual, expected = moments(adaptive_instance_norm(x, moments(y))), moments(y)
    np.testing.assert_allclose(actual.mean, expected.mean, rtol=1e-4)
    np.testing.assert_allclose(deviation(actual), deviation(expected), rtol=1e-4)


def test_instance_norm_of_a_flat_channel_is_finite(random):
    flat = jnp.ones((4, 4, 3))
    style = moments(jnp.asarray(random.standard_normal((4, 4, 3)), jnp.float32))
    np.testing.assert_allclose(adaptive_instance_norm(flat, style), flat * style.mean, atol=1e-2)


@pytest.mark.slow
def test_strength_interpolates_from_the_content_to_the_style(params, content, style):
    none, half, full = (adain(params, content, [style], strength=s) for s in (0.0, 0.5, 1.0))
    self_styled = adain(params, content, [content], strength=1.0)
    np.testing.assert_allclose(none, self_styled, atol=1e-3)
    assert abs(full - none).mean() > abs(half - none).mean() > 0.01


@pytest.mark.slow
def test_blend_of_equal_styles_or_with_weight_zero_equals_one_style(params, content, style):
    single = adain(params, content, [style])
    np.testing.assert_allclose(adain(params, content, [style, style]), single, atol=1e-4)
    other = 1 - style
    blended = adain(params, content, [style, other], blend=[1.0, 0.0])
    np.testing.assert_allclose(blended, single, atol=1e-4)


@pytest.mark.slow
def test_result_has_the_content_size_and_eager_jit_and_vmap_agree(params, style):
    content = jnp.asarray(Image.open(PHOTO).resize((45, 37)), jnp.float32) / 255
    eager = adain(params, content, [style])
    assert eager.shape == (37, 45, 3)
    np.testing.assert_allclose(jax.jit(adain)(params, content, [style]), eager, atol=1e-4)
    both = jax.vmap(lambda c: adain(params, c, [style]))(jnp.stack([content, content[::-1]]))
    np.testing.assert_allclose(both[0], eager, atol=1e-4)


def test_missing_decoder_is_an_error(content, style):
    without = {name: leaves for name, leaves in load_weights().items() if name != "decoder"}
    with pytest.raises(ValueError, match=r"load_weights\(decoder=True\)"):
        adain(without, content, [style])


@pytest.mark.slow
def test_loading_the_decoder_with_other_weights_is_an_error(tmp_path):
    from jaxstyle.errors import WeightsError

    path = tmp_path / "other.h5"
    write_weights(path, load_weights(), source="elsewhere")
    with pytest.raises(WeightsError, match="decoder requires the embedded weights"):
        load_weights(path, decoder=True)


@pytest.mark.slow
def test_init_adain_starts_from_the_preview(params, content, style):
    config = dataclasses.replace(
        CONFIG, init="adain", steps=(1,), learning_rate=1e-6, average=0, noise=0
    )
    started = stylize(params, content, style, config).image
    np.testing.assert_allclose(started, preview(params, content, style, config), atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("color", ["luminance", "match"])
def test_preview_preserves_the_content_colors(params, content, style, color):
    plain = preview(params, content, style, CONFIG)
    preserved = preview(params, content, style, dataclasses.replace(CONFIG, color=color))
    distance = lambda image: abs(image.mean((0, 1)) - content.mean((0, 1))).max()
    assert distance(preserved) < distance(plain) / 2


@pytest.mark.slow
def test_preview_command_writes_an_image(tmp_path, capsys):
    out = tmp_path / "out.png"
    assert main(["preview", PHOTO, PAINTING, PAINTING, "-o", str(out), "--size", "64"]) == 0
    assert read_image(out).shape == (43, 64, 3)
    assert "64x43, in one pass" in capsys.readouterr().err
    assert main(["preview", PHOTO, PAINTING, "-o", str(out), "--strength", "2"]) == 2
    assert "`--strength` is 2.0" in capsys.readouterr().err


@pytest.mark.slow
def test_decoder_shapes_list_all_convolutions_in_order():
    assert list(DECODER_SHAPES) == [f"conv{i}" for i in range(1, 10)]
    assert DECODER_SHAPES["conv9"] == {"kernel": (3, 3, 64, 3), "bias": (3,)}
