"""The exponent of a PNG's gAMA chunk is applied in the right direction."""

import struct

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from jaxstyle import read_image


@pytest.mark.parametrize(
    ("exponent", "expected"),
    # 0.5 stored as v; light is v^(1/γ): 0.25 and 0.125. sRGB of these, IEC 61966-2-1:
    # 1.055 · 0.25^(1/2.4) - 0.055 and 1.055 · 0.125^(1/2.4) - 0.055.
    [(0.5, 0.5371), (1 / 3, 0.3886)],
)
def test_stored_values_are_light_to_the_power_of_gamma(tmp_path, exponent, expected):
    chunks = PngImagePlugin.PngInfo()
    chunks.add(b"gAMA", struct.pack(">I", round(exponent * 100_000)))
    Image.new("RGB", (20, 20), (128, 128, 128)).save(tmp_path / "a.png", pnginfo=chunks)
    np.testing.assert_allclose(read_image(tmp_path / "a.png"), expected, atol=4e-3)
