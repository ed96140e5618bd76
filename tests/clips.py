"""Frames and videos that the tests make."""

import subprocess

import numpy as np

from jaxstyle.io.video import find_ffmpeg


def smooth_noise(seed, height, width):
    """A picture with structure of all sizes, `uint8[h, w, 3]`."""
    random, image = np.random.default_rng(seed), np.zeros((height, width, 3))
    for size in (4, 8, 16, 32):
        coarse = random.normal(size=(height // size + 2, width // size + 2, 3))
        fine = np.kron(coarse, np.ones((size, size, 1)))
        image += size**0.5 * fine[:height, :width]
    low, high = np.quantile(image, (0.02, 0.98))
    return (np.clip((image - low) / (high - low), 0, 1) * 255).astype(np.uint8)


def ffmpeg(*arguments):
    subprocess.run([find_ffmpeg(), "-v", "error", "-y", *map(str, arguments)], check=True)
