"""`stop`: a level ends where its loss is flat, the same way in chunks, batches and resumed runs."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from conftest import IMAGES

from jaxstyle import StyleConfig, pyramid, stylize, stylize_batch
from jaxstyle.cli import main
from jaxstyle.loop.plateau import WINDOW, Plateau, count_steps

LAYERS = {
    "style_layers": "relu1_1",
    "content_layers": "relu1_2",
    "style_loss": "gram",
    "conv": "direct",
}
CONFIG = StyleConfig(size=48, min_size=24, steps=(60, 60), stop=0.01, **LAYERS)


@pytest.fixture(scope="module")
def alone(params, content, style):
    """Results of two content images."""
    return [stylize(params, image, style, CONFIG) for image in (content, dark(content))]


def dark(content):
    return content[:, ::-1] * np.float32(0.3)


def steps_of(result, content):
    losses = np.asarray(result.trace.loss)
    return count_steps(pyramid.levels(content.shape, CONFIG), losses, CONFIG.stop)


@pytest.mark.slow
def test_a_level_ends_where_its_loss_is_flat(alone, content):
    losses = np.asarray(alone[0].trace.loss).astype(np.float64)
    assert losses.shape == (120,)
    assert steps_of(alone[0], content) < 120
    for level in losses.reshape(2, 60):
        taken = int(np.flatnonzero(np.diff(level))[-1]) + 2
        means = level[:taken].reshape(-1, WINDOW).mean(axis=1)
        gains = (means[:-1] - means[1:]) / WINDOW / means[:-1]
        assert (gains[:-1] >= CONFIG.stop).all()
        assert taken == 60 or gains[-1] < CONFIG.stop


@pytest.mark.slow
def test_without_it_the_same_steps_go_on(params, content, style, alone):
    stopped = np.asarray(alone[1].trace.loss)[:60]
    seen = []
    config = replace(CONFIG, stop=0.0)
    stylize(params, dark(content), style, config, callback=lambda p: seen.append(p) or p.step >= 60)
    losses = seen[-1].trace.loss
    assert (np.diff(losses) != 0).all()
    taken = int(np.flatnonzero(np.diff(stopped))[-1]) + 2
    assert 2 * WINDOW <= taken < 60
    np.testing.assert_array_equal(losses[:taken], stopped[:taken])
    assert losses[-1] < stopped[-1]


@pytest.mark.slow
def test_chunks_do_not_change_where_it_ends(params, content, style, alone):
    steps = []
    result = stylize(
        params,
        content,
        style,
        CONFIG,
        callback=lambda p: steps.append(p.step),
        callback_steps=(27, 95),
    )
    assert 27 in steps or 95 in steps
    assert steps[-1] == 120
    np.testing.assert_array_equal(result.image, alone[0].image)


@pytest.mark.slow
@pytest.mark.parametrize("chunks", [3, 5])
def test_a_resumed_run_ends_at_the_same_result(params, content, style, alone, chunks):
    seen = []
    stylize(params, content, style, CONFIG, callback=lambda p: seen.append(p) or len(seen) > chunks)
    assert seen[-1].step % WINDOW == 0
    result = stylize(params, content, style, CONFIG, resume=seen[-1])
    np.testing.assert_array_equal(result.image, alone[0].image)
    np.testing.assert_array_equal(result.trace.loss, alone[0].trace.loss)


@pytest.mark.slow
def test_each_image_of_a_batch_ends_by_its_own_loss(params, content, style, alone):
    taken = [steps_of(result, content) for result in alone]
    assert taken[0] != taken[1]
    # In float32, rounding decides the sign of a few gradients, and with it Adam's first step.
    with jax.enable_x64(True):
        config = replace(CONFIG, dtype="float64")
        contents = np.stack([content, dark(content)]).astype(np.float64)
        style = np.asarray(style, np.float64)
        batch = stylize_batch(params, contents, style, config)
        for i, image in enumerate(contents):
            row = jax.tree.map(lambda leaf, i=i: leaf[i], batch)
            result = stylize(params, image, style, config)
            assert steps_of(row, content) == steps_of(result, content)
            np.testing.assert_allclose(row.image, result.image, atol=1e-5)
            np.testing.assert_allclose(row.trace.loss, result.trace.loss, rtol=1e-5)


def test_it_needs_concrete_losses(params, content, style):
    with pytest.raises(ValueError, match="`stop` needs the loss of each step"):
        jax.jit(stylize, static_argnames="config")(params, content, style, CONFIG)


def test_a_rising_loss_is_flat_and_one_that_is_not_finite_is_not():
    assert Plateau(0.001, 60, np.linspace(1, 2, 20)).flat
    assert not Plateau(0.001, 60, np.full(20, np.nan)).flat


@pytest.mark.slow
def test_the_command_reports_the_steps_it_took(tmp_path, capsys):
    images = [str(IMAGES / "chelsea.jpg"), str(IMAGES / "cafe_terrace.jpg")]
    options = ["--size", "48", "--min-size", "48", "--steps", "60", "--stop", "0.2"]
    options += ["--style-layers", "relu1_1", "--content-layers", "relu1_2"]
    assert main(["stylize", *images, "-o", str(tmp_path / "out.png"), *options]) == 0
    assert "20 of 60 steps" in capsys.readouterr().err


@pytest.mark.slow
def test_a_batch_records_the_steps_it_took(tmp_path):
    options = ["--size", "48", "--min-size", "48", "--steps", "60", "--stop", "0.2"]
    options += ["--style-layers", "relu1_1", "--content-layers", "relu1_2"]
    images = [str(IMAGES / "chelsea.jpg"), str(IMAGES / "cafe_terrace.jpg")]
    assert main(["batch", *images, "-o", str(tmp_path), *options]) == 0
    assert '"steps": 20' in (tmp_path / "jobs.jsonl").read_text()
