"""What a reporter counts."""

import time

import pytest
from PIL import Image

from jaxstyle.batch.report import _Thumbnails
from jaxstyle.batch.run import _curve_steps
from jaxstyle.reporting import Reporter


@pytest.fixture
def reporter():
    reporter = Reporter()
    reporter.plan(10.0, items=10, done=2)
    reporter._began = time.monotonic() - 60
    return reporter


def test_failures_do_not_count_in_the_pace(reporter):
    for _ in range(5):
        reporter.item("broken", failed=True)
    assert reporter._pace() == ""
    reporter.item("good")
    assert reporter._pace().startswith("1.0 images/min")


@pytest.mark.parametrize("count", [1, 2, 63, 64, 65, 127, 300, 1000])
def test_a_curve_has_the_first_and_the_last_step(count):
    steps = _curve_steps(count)
    assert steps[0] == 0
    assert steps[-1] == count - 1
    assert len(set(steps)) == len(steps) <= 64


def test_a_thin_image_costs_its_own_thumbnail_only(tmp_path):
    Image.new("RGB", (16, 20_000)).save(tmp_path / "thin.png")
    Image.new("RGB", (16, 16)).save(tmp_path / "good.png")
    thumbnails = _Thumbnails()
    assert "no image" in thumbnails.tag(tmp_path / "thin.png")
    assert "no image" not in thumbnails.tag(tmp_path / "good.png")
    assert len(list(thumbnails.style_sheet())) == 1
