"""`jaxstyle plan --device`."""

import json

import jax
import pytest
from cli.quick import run

from jaxstyle.analysis.devices import DEVICES
from jaxstyle.analysis.forecast import recorded_step
from jaxstyle.cli import plan
from jaxstyle.config import StyleConfig

PLAN = ["plan", "--device", "h100"]


@pytest.fixture
def without_compiler(monkeypatch):
    def fail(_):
        raise ValueError("not installed")

    monkeypatch.setattr(plan, "describe_device", fail)


@pytest.mark.usefixtures("without_compiler")
def test_without_a_compiler_the_table_is_used_and_named():
    lines = run(*PLAN, "--sizes", "512,1024").out.splitlines()
    assert "h100, 80 GiB; predicted, recorded with jax" in lines[0]
    assert [line.split()[0] for line in lines[1:]] == ["512x341", "1024x683"]


def test_help_names_all_devices():
    text = " ".join(run("plan", "--help").out.split())
    assert all(name in text for name in DEVICES)


@pytest.mark.usefixtures("without_compiler")
def test_without_a_compiler_other_losses_are_taken_for_one_that_is_named():
    assert "for wasserstein)" in run(*PLAN, "--style-loss", "sliced").out.splitlines()[0]


@pytest.mark.usefixtures("without_compiler")
def test_price_of_1000_images_is_their_hours_times_the_price():
    result = run(*PLAN, "--sizes", "512", "--price", "3.6", "--log-format", "json")
    rows = [json.loads(line) for line in result.out.splitlines()]
    (row,) = (row for row in rows if "width" in row)
    assert row["price_of_1000"] == pytest.approx(row["seconds"])
    assert row["images_at_once"] > 0
    assert any(row.get("predicted") and row.get("device") == "h100" for row in rows)


@pytest.mark.usefixtures("without_compiler")
def test_a_result_that_no_device_holds_is_too_large():
    lines = run(*PLAN, "--sizes", "64,65536").out.splitlines()
    assert not lines[1].endswith("too large")
    assert lines[2].endswith("0  too large")


@pytest.mark.usefixtures("without_compiler")
def test_bfloat16_needs_less_memory():
    def need(dtype):
        result = run(*PLAN, "--sizes", "512", "--dtype", dtype, "--log-format", "json")
        return json.loads(result.out.splitlines()[-1])["bytes"]

    assert need("bfloat16") < 0.7 * need("float32")


def test_with_a_compiler_the_batch_is_halved_until_it_fits(monkeypatch):
    tried = []

    def measure(params, config, shape, device, *, batch):
        tried.append(batch)
        if batch > 2:
            raise RuntimeError("RESOURCE_EXHAUSTED: it does not fit")
        step = recorded_step(config, shape, device)
        return step._replace(batch=batch, temporaries=step.temporaries // 4)

    monkeypatch.setattr(plan, "describe_device", lambda _: None)
    monkeypatch.setattr(plan, "measure_compiled", measure)
    lines = run(*PLAN, "--sizes", "512", "--aspect", "1").out.splitlines()
    assert tried == [8, 4, 2]
    assert f"compiled with jax {jax.__version__}" in lines[0]
    assert "too large" not in lines[1]


def test_other_errors_of_the_compiler_are_not_hidden(monkeypatch):
    def measure(*_, **__):
        raise RuntimeError("INTERNAL: no")

    monkeypatch.setattr(plan, "measure_compiled", measure)
    with pytest.raises(RuntimeError, match="INTERNAL"):
        plan._compile({}, StyleConfig(), (512, 512), "h100")
