import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import SHORT_STEP, assert_same_picture

from jaxstyle import (
    PRESETS,
    StyleConfig,
    limit_filters,
    pyramid,
    reconstruct,
    stylize,
    synthesize_texture,
)
from jaxstyle.color import luminance
from jaxstyle.loop.programs import build_targets, run_steps
from jaxstyle.transfer import reconstruction_config, texture_config

# Two levels and shallow layers run every part of the loop in seconds.
CONFIG = StyleConfig(
    size=48,
    min_size=24,
    steps=(6, 4),
    content_layers=("relu2_1",),
    style_layers=("relu1_1", "relu2_1"),
    style_weight=10,
    learning_rate=0.01,
    average=0.5,
    noise=0,
)


@pytest.fixture(scope="module")
def result(params, content, style):
    return stylize(params, content, style, CONFIG)


@pytest.mark.slow
def test_result_has_the_requested_size_and_lies_in_the_unit_interval(result):
    # The content image is 451x300 pixels.
    assert result.image.shape == (32, 48, 3)
    assert result.image.min() >= 0
    assert result.image.max() <= 1


def test_trace_has_every_step_of_every_level(result):
    assert result.trace.loss.shape == (10,)
    assert result.trace.finite.all()
    np.testing.assert_allclose(sum(result.trace.terms.values()), result.trace.loss, rtol=1e-4)


def test_loss_falls_at_every_level(result):
    assert result.trace.loss[5] < result.trace.loss[0]
    assert result.trace.loss[9] < result.trace.loss[6]


@pytest.mark.slow
def test_jitted_stylize_equals_eager(params, content, style):
    config = dataclasses.replace(CONFIG, learning_rate=SHORT_STEP)
    whole = jax.jit(stylize, static_argnames="config")(params, content, style, config)
    assert_same_picture(whole.image, stylize(params, content, style, config).image)


@pytest.mark.slow
def test_vmap_over_contents_equals_single_runs(params, content, style):
    config = dataclasses.replace(CONFIG, learning_rate=SHORT_STEP)
    contents = jnp.stack([jnp.asarray(content), jnp.asarray(1 - content)])
    batch = jax.vmap(lambda c: stylize(params, c, style, config))(contents)
    assert_same_picture(batch.image[0], stylize(params, content, style, config).image)
    assert batch.trace.loss.shape == (2, 10)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("optimizer", "line_search"), [("pyramid_adam", False), ("lbfgs", False), ("lbfgs", True)]
)
def test_callback_does_not_change_the_result(params, content, style, optimizer, line_search):
    shallow = {"content_layers": ("relu1_2",), "style_layers": ("relu1_1",)}
    layers = shallow if optimizer == "lbfgs" else {}  # L-BFGS compiles slowly.
    config = dataclasses.replace(CONFIG, optimizer=optimizer, line_search=line_search, **layers)
    seen = []
    watched = stylize(params, content, style, config, callback=seen.append)
    plain = stylize(params, content, style, config)
    assert_same_picture(watched.image, plain.image)
    assert [p.step for p in seen][-1] == seen[-1].steps == 10
    assert {(p.level, p.image.shape) for p in seen} == {(0, (16, 24, 3)), (1, (32, 48, 3))}
    np.testing.assert_allclose([p.loss for p in seen][-1], watched.trace.loss[-1])


def test_same_seed_gives_the_same_bits_and_another_seed_does_not(params, content, style):
    config = dataclasses.replace(CONFIG, init="noise")
    first, again = (stylize(params, content, style, config).image for _ in range(2))
    other = stylize(params, content, style, dataclasses.replace(config, seed=1)).image
    np.testing.assert_array_equal(first, again)
    assert jnp.abs(first - other).max() > 0.01


def test_key_overrides_the_seed(params, content, style):
    config = dataclasses.replace(CONFIG, init="noise", seed=5)
    keyed = stylize(
        params, content, style, CONFIG.__class__(**{**vars(config), "seed": 0}), jax.random.key(5)
    )
    np.testing.assert_array_equal(keyed.image, stylize(params, content, style, config).image)


