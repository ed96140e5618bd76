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

ORDER = metrics.Scores._fields


@pytest.fixture(scope="module")
def photograph():
    return read_image(IMAGES / "chelsea.jpg", 96)


@pytest.fixture(scope="module")
def painting():
    return read_image(IMAGES / "cafe_terrace.jpg", 96)


def test_scores_read_no_layer_that_a_preset_descends():
    read = {*metrics.CONTENT_LAYERS, *metrics.STYLE_LAYERS}
    for preset in PRESETS.values():
        assert read.isdisjoint(layers_of((*preset.weights.content, *preset.weights.style)))


def test_a_photograph_is_its_own_content_and_a_painting_its_own_style(params, photograph, painting):
    same = score(params, photograph, painting, photograph)
    assert same.content < 1e-5
    assert same.structure < 1e-4
    assert same.style > 0.3
    assert same.color > 0.05
    other = score(params, painting, painting, painting)
    assert other.style < 1e-5
    assert other.color < 1e-5
    assert other.grain == pytest.approx(1)


def test_a_mixture_lies_between(params, photograph, painting):
    # Painted over by noise, more and more.
    noise = np.random.default_rng(0).random(photograph.shape, np.float32)
    found = [
        score(params, photograph, painting, (1 - share) * photograph + share * noise)
        for share in (0.0, 0.1, 0.3, 1.0)
    ]
    for name in ("content", "structure", "grain"):
        values = [float(getattr(scores, name)) for scores in found]
        assert values == sorted(values), name


def test_structure_does_not_know_colors(params, photograph, painting):
    recolored = photograph[..., ::-1] * 0.9
    found = score(params, photograph, painting, recolored)
    moved = score(params, photograph, painting, photograph[:, ::-1])
    assert found.structure < 0.5 * moved.structure


def test_color_is_the_distance_of_flat_pictures():
    a, b = (jnp.full((8, 9, 3), value) for value in (0.25, 0.75))
    # Of a shift along all channels a random direction sees |Σ d_i| / 2, in the mean square 1/4.
    assert metrics.color_distance(a, b) == pytest.approx(0.5, rel=0.2)
    assert metrics.color_distance(a, a) == 0


def test_border_sees_a_frame(photograph):
    framed = np.array(photograph)
    framed[:4] = framed[-4:] = 0
    framed[:, :4] = framed[:, -4:] = 0
    assert metrics.border(framed) > 3 * metrics.border(photograph)


def test_style_does_not_know_places_nor_sizes(params, painting):
    moved = metrics.style_distance(params, painting, np.roll(painting, 32, axis=0))
    part = metrics.style_distance(params, painting, painting[:80])
    assert moved < 0.15
    assert part < 0.3


def test_scores_go_through_jit(params, photograph, painting):
    compiled = jax.jit(score)(params, photograph, painting, painting_like(photograph, painting))
    plain = score(params, photograph, painting, painting_like(photograph, painting))
    np.testing.assert_allclose(compiled, plain, rtol=1e-3)


def painting_like(photograph, painting):
    return jnp.asarray(photograph) * 0.5 + painting.mean(axis=(0, 1)) * 0.5


def test_score_prints_every_measure(capsys):
    files = [str(IMAGES / name) for name in ("chelsea.jpg", "cafe_terrace.jpg", "chelsea.jpg")]
    assert main(["score", *files, "--size", "96"]) == 0
    lines = capsys.readouterr().out.splitlines()
    found = dict(line.split()[:2] for line in lines)
    assert tuple(found) == ORDER
    assert float(found["content"]) == pytest.approx(0, abs=1e-4)


def test_score_of_pictures_that_do_not_fit(capsys):
    files = [str(IMAGES / name) for name in ("chelsea.jpg", "cafe_terrace.jpg", "cafe_terrace.jpg")]
    assert main(["score", *files, "--size", "96"]) == 2
    assert "of other proportions than the picture" in capsys.readouterr().err


def test_score_is_of_the_size_of_the_picture(tmp_path, capsys):
    small = tmp_path / "small.png"
    write_image(small, read_image(IMAGES / "chelsea.jpg", 96))
    files = [str(IMAGES / "chelsea.jpg"), str(IMAGES / "cafe_terrace.jpg"), str(small)]
    found = []
    for size in ([], ["--size", "96"], ["--size", "128"]):
        assert main(["score", *files, *size]) == 0
        found.append(capsys.readouterr().out)
    assert found[0] == found[1] != found[2]
