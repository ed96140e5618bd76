"""Quality metrics, and the command `jaxstyle score` that prints them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import IMAGES

from jaxstyle import metrics, read_image, write_image
from jaxstyle.cli import main
from jaxstyle.metrics import score
from jaxstyle.options import layers_of
from jaxstyle.presets import PRESETS


@pytest.fixture(scope="module")
def content():
    return read_image(IMAGES / "chelsea.jpg", 96)


@pytest.fixture(scope="module")
def style():
    return read_image(IMAGES / "cafe_terrace.jpg", 96)


def test_metrics_share_no_layer_with_a_preset():
    layers = {*metrics.CONTENT_LAYERS, *metrics.STYLE_LAYERS}
    for preset in PRESETS.values():
        assert layers.isdisjoint(layers_of((*preset.weights.content, *preset.weights.style)))


@pytest.mark.slow
def test_distances_of_an_image_to_itself_are_zero(params, content, style):
    unchanged = score(params, content, style, content)
    assert unchanged.content < 1e-5
    assert unchanged.structure < 1e-4
    assert unchanged.style > 0.3
    assert unchanged.color > 0.05
    style_itself = score(params, style, style, style)
    assert style_itself.style < 1e-5
    assert style_itself.color < 1e-5
    assert style_itself.grain == pytest.approx(1)


@pytest.mark.slow
def test_metrics_increase_with_added_noise(params, content, style):
    noise = np.random.default_rng(0).random(content.shape, np.float32)
    noisy_scores = [
        score(params, content, style, (1 - share) * content + share * noise)
        for share in (0.0, 0.1, 0.3, 1.0)
    ]
    for name in ("content", "structure", "grain"):
        values = [float(getattr(scores, name)) for scores in noisy_scores]
        assert values == sorted(values), name


@pytest.mark.slow
def test_structure_depends_less_on_colors_than_on_positions(params, content, style):
    recolored = score(params, content, style, content[..., ::-1] * 0.9)
    flipped = score(params, content, style, content[:, ::-1])
    assert recolored.structure < 0.5 * flipped.structure


def test_color_is_the_distance_of_flat_images():
    a, b = (jnp.full((8, 9, 3), value) for value in (0.25, 0.75))
    # A shift of 0.5 in all channels is 0.5 |Σ d_i| along a direction d: 1/4 in the mean square.
    assert metrics.color_distance(a, b) == pytest.approx(0.5, rel=0.2)
    assert metrics.color_distance(a, a) == 0


def test_border_detects_a_frame(content):
    framed = np.array(content)
    framed[:4] = framed[-4:] = 0
    framed[:, :4] = framed[:, -4:] = 0
    assert metrics.border(framed) > 3 * metrics.border(content)


def test_smooth_grain_sees_only_where_the_content_image_is_smooth(style):
    content = np.array(style)
    content[:, :38] = 0.5
    noise = 0.2 * np.random.default_rng(0).random((96, 38, 3), np.float32)
    noisy_left, noisy_right = np.array(content), np.array(content)
    noisy_left[:, :38] += noise
    noisy_right[:, 38:76] += noise
    scores = [float(metrics.smooth_grain(content, style, x)) for x in (noisy_left, noisy_right)]
    assert scores[0] > 2
    assert scores[1] < 0.1


def test_smooth_grain_of_the_style_image_itself_is_near_one(style):
    assert metrics.smooth_grain(style, style, style) == pytest.approx(1, rel=0.5)


@pytest.mark.slow
def test_style_depends_little_on_positions_and_size(params, style):
    shifted = metrics.style_distance(params, style, np.roll(style, 32, axis=0))
    cropped = metrics.style_distance(params, style, style[:80])
    assert shifted < 0.15
    assert cropped < 0.3


@pytest.mark.slow
def test_eager_and_jit_agree(params, content, style):
    image = jnp.asarray(content) * 0.5 + style.mean(axis=(0, 1)) * 0.5
    compiled = jax.jit(score)(params, content, style, image)
    np.testing.assert_allclose(compiled, score(params, content, style, image), rtol=1e-3)


@pytest.mark.slow
def test_score_prints_every_metric(capsys):
    files = [str(IMAGES / name) for name in ("chelsea.jpg", "cafe_terrace.jpg", "chelsea.jpg")]
    assert main(["score", *files, "--size", "96"]) == 0
    lines = capsys.readouterr().out.splitlines()
    printed = dict(line.split()[:2] for line in lines)
    assert tuple(printed) == metrics.Scores._fields
    assert float(printed["content"]) == pytest.approx(0, abs=1e-4)


def test_score_rejects_a_result_of_another_aspect_ratio(capsys):
    files = [str(IMAGES / name) for name in ("chelsea.jpg", "cafe_terrace.jpg", "cafe_terrace.jpg")]
    assert main(["score", *files, "--size", "96"]) == 2
    assert "its aspect ratio must match the content image's" in capsys.readouterr().err


@pytest.mark.slow
def test_score_uses_the_size_of_the_result(tmp_path, capsys):
    small = tmp_path / "small.png"
    write_image(small, read_image(IMAGES / "chelsea.jpg", 96))
    files = [str(IMAGES / "chelsea.jpg"), str(IMAGES / "cafe_terrace.jpg"), str(small)]
    outputs = []
    for size in ([], ["--size", "96"], ["--size", "128"]):
        assert main(["score", *files, *size]) == 0
        outputs.append(capsys.readouterr().out)
    assert outputs[0] == outputs[1] != outputs[2]
