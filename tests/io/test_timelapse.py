"""Timelapses: which steps are shown, and for how long."""

from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from jaxstyle import StyleConfig
from jaxstyle.io.timelapse import frame_steps, record_timelapse
from jaxstyle.loop.driver import Progress

LAYERS = {"content_layers": ("relu1_1",), "style_layers": ("relu1_1",)}
CONFIG = StyleConfig(size=32, min_size=16, steps=(12, 8), **LAYERS)
CONTENT = np.full((24, 32, 3), 0.8, np.float32)


def at(step, shape=(24, 32)):
    """Progress after a step of `CONFIG`."""
    image = np.full((*shape, 3), step / 40, np.float32)
    return Progress(step, 20, 0, 2, np.float32(0), image, None, None)


def record(path, progresses, last=0.5, **options):
    with record_timelapse(path, (24, 32), CONFIG, **options) as timelapse:
        for progress in progresses:
            timelapse(progress)
        timelapse.write(np.full((24, 32, 3), last, np.float32))
    times, grays = [], []
    with Image.open(path) as image:
        for index in range(image.n_frames):
            image.seek(index)
            grays.append(float(np.asarray(image.convert("RGB")).mean()) / 255)
            times.append(image.info["duration"])
    return times, grays


@pytest.mark.parametrize("levels", [(60, 45), (500,), (1000, 500, 500, 500), (10**6,), (1,) * 9])
@pytest.mark.parametrize("limit", [60, 120])
def test_steps_are_few_and_dense_at_the_start_of_each_level(levels, limit):
    steps = np.array(frame_steps(levels, limit))
    assert len(steps) <= limit
    assert len(steps) > 0.9 * min(limit, sum(levels))
    assert set(np.cumsum(levels)) <= set(steps.tolist())
    ends = np.cumsum([0, *levels])
    for begin, end in pairwise(ends):
        gaps = np.diff(steps[(steps > begin) & (steps <= end)])
        # The last gap ends with the level.
        assert (np.diff(gaps[:-1]) >= -1).all()


def test_every_level_has_a_frame_however_small_the_limit():
    assert frame_steps((100, 100, 100), 2) == (100, 200, 300)


def test_content_image_comes_first_and_the_result_is_held(tmp_path):
    steps = range(1, 21)
    times, grays = record(tmp_path / "a.webp", map(at, steps), first=CONTENT)
    assert times == [1000, *[280] * 19, 2000]
    assert 6000 <= sum(times) <= 10_000
    np.testing.assert_allclose(grays, [0.8, *(s / 40 for s in range(1, 20)), 0.5], atol=0.02)


@pytest.mark.parametrize("count", [1, 3, 19])
def test_timelapse_of_any_length_takes_6_to_10_seconds(tmp_path, count):
    times, _ = record(tmp_path / "a.webp", map(at, range(1, count + 1)), first=CONTENT)
    assert 6000 <= sum(times) <= 10_000


def test_without_callback_steps_the_chunks_are_shown(tmp_path):
    times, grays = record(tmp_path / "a.gif", map(at, (1, 9, 20)))
    assert len(times) == 3
    np.testing.assert_allclose(grays, [1 / 40, 9 / 40, 0.5], atol=0.02)


def test_coarse_levels_are_enlarged_and_opacity_is_put_on_white(tmp_path):
    alpha = np.zeros((24, 32, 1), np.float32)
    path = tmp_path / "a.gif"
    _, grays = record(path, [at(1, (12, 16))], first=CONTENT, alpha=alpha)
    assert grays == [1.0]  # Three equal frames are one.
    with Image.open(path) as image:
        assert image.size == (32, 24)
