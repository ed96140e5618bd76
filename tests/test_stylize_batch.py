import dataclasses
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import SHORT_STEP, assert_same_picture, with_devices
from test_transfer import CONFIG as LONG_STEPS

from jaxstyle import stylize, stylize_batch
from jaxstyle.loop.programs import run_steps

CONFIG = dataclasses.replace(LONG_STEPS, learning_rate=SHORT_STEP)


@pytest.fixture(scope="module")
def contents(content):
    return np.stack([content, 1 - content, content[::-1], content[:, ::-1]])


def singles(params, contents, styles, configs, **kwargs):
    return [
        stylize(params, c, s, k, **{name: values[i] for name, values in kwargs.items()})
        for i, (c, s, k) in enumerate(zip(contents, styles, configs, strict=True))
    ]


def assert_equal(batch, expected):
    assert batch.image.shape[0] == len(expected)
    for image, loss, single in zip(batch.image, batch.trace.loss, expected, strict=True):
        assert_same_picture(image, single.image)
        np.testing.assert_allclose(loss, single.trace.loss, rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"init": "noise"},
        {"init": "statistics"},
        {"init": "gray"},
        {"noise": 0.1},
        {"color": "luminance"},
        {"color": "match"},
    ],
    ids=str,
)
def test_every_result_of_a_batch_equals_a_single_run(params, contents, style, changes):
    config = dataclasses.replace(CONFIG, **changes)
    batch = stylize_batch(params, contents[:2], style, config)
    assert_equal(batch, singles(params, contents[:2], [style] * 2, [config] * 2))


@pytest.mark.slow
@pytest.mark.parametrize("line_search", [False, True])
def test_every_result_of_a_batch_by_lbfgs_equals_a_single_run(params, contents, style, line_search):
    # L-BFGS amplifies rounding: in float32, images differ by up to 0.01.
    with jax.enable_x64(True):
        config = dataclasses.replace(
            CONFIG, optimizer="lbfgs", line_search=line_search, dtype="float64"
        )
        contents, style = contents[:2].astype(np.float64), np.asarray(style, np.float64)
        batch = stylize_batch(params, contents, style, config)
        expected = singles(params, contents, [style] * 2, [config] * 2)
        for image, loss, single in zip(batch.image, batch.trace.loss, expected, strict=True):
            np.testing.assert_allclose(image, single.image, atol=1e-6)
            np.testing.assert_allclose(loss, single.trace.loss, rtol=1e-5)


@pytest.mark.slow
def test_list_of_styles_of_any_sizes_gives_one_per_content(params, contents, style):
    styles = [style, style[:30], 1 - style, style]
    batch = stylize_batch(params, contents, styles, CONFIG)
    assert_equal(batch, singles(params, contents, styles, [CONFIG] * 4))


@pytest.mark.slow
def test_array_of_styles_gives_one_per_content(params, contents, style):
    styles = np.stack([style, 1 - style])
    batch = stylize_batch(params, contents[:2], styles, CONFIG)
    assert_equal(batch, singles(params, contents[:2], styles, [CONFIG] * 2))


@pytest.mark.slow
def test_every_content_with_every_style_equals_single_runs(params, contents, style):
    styles = [style, 1 - style]
    pairs = [(c, s) for c in contents[:2] for s in styles]
    batch = stylize_batch(params, np.repeat(contents[:2], 2, axis=0), styles * 2, CONFIG)
    paired_contents, paired_styles = zip(*pairs, strict=True)
    assert_equal(batch, singles(params, paired_contents, paired_styles, [CONFIG] * 4))


@pytest.mark.slow
def test_blends_masks_starts_and_keys_are_per_result(params, contents, style):
    masks = np.zeros((2, 2, 8, 12), np.float32)
    masks[0, 0, :, :6] = masks[0, 1, :, 6:] = masks[1, 0, :4] = masks[1, 1, 4:] = 1
    styles = [[style, 1 - style], [style, style[::-1]]]
    starts = contents[2:]
    config = dataclasses.replace(CONFIG, blend=(1, 3))
    batch = stylize_batch(params, contents[:2], styles, config, starts=starts, masks=masks)
    kwargs = {"start": starts, "masks": masks}
    assert_equal(batch, singles(params, contents[:2], styles, [config] * 2, **kwargs))
    noisy = dataclasses.replace(CONFIG, init="noise")
    keys = jax.random.split(jax.random.key(3), 2)
    batch = stylize_batch(params, contents[:2], style, noisy, keys)
    assert_equal(batch, singles(params, contents[:2], [style] * 2, [noisy] * 2, key=keys))


