"""Colors of animated GIF files."""

import numpy as np
import pytest
from PIL import Image

from jaxstyle.io.gif import write_gif


def draw(folder, frames):
    """Write frames of uint8 RGB, and return what the file shows."""
    source, path = folder / "frames.tiff", folder / "a.gif"
    first, *rest = (Image.fromarray(frame) for frame in frames)
    first.save(source, save_all=True, append_images=rest)
    with Image.open(source) as reel:
        write_gif(path, reel, [80] * len(frames))
    with Image.open(path) as image:
        shown = []
        for index in range(image.n_frames):
            image.seek(index)
            shown.append(np.asarray(image.convert("RGB")))
    return shown


@pytest.fixture
def photo(random):
    """A smooth image of many colors, uint8."""
    small = Image.fromarray(random.integers(0, 255, (6, 8, 3), np.uint8))
    return np.asarray(small.resize((128, 96), Image.Resampling.BICUBIC))


def test_still_regions_do_not_flicker(tmp_path, photo):
    moving = photo.copy()
    moving[:40, :40] = 255 - moving[:40, :40]
    noise = np.clip(moving.astype(int) + np.indices(moving.shape).sum(0) % 3, 0, 255)
    before, after = draw(tmp_path, [photo, noise.astype(np.uint8)])
    assert (before[:40, :40] != after[:40, :40]).mean() > 0.5
    np.testing.assert_array_equal(before[48:, 48:], after[48:, 48:])


def test_smooth_regions_have_no_bands(tmp_path, photo):
    ramp = np.broadcast_to(np.linspace(60, 120, 128).astype(np.uint8)[None, :, None], (96, 128, 3))
    # The palette is spent on other frames.
    shown = draw(tmp_path, [*(np.roll(photo, i, axis=-1) for i in range(3)), ramp])[-1]
    local = shown.astype(float).reshape(12, 8, 16, 8, 3).mean((1, 3))
    expected = ramp.astype(float).reshape(12, 8, 16, 8, 3).mean((1, 3))
    np.testing.assert_allclose(local, expected, atol=4)


def test_small_changes_add_up(tmp_path):
    frames = [np.full((16, 16, 3), 100 + 2 * i, np.uint8) for i in range(20)]
    assert abs(int(draw(tmp_path, frames)[-1].mean()) - 138) <= 6