def test_callback_that_returns_true_stops_with_a_full_size_result(params, content, style):
    progresses = []

    def stop(progress):
        progresses.append(progress)
        return progress.step >= 2

    stopped = stylize(params, content, style, CONFIG, callback=stop)
    last = progresses[-1]
    assert len(stopped.trace.loss) == last.step
    assert all(progress.step < 2 for progress in progresses[:-1])
    assert stopped.image.shape == (32, 48, 3)
    np.testing.assert_allclose(
        stopped.image, pyramid.resize(last.image, (32, 48)), rtol=0, atol=1e-5
    )


def test_chunks_end_at_the_callback_steps_without_changing_the_result(params, content, style):
    by_one, seen = [], []
    steps = {"callback": by_one.append, "callback_steps": range(1, 11)}
    first = stylize(params, content, style, CONFIG, **steps)
    other = stylize(params, content, style, CONFIG, callback=seen.append, callback_steps=(4, 9))
    assert [progress.step for progress in by_one] == list(range(1, 11))
    assert {4, 6, 9, 10} <= {progress.step for progress in seen}
    np.testing.assert_array_equal(first.image, other.image)


def test_fraction_of_the_work_counts_pixels(params, content, style):
    seen = []
    stylize(params, content, style, CONFIG, callback=seen.append, callback_steps=(6,))
    # Levels of 16x24 and 32x48 pixels, with 6 and 4 steps.
    fractions = {progress.step: progress.fraction for progress in seen}
    assert (fractions[6], fractions[10]) == (6 / (6 + 4 * 4), 1)


@pytest.mark.slow
def test_diverged_run_returns_the_last_finite_image(params, content, style):
    config = dataclasses.replace(CONFIG, min_size=48, learning_rate=1e38, clamp=False)
    result = stylize(params, content, style, dataclasses.replace(config, steps=(4,)))
    finite = np.asarray(result.trace.finite)
    assert finite.tolist() == [True, False, False, False]
    last_finite = stylize(params, content, style, dataclasses.replace(config, steps=(1,)))
    np.testing.assert_array_equal(result.image, last_finite.image)


def start_of(params, content, style, init, **kwargs):
    """Return the start image, by one step with a tiny learning rate."""
    config = dataclasses.replace(
        CONFIG, init=init, noise=0, min_size=48, steps=(1,), learning_rate=1e-6
    )
    return stylize(params, content, style, config, **kwargs).image


@pytest.mark.slow
def test_init_content_starts_from_the_content_image(params, content, style):
    np.testing.assert_allclose(start_of(params, content, style, "content"), content, atol=1e-3)


def test_noise_is_added_to_a_start_from_the_content_image(params, content, style):
    config = dataclasses.replace(CONFIG, noise=0.1, min_size=48, steps=(1,), learning_rate=1e-6)
    added = np.asarray(stylize(params, content, style, config).image) - content
    inside = (content > 0.3) & (content < 0.7)
    np.testing.assert_allclose(added[inside].std(), 0.1, rtol=0.1)


def test_init_gray_starts_from_gray(params, content, style):
    np.testing.assert_allclose(start_of(params, content, style, "gray"), 0.5, atol=1e-3)


def test_init_noise_starts_from_white_noise(params, content, style):
    noise = np.asarray(start_of(params, content, style, "noise"))
    assert abs(noise.mean() - 0.5) < 0.02
    assert 0.2 < noise.std() < 0.25
    assert abs(np.corrcoef(noise[:, 1:].ravel(), noise[:, :-1].ravel())[0, 1]) < 0.05


def test_init_statistics_starts_from_the_mean_and_deviation_of_the_style(params, content, style):
    noise = np.asarray(start_of(params, content, style, "statistics"))
    # Truncation to [0, 1] pulls the mean toward 0.5 and lowers the deviation.
    np.testing.assert_allclose(noise.mean((0, 1)), style.mean((0, 1)), atol=0.06)
    np.testing.assert_allclose(noise.std((0, 1)), style.std((0, 1)), atol=0.06)


