"""Masks of a video: a video of masks that is as long as its rounded duration, or a single image."""

from fractions import Fraction

import numpy as np
import pytest
from clips import ffmpeg

from jaxstyle.errors import ImageReadError
from jaxstyle.video.masks import add_masks, open_mask

pytest.importorskip("imageio_ffmpeg", reason="needs '.[video]'")

SHAPE = (48, 64)


def masks_of(path, count):
    """Return the mean of the mask of each of `count` frames."""
    frames = [np.zeros((*SHAPE, 3), np.uint8)] * count
    limits = {"start": 0.0, "end": None, "rate": Fraction(10)}
    masked = add_masks(frames, [open_mask(path, SHAPE)], SHAPE, **limits)
    return [float(frame.masks.mean()) for frame in masked]


def write_masks(path, count):
    source = f"color=gray:size=64x48:rate=10:duration={count / 10},format=gray,geq=lum=40*N+20"
    ffmpeg("-f", "lavfi", "-i", source, path)
    return path


def test_a_video_of_masks_may_be_a_frame_short(tmp_path):
    path = write_masks(tmp_path / "a.mkv", 4)
    means = masks_of(path, 5)
    assert np.diff(means[:4]).min() > 20
    assert means[4] == means[3]
    with pytest.raises(ImageReadError, match=r"a\.mkv ends before frame 6 of the video"):
        masks_of(path, 6)


def test_a_video_of_one_mask_is_an_image(tmp_path):
    assert len(set(masks_of(write_masks(tmp_path / "a.gif", 1), 4))) == 1
