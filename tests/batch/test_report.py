"""Reports of a batch: loss curves and thumbnails."""

import re

import pytest
from PIL import Image

from jaxstyle.batch.jobs import Defaults, pair_jobs
from jaxstyle.batch.ledger import Shard
from jaxstyle.batch.outcomes import Outcomes
from jaxstyle.batch.report import _Thumbnails, write_report
from jaxstyle.batch.work import _curve_steps


@pytest.mark.parametrize("count", [1, 2, 63, 64, 65, 127, 300, 1000])
def test_curve_contains_the_first_and_the_last_step(count):
    steps = _curve_steps(count)
    assert steps[0] == 0
    assert steps[-1] == count - 1
    assert len(set(steps)) == len(steps) <= 64


def test_report_of_a_large_batch_shows_a_part_of_it(tmp_path):
    count = 2500
    contents = [tmp_path / f"{number}.png" for number in range(count)]
    jobs, outcomes = (
        pair_jobs(contents, [tmp_path / "s.png"], Defaults("default", {})),
        Outcomes(count),
    )
    for index, job in enumerate(jobs):
        outcomes.add(index, {"output": job.output, "status": "failed", "error": f"error {index}"})
    write_report(tmp_path, Shard(), jobs, outcomes)
    page = (tmp_path / "report.html").read_text()
    assert "0 of 2500 images done, 2500 failed" in page
    shown = re.findall(r"error (\d+)", page)
    assert f"Shown are {len(shown)}, spread over the list" in page
    assert 1000 <= len(shown) <= 2000
    assert {"0", "999", "2499"} <= set(shown)


def test_broken_image_costs_only_its_own_thumbnail(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"broken")
    Image.new("RGB", (16, 20_000)).save(tmp_path / "thin.png")
    Image.new("RGB", (16, 16)).save(tmp_path / "good.png")
    thumbnails = _Thumbnails()
    assert "no image" in thumbnails.tag(tmp_path / "broken.png")
    assert "no image" not in thumbnails.tag(tmp_path / "thin.png")
    assert "no image" not in thumbnails.tag(tmp_path / "good.png")
    assert len(list(thumbnails.style_sheet())) == 2
