import dataclasses

import jax
import pytest

import jaxstyle
from jaxstyle import StyleConfig, pyramid
from jaxstyle.analysis import forecast as forecasts
from jaxstyle.analysis.compiled import count_flops
from jaxstyle.analysis.devices import DEVICES
from jaxstyle.analysis.forecast import CompiledStep, forecast, measure_compiled, recorded_step

GIB = 2**30
CONFIG = StyleConfig(
    size=512, min_size=512, steps=(10,), style_layers=("relu1_1",), content_layers=()
)
WEIGHTS = 4 * (9 * 3 * 64 + 64)
STEP = CompiledStep(
    *("h100", "wasserstein", 512, 512, 8, "float32"),
    temporaries=7 * GIB,
    arguments=GIB + WEIGHTS,
    kernels=100,
    bytes=int(8 * 3.352e9),
    large_copies=0,
    collectives=0,
    compile_seconds=1.0,
    jax="0.10.2",
)


def test_images_share_weights_and_fill_what_jax_takes_of_the_memory():
    need, at_once, _ = forecast(STEP, CONFIG, (512, 512))
    assert need == GIB + WEIGHTS
    # 80 % of three quarters of 80 GiB.
    assert at_once == 47
    assert forecast(STEP, CONFIG, (256, 512)).images_at_once == 95
    on_tpu = forecast(STEP._replace(device="v5e"), CONFIG, (512, 512))
    assert on_tpu.images_at_once == 12


def test_an_image_that_does_not_fit_is_said():
    assert forecast(STEP, CONFIG, (4096, 4096)).images_at_once == 0


def test_seconds_are_those_of_all_levels():
    # A millisecond per image and step to move the bytes; launches are shared by the batch.
    assert forecast(STEP, CONFIG, (512, 512)).seconds == pytest.approx(10 * 1e-3, rel=1e-3)
    config = dataclasses.replace(CONFIG, min_size=256, steps=(10, 10))
    levels = pyramid.levels((512, 512), config)
    work = sum(steps * height * width / 512**2 for (height, width), steps in levels)
    assert forecast(STEP, config, (512, 512)).seconds == pytest.approx(work * 1e-3, rel=1e-3)


def test_launches_bound_steps_that_do_little():
    step = STEP._replace(bytes=0, kernels=10**6)
    at_once = forecast(step, CONFIG, (512, 512)).images_at_once
    assert forecast(step, CONFIG, (512, 512)).seconds == pytest.approx(10 * 3 / at_once)


@pytest.mark.parametrize(("device", "factor"), [("v5e", 6), ("h100", 7.4)])
def test_higher_precision_computes_longer(device, factor):
    step = STEP._replace(device=device, bytes=0, kernels=0)
    config = dataclasses.replace(CONFIG, precision="highest")
    seconds = 10 * factor * count_flops(CONFIG, (512, 512)) / DEVICES[device].flops["float32"]
    assert forecast(step, config, (512, 512)).seconds == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("name", "dtypes"),
    [
        ("v5e", ["bfloat16", "float32"]),
        ("v6e", ["bfloat16", "float32"]),
        ("h100", ["bfloat16", "float32"]),
        ("a100", ["bfloat16", "float32"]),
        ("t4", ["float32"]),
    ],
)
def test_the_table_has_the_default_of_these_devices(name, dtypes):
    for dtype in dtypes:
        step = recorded_step(StyleConfig(dtype=dtype), (512, 512), name)
        assert (step.loss, step.height) == ("wasserstein", 512)
        assert step.batch >= 8


def test_the_nearest_size_and_most_images_are_chosen_and_unknown_losses_count_as_the_default(
    monkeypatch,
):
    large = STEP._replace(height=1024, width=1024, batch=1)
    few = STEP._replace(batch=1)
    monkeypatch.setattr(forecasts, "read_table", lambda: [few, STEP, large])
    assert recorded_step(CONFIG, (600, 600), "h100") == STEP
    assert recorded_step(CONFIG, (900, 900), "h100") == large
    assert recorded_step(StyleConfig(style_loss="sliced"), (600, 600), "h100") == STEP
    with pytest.raises(ValueError, match=r"no step was recorded for t4 .* 'jaxstyle\[cuda\]'"):
        recorded_step(CONFIG, (600, 600), "t4")


def test_a_compiled_step_holds_what_the_compiler_says(monkeypatch):
    config = dataclasses.replace(CONFIG, size=32, min_size=32)
    params = jaxstyle.load_weights()

    def compile_here(params, config, shape, device, *, batch):
        return jax.jit(lambda x: x @ x).lower(jax.ShapeDtypeStruct((8, 8), "float32")).compile()

    monkeypatch.setattr(forecasts, "compile_step", compile_here)
    step = measure_compiled(params, config, (32, 32), "v5e", batch=2)
    assert step[:6] == ("v5e", "wasserstein", 32, 32, 2, "float32")
    assert step.arguments == 8 * 8 * 4
    assert step.kernels >= 1
    assert step.jax == jax.__version__