def test_start_argument_overrides_init(params, content, style):
    given = np.ascontiguousarray(content[::-1])
    np.testing.assert_allclose(
        start_of(params, content, style, "content", start=given), given, atol=1e-3
    )


@pytest.mark.slow
def test_color_luminance_keeps_the_chroma_of_the_content(params, content, style):
    config = dataclasses.replace(CONFIG, color="luminance")
    image = stylize(params, content, style, config).image
    # Where nothing was clipped, the same number was added to R, G and B.
    added = np.asarray(image - content)
    inside = ((image > 0.01) & (image < 0.99)).all(-1)
    assert inside.mean() > 0.5
    np.testing.assert_allclose(added[inside].std(axis=-1), 0, atol=1e-4)
    assert np.abs(luminance(image) - luminance(jnp.asarray(content))).max() > 0.05


def test_color_match_keeps_the_mean_color_closer_to_the_content(params, content, style):
    config = dataclasses.replace(CONFIG, color="match", style_weight=100, learning_rate=0.02)
    red = style * np.array([1, 0.2, 0.2], np.float32)
    matched = stylize(params, content, red, config).image
    plain = stylize(params, content, red, dataclasses.replace(config, color="style")).image
    distance = lambda image: np.abs(np.asarray(image).mean((0, 1)) - content.mean((0, 1))).sum()
    assert distance(matched) < 0.5 * distance(plain)


@pytest.mark.slow
def test_mask_limits_the_style_to_its_region(params, content, style):
    mask = np.zeros((1, *content.shape[:2]), np.float32)
    mask[:, :, :24] = 1
    config = dataclasses.replace(CONFIG, min_size=48, tv_weight=0, style_weight=100)
    image = np.asarray(stylize(params, content, style, config, masks=mask).image)
    change = np.abs(image - content).mean(axis=(0, 2))
    assert change[:18].mean() > 2 * change[-16:].mean()


@pytest.mark.slow
def test_texture_needs_no_content_and_has_the_requested_proportions(params, style):
    result = synthesize_texture(params, style, CONFIG, shape=(1, 2))
    assert result.image.shape == (24, 48, 3)
    assert "content" not in result.trace.terms
    assert result.trace.loss[-1] < result.trace.loss[0]


@pytest.mark.slow
def test_reconstruction_from_a_shallow_layer_recovers_the_image(params, content):
    config = StyleConfig(size=48, steps=(200,), tv_weight=0, optimizer="lbfgs")
    result = reconstruct(params, content, ("conv1_1",), config)
    assert np.abs(np.asarray(result.image) - content).mean() < 0.03


@pytest.mark.slow
def test_reconstruction_of_style_has_no_content_term(params, style):
    result = reconstruct(params, style, ("relu1_1", "relu2_1"), CONFIG, of="style")
    assert set(result.trace.terms) == {"style/relu1_1", "style/relu2_1", "tv"}
    assert result.image.shape == (48, 38, 3)


def test_sweep_over_weights_and_learning_rates_compiles_once(params, content, style):
    stylize(params, content, style, CONFIG)
    before = run_steps._cache_size(), build_targets._cache_size()
    for weight in (1.0, 2.0, 3.0):
        config = dataclasses.replace(
            CONFIG, style_weight=weight, tv_weight=weight, learning_rate=0.01 * weight, average=0.1
        )
        stylize(params, content, style, config)
    assert (run_steps._cache_size(), build_targets._cache_size()) == before


def test_more_steps_with_a_callback_do_not_recompile(params, content, style):
    watch = lambda progress: None
    stylize(params, content, style, CONFIG, callback=watch)
    compiled = []

    def listen(event, seconds, **_):
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(seconds)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        stylize(params, content, style, dataclasses.replace(CONFIG, steps=(9, 7)), callback=watch)
        seen = len(compiled)
        # Check the listener itself: compiling a new program must reach it.
        jax.jit(lambda x: x * 3 + seen)(jnp.zeros(17))
        assert (seen, len(compiled) > seen) == (0, True)
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


