"""Reports of a batch: loss curves and thumbnails."""

import pytest
from PIL import Image

from jaxstyle.batch.report import _Thumbnails
from jaxstyle.batch.work import _curve_steps


@pytest.mark.parametrize("count", [1, 2, 63, 64, 65, 127, 300, 1000])
def test_curve_contains_the_first_and_the_last_step(count):
    steps = _curve_steps(count)
    assert steps[0] == 0
    assert steps[-1] == count - 1
    assert len(set(steps)) == len(steps) <= 64


def test_broken_image_costs_only_its_own_thumbnail(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"broken")
    Image.new("RGB", (16, 20_000)).save(tmp_path / "thin.png")
    Image.new("RGB", (16, 16)).save(tmp_path / "good.png")
    thumbnails = _Thumbnails()
    assert "no image" in thumbnails.tag(tmp_path / "broken.png")
    assert "no image" not in thumbnails.tag(tmp_path / "thin.png")
    assert "no image" not in thumbnails.tag(tmp_path / "good.png")
    assert len(list(thumbnails.style_sheet())) == 2
