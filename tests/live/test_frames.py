"""JPEG files for the page."""

import io

import numpy as np
import pytest
from PIL import Image

from jaxstyle.live.frames import MAX_SIDE, encode_frame


def decode(data):
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image, np.float32) / 255


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((40, 60), (40, 60)),
        ((683, 1024), (683, 1024)),
        ((700, 1400), (512, 1024)),
        ((5000, 1250), (1024, 256)),
    ],
)
def test_a_frame_has_the_size_of_the_image_up_to_a_limit(shape, size):
    frame = decode(encode_frame(np.full((*shape, 3), 0.5, np.float32)))
    assert frame.shape == (*size, 3)
    assert max(size) <= MAX_SIDE


def test_shrinking_averages_pixels():
    # A checkerboard of single pixels, which dropping pixels would make black or white.
    board = np.indices((2100, 2100)).sum(0) % 2
    frame = decode(encode_frame(np.repeat(board[..., None], 3, -1).astype(np.float32)))
    np.testing.assert_allclose(frame, 0.5, atol=0.02)


def test_colors_are_kept_and_values_clipped():
    image = np.broadcast_to(np.float32([1.3, 0.25, -0.2]), (16, 16, 3))
    np.testing.assert_allclose(decode(encode_frame(image))[8, 8], [1, 0.25, 0], atol=0.02)