@pytest.mark.slow
def test_stylize_is_differentiable(params, content, style):
    config = dataclasses.replace(CONFIG, min_size=48, steps=(2,))
    grad = jax.grad(lambda x: stylize(params, x, style, config).image.sum())(jnp.asarray(content))
    assert jnp.isfinite(grad).all()
    assert jnp.abs(grad).max() > 0


@pytest.mark.slow
def test_stylize_compiles_once_per_level(params, content, style):
    config = dataclasses.replace(CONFIG, size=40, min_size=20)
    before = run_steps._cache_size(), build_targets._cache_size()
    stylize(params, content, style, config, callback=lambda progress: None)
    assert (run_steps._cache_size(), build_targets._cache_size()) == (before[0] + 2, before[1] + 2)


@pytest.mark.parametrize(
    ("config", "kwargs", "message"),
    [
        (StyleConfig(size=16, content_layers=("pool5",)), {}, "both sides at least 32"),
        (StyleConfig(size=64, blend=(1, 2)), {}, "`blend` has 2 weights for 1 styles"),
        (StyleConfig(size=64), {"masks": np.ones((3, 4, 4), np.float32)}, "3 masks for 1 styles"),
    ],
)
def test_inconsistent_arguments_are_an_error_before_any_step(
    params, content, style, config, kwargs, message
):
    with pytest.raises(ValueError, match=message):
        stylize(params, content, style, config, **kwargs)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
@pytest.mark.parametrize("stop", [1, 6, 8])
def test_resumed_run_is_bit_identical(params, content, style, optimizer, stop):
    config = dataclasses.replace(CONFIG, optimizer=optimizer)
    seen = []
    whole = stylize(params, content, style, config, callback=lambda progress: None)

    def until(progress):
        seen.append(progress)
        return progress.step >= stop

    stylize(params, content, style, config, callback=until)
    resumed = stylize(
        params, content, style, config, callback=lambda progress: None, resume=seen[-1]
    )
    assert seen[-1].step >= stop
    np.testing.assert_array_equal(resumed.image, whole.image)
    np.testing.assert_array_equal(resumed.trace.loss, whole.trace.loss)


@pytest.mark.slow
def test_given_start_gets_no_detail_of_the_content_image(params, content, style):
    config = dataclasses.replace(CONFIG, learning_rate=1e-6, average=0)
    gray = jnp.full((48, 72, 3), 0.5)
    np.testing.assert_allclose(
        stylize(params, content, style, config, start=gray).image, 0.5, atol=1e-3
    )
    # Starting from the content image, the detail makes up for the blur of the coarse level.
    ours = stylize(params, content, style, config).image
    np.testing.assert_allclose(ours, content, atol=0.1)
    assert abs(ours - content).mean() < 0.01
    blurred = stylize(params, content, style, dataclasses.replace(config, carry="picture")).image
    assert abs(blurred - content).mean() > 2 * abs(ours - content).mean()


@pytest.mark.slow
def test_reconstruction_and_texture_drop_the_matting_laplacian():
    config = reconstruction_config(PRESETS["photographic"], ("relu2_1",))
    assert not config.spec.laplacian
    assert not texture_config(PRESETS["photographic"]).spec.laplacian


def test_filters_are_limited_by_a_field_of_the_config(params, content, style):
    # From noise: at the content image itself, the content loss is 0 for any filters.
    config = dataclasses.replace(
        CONFIG, size=32, min_size=32, steps=(1,), content_layers="conv4_2", init="noise"
    )
    stored = dataclasses.replace(config, filter_limit=0)
    loss = lambda params, config: stylize(params, content, style, config).trace.loss
    np.testing.assert_array_equal(loss(params, config), loss(limit_filters(params), stored))
    assert loss(params, config) != loss(params, stored)
