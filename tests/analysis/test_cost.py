import dataclasses
import os
import re
import subprocess
import sys
from functools import partial

import pytest
from conftest import IMAGES

from jaxstyle import PRESETS, StyleConfig
from jaxstyle.analysis import cost as forecasts
from jaxstyle.analysis.cost import compiled_bytes, estimate_cost, lower_step, time_pixel_step
from jaxstyle.cli import main

SMALL = StyleConfig(size=48, steps=(3,), style_layers=("relu1_1", "relu2_1"))
# Runs a command and says its peak memory, which begins with that of the process that starts it.
PEAK = """
import os, sys
_, status, usage = os.wait4(os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ), 0)
print(usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""


# A guard that does not time: what the compiler counts in a step at 128x96 pixels, and what it takes
# beside the weights, with a tenth to spare. Raise a bound only for a reason.
@pytest.mark.parametrize(
    ("preset", "gflop", "gib_moved", "mib_held"),
    [("default", 9.6, 1.28, 28.0), ("classic", 17.0, 1.93, 33.0)],
)
def test_a_step_costs_no_more_than_it_did(params, preset, gflop, gib_moved, mib_held):
    config = dataclasses.replace(PRESETS[preset], size=128)
    compiled = lower_step(params, config, (96, 128))[0].compile()
    counted = compiled.cost_analysis()
    assert counted["flops"] / 1e9 < gflop
    assert counted["bytes accessed"] / 2**30 < gib_moved
    assert compiled_bytes(compiled) / 2**20 < mib_held


def test_memory_grows_with_the_pixels(params):
    small, large = (
        compiled_bytes(lower_step(params, SMALL, shape)[0].compile())
        for shape in ((96, 96), (192, 192))
    )
    assert 3 < large / small < 5


def test_forecast_counts_levels_and_seconds(params):
    config = dataclasses.replace(SMALL, min_size=24, size=96)
    pixel_seconds = time_pixel_step(params, config)
    found = estimate_cost(params, (64, 96), config, pixel_seconds)
    assert found.levels == [((16, 24), 3), ((32, 48), 3), ((64, 96), 3)]
    assert 0 < found.seconds < 60
    pixels = 16 * 24 + 32 * 48 + 64 * 96
    assert found.seconds == pytest.approx(3 * pixels * pixel_seconds)
    config = dataclasses.replace(config, steps=(3, 3, 300))
    longer = estimate_cost(params, (64, 96), config, pixel_seconds)
    assert longer.seconds > 10 * found.seconds
    assert longer.bytes == found.bytes


def test_plan_prints_a_line_for_every_size(capsys):
    arguments = ["plan", "--sizes", "32,48", "--aspect", "1", "--steps", "2"]
    assert main([*arguments, "--style-layers", "relu1_1", "--content-layers", "relu2_1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [re.split(" +", line.strip())[:2] for line in lines[1:]] == [
        ["32x32", "2"],
        ["48x48", "2"],
    ]
    assert all(re.search(r"[\d.]+ GiB +[\d.]+ min", line) for line in lines[1:])


def test_a_system_that_says_nothing_has_the_memory_of_the_machine(monkeypatch):
    known = forecasts.available_bytes()
    monkeypatch.setattr(forecasts, "_read_bytes", lambda path, word="": None)
    assert forecasts.available_bytes() >= known


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system does not say")
def test_memory_of_a_process_is_its_own():
    held = b"1" * 2**29
    code = "from jaxstyle.analysis.cost import peak_process_bytes; print(peak_process_bytes())"
    env = {**os.environ, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-c", code]
    out = subprocess.run(command, capture_output=True, text=True, check=True, env=env).stdout
    assert 2**20 < int(out) < len(held)


@pytest.mark.skipif(not hasattr(os, "wait4"), reason="no word from the system on memory")
def test_plan_says_what_a_run_takes(tmp_path):
    options = ["--steps", "2", "--min-size", "512"]
    options += ["--style-layers", "relu1_1,relu2_1", "--content-layers", "relu2_2"]
    cli = [sys.executable, "-m", "jaxstyle.cli"]
    picture = [str(IMAGES / "astronaut.jpg"), str(IMAGES / "coffee.jpg"), "--size", "512"]
    run = [*cli, "stylize", *picture, "-o", str(tmp_path / "out.png"), "--quiet", *options]
    plan = [*cli, "plan", "--sizes", "512", "--aspect", "1", *options]
    env = {**os.environ, "XDG_CACHE_HOME": str(tmp_path), "JAX_PLATFORMS": "cpu"}
    said = partial(subprocess.run, capture_output=True, text=True, check=True, env=env)
    # Compiling takes memory too: once for both.
    for _ in range(2):
        out = said([sys.executable, "-c", PEAK, *run]).stdout
    taken = int(out) * (1 if sys.platform == "darwin" else 1024) / 2**30
    planned = float(re.search(r"([\d.]+) GiB +[\d.]+ min", said(plan).stdout)[1])
    assert planned == pytest.approx(taken, rel=0.2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--sizes", "0"], "'0' is not a number from 1 on"),
        (["--sizes", "8"], "`size` is 8; it must be at least 16"),
        (["--aspect", "0"], "`--aspect` is 0.0; it must be between 1/64 and 64"),
        (["--sizes", "16", "--aspect", "4"], "need both sides at least"),
    ],
)
def test_plans_that_cannot_be(arguments, message, capsys):
    assert main(["plan", *arguments]) == 2
    found = capsys.readouterr()
    assert message in found.err
    assert found.err.count("\n") == 1
