"""The size of JPEG XL files, and reading them if the extra is installed."""

import io

import numpy as np
import pytest
from pictures import GRAY, STORE, assert_reads
from PIL import Image

from jaxstyle import read_image
from jaxstyle.errors import ImageReadError
from jaxstyle.io.jxl import read_size
from jaxstyle.io.pillow import pixel_limit


def numbers(*pairs):
    """Numbers of some bits each, lowest bit first, as the specification packs them."""
    value = shift = 0
    for number, bits in pairs:
        value |= number << shift
        shift += bits
    return value.to_bytes(20, "little")


# small, height, ratio, width. Sides of eights have 5 bits; others are 1 + a number of 9, 13, 18 or
# 30 bits, after their choice.
HEADERS = {
    (64, 48): ((1, 1), (5, 5), (0, 3), (7, 5)),
    (128, 128): ((1, 1), (15, 5), (1, 3)),
    (40, 32): ((1, 1), (3, 5), (6, 3)),
    (80, 40): ((1, 1), (4, 5), (7, 3)),
    (640, 360): ((0, 1), (0, 2), (359, 9), (5, 3)),
    (100_000, 5000): ((0, 1), (1, 2), (4999, 13), (0, 3), (2, 2), (99_999, 18)),
    (2**30, 2**30): ((0, 1), (3, 2), (2**30 - 1, 30), (1, 3)),
}


@pytest.mark.parametrize("size", HEADERS)
def test_sizes_are_read_from_bare_files_and_from_containers(size):
    stream = b"\xff\x0a" + numbers(*HEADERS[size])
    box = (len(stream) + 8).to_bytes(4, "big") + b"jxlc" + stream
    part = (len(stream) + 12).to_bytes(4, "big") + b"jxlp" + bytes(4) + stream
    start = b"\0\0\0\x0cJXL \r\n\x87\n" + b"\0\0\0\x14ftypjxl \0\0\0\0jxl "
    for data in (stream, start + box, start + part):
        assert read_size(io.BufferedReader(io.BytesIO(data))) == size


@pytest.mark.parametrize("data", [b"", b"\x89PNG\r\n\x1a\n" + bytes(20), b"JXL " + bytes(20)])
def test_other_files_have_no_size(data):
    assert read_size(io.BufferedReader(io.BytesIO(data))) is None


@pytest.mark.parametrize("data", [b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(30)])
def test_a_file_that_ends_before_its_size_is_refused(tmp_path, data):
    (tmp_path / "a.jxl").write_bytes(data)
    with pytest.raises(ImageReadError):
        read_image(tmp_path / "a.jxl")


def test_large_files_are_refused_before_they_are_decoded(tmp_path):
    (tmp_path / "a.jxl").write_bytes(b"\xff\x0a" + numbers(*HEADERS[2**30, 2**30]))
    with pytest.raises(ImageReadError, match="million pixels, the limit of JPEG XL files"):
        read_image(tmp_path / "a.jxl")


def test_files_are_read_upright_where_the_extra_is_installed(tmp_path):
    pytest.importorskip("pillow_jxl")
    shown = np.round(GRAY * 255).astype(np.uint8)
    exif = Image.Exif()
    exif[274] = 6
    picture = Image.fromarray(shown).convert("RGB")
    # The EXIF data does not count: JPEG XL has an orientation of its own.
    picture.save(tmp_path / "photo.jpg", "JXL", lossless=True, exif=exif.tobytes())
    assert_reads(tmp_path / "photo.jpg", shown / 255)
    with pixel_limit(24 * 40), pytest.raises(ImageReadError, match="set `--max-pixels` to 2880"):
        read_image(tmp_path / "photo.jpg")


def test_a_packed_jpeg_keeps_its_orientation(tmp_path):
    pytest.importorskip("pillow_jxl")
    exif = Image.Exif()
    exif[274] = 6
    stored = Image.fromarray(np.ascontiguousarray(STORE[6](np.round(GRAY * 255).astype(np.uint8))))
    stored.save(tmp_path / "a.jpg", exif=exif, quality=95)
    with Image.open(tmp_path / "a.jpg") as jpeg:
        jpeg.save(tmp_path / "a.jxl", lossless_jpeg=True)
    assert_reads(tmp_path / "a.jxl", read_image(tmp_path / "a.jpg").astype(np.float64), atol=0.02)