@pytest.mark.slow
def test_weights_and_learning_rates_may_differ_within_a_batch(params, contents, style):
    configs = [
        dataclasses.replace(CONFIG, style_weight=w, learning_rate=r, average=a, seed=w)
        for w, r, a in ((1, SHORT_STEP, 0.0), (30, 2 * SHORT_STEP, 0.7))
    ]
    same = np.stack([contents[0]] * 2)
    batch = stylize_batch(params, same, style, configs)
    assert_equal(batch, singles(params, same, [style] * 2, configs))
    assert np.abs(batch.image[0] - batch.image[1]).max() > 0.05


@pytest.mark.slow
def test_style_scale_may_differ_within_a_batch(params, contents, style):
    configs = [dataclasses.replace(CONFIG, style_scale=scale) for scale in (1.0, 0.5)]
    batch = stylize_batch(params, contents[:2], style, configs)
    assert_equal(batch, singles(params, contents[:2], [style] * 2, configs))


def test_static_options_must_be_equal_within_a_batch(params, contents, style):
    configs = [CONFIG, dataclasses.replace(CONFIG, pooling="average")]
    with pytest.raises(ValueError, match="`config` differs in pooling"):
        stylize_batch(params, contents[:2], style, configs)


@pytest.mark.parametrize(
    ("styles", "config", "message"),
    [
        (3, CONFIG, "`styles` has 3 entries for 2 content images"),
        (1, [CONFIG] * 3, "`config` has 3 entries for 2 content images"),
    ],
)
def test_wrong_number_of_styles_or_configs_is_an_error(
    params, contents, style, styles, config, message
):
    with pytest.raises(ValueError, match=message):
        stylize_batch(params, contents[:2], [style] * styles, config)


def test_empty_contents_are_an_error(params, style):
    with pytest.raises(ValueError, match="`contents` is empty"):
        stylize_batch(params, np.zeros((0, 32, 48, 3), np.float32), style, CONFIG)


@pytest.mark.slow
def test_diverged_result_leaves_the_others_unchanged(params, contents, style):
    config = dataclasses.replace(CONFIG, clamp=False)
    broken = dataclasses.replace(config, learning_rate=1e38)
    batch = stylize_batch(params, contents[:2], style, [broken, config])
    assert not batch.trace.finite[0, -1]
    assert batch.trace.finite[1].all()
    assert jnp.isfinite(batch.image).all()
    alone = stylize(params, contents[1], style, config)
    assert_same_picture(batch.image[1], alone.image)


@pytest.mark.slow
def test_callback_receives_and_stops_the_whole_batch(params, contents, style):
    seen = []

    def callback(progress):
        seen.append(progress)
        return progress.step >= 7

    batch = stylize_batch(params, contents[:3], style, CONFIG, callback=callback)
    assert seen[-1].loss.shape == (3,)
    assert seen[-1].image.shape == (3, 32, 48, 3)
    assert batch.trace.loss.shape == (3, seen[-1].step)


@pytest.mark.slow
def test_batch_with_other_styles_or_weights_does_not_recompile(params, contents, style):
    stylize_batch(params, contents[:2], style, CONFIG)
    before = run_steps._cache_size()
    stylize_batch(params, contents[:2], [style[:30], 1 - style], CONFIG)
    stylize_batch(params, contents[2:], style, dataclasses.replace(CONFIG, style_weight=3))
    assert run_steps._cache_size() == before


@pytest.mark.slow
def test_jitted_batch_equals_eager(params, contents, style):
    whole = jax.jit(stylize_batch, static_argnames="config")(params, contents[:2], style, CONFIG)
    eager = stylize_batch(params, contents[:2], style, CONFIG)
    assert_same_picture(whole.image, eager.image)


SHARDED = """
import jax, numpy as np
from jax.sharding import NamedSharding, PartitionSpec as P
from jaxstyle import StyleConfig, load_weights, stylize_batch
params = load_weights()
random = np.random.default_rng(0)
contents = random.random((4, 32, 48, 3)).astype(np.float32)
style = random.random((32, 32, 3)).astype(np.float32)
config = StyleConfig(size=48, min_size=24, steps=(3, 2), content_layers=("relu2_1",),
                     style_layers=("relu1_1",), learning_rate=0.002)
mesh = jax.make_mesh((4,), ("batch",))
spread = stylize_batch(params, contents, style, config, sharding=NamedSharding(mesh, P("batch")))
whole = stylize_batch(params, contents, style, config)
assert len(spread.image.sharding.device_set) == 4
assert (abs(np.asarray(spread.image) - np.asarray(whole.image)) > 2e-3).mean() < 5e-3
"""


@pytest.mark.slow
def test_batch_sharded_over_devices_equals_one_device():
    subprocess.run([sys.executable, "-c", SHARDED], check=True, env=with_devices(4))
