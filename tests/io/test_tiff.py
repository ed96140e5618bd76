"""TIFF files of every kind of gray, rotated, compressed or not, and damaged."""

import numpy as np
import pytest
from pictures import GRAY, STORE, assert_reads, tiff
from PIL import Image

from jaxstyle import read_image
from jaxstyle.errors import ImageReadError

# How a gray value in [0, 1] is stored, and the value that the file then holds.
KINDS = {
    "uint8": (8, 1, 1, lambda g: np.round(g * 255).astype("<u1"), lambda v: v / 255),
    "white8": (8, 0, 1, lambda g: np.round(255 - g * 255).astype("<u1"), lambda v: 1 - v / 255),
    "int8": (8, 1, 2, lambda g: np.round(g * 127).astype("<i1"), lambda v: v / 127),
    "uint16": (16, 1, 1, lambda g: np.round(g * 65535).astype("<u2"), lambda v: v / 65535),
    "white16": (16, 0, 1, lambda g: np.round(65535 * (1 - g)).astype("<u2"),
                lambda v: 1 - v / 65535),
    "int16": (16, 1, 2, lambda g: np.round(g * 32767).astype("<i2"), lambda v: v / 32767),
    "uint32": (32, 1, 1, lambda g: np.round(g * (2**32 - 1)).astype("<u4"),
               lambda v: v / (2**32 - 1)),
    "int32": (32, 1, 2, lambda g: np.round(g * (2**31 - 1)).astype("<i4"),
              lambda v: v / (2**31 - 1)),
    "float": (32, 1, 3, lambda g: g.astype("<f4"), lambda v: v),
    "whitefloat": (32, 0, 3, lambda g: (1 - g).astype("<f4"), lambda v: 1 - v),
}  # fmt: skip


@pytest.mark.parametrize("orientation", STORE)
@pytest.mark.parametrize("kind", KINDS)
def test_gray_tiffs_are_read_upright_and_at_their_scale(tmp_path, kind, orientation):
    bits, photometric, sample_format, store, value = KINDS[kind]
    stored = np.ascontiguousarray(STORE[orientation](store(GRAY)))
    options = {"bits": bits, "photometric": photometric, "sample_format": sample_format}
    path = tmp_path / "gray.tiff"
    path.write_bytes(tiff(stored, orientation=orientation, **options))
    assert_reads(path, value(store(GRAY).astype(np.float64)))


def test_gray_of_twelve_bits_has_its_own_white(tmp_path):
    values = np.round(GRAY * 4095).astype(np.uint16)
    a, b = values[:, ::2], values[:, 1::2]
    packed = np.stack([a >> 4, (a & 15) << 4 | b >> 8, b & 255], axis=-1).astype(np.uint8)
    (tmp_path / "a.tiff").write_bytes(tiff(values, bits=12, data=packed.tobytes()))
    assert_reads(tmp_path / "a.tiff", values / 4095)


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate"])
@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "RGB", "RGBA", "LA", "I;16"])
def test_rotated_tiffs_of_every_mode_are_read_upright(tmp_path, mode, compression):
    gray = np.round(GRAY * 255).astype(np.uint8)
    stored = np.ascontiguousarray(STORE[6](gray))
    if mode == "I;16":
        image = Image.fromarray(stored.astype(np.uint16) * 257)
    elif mode == "CMYK":
        ink = np.zeros((*stored.shape, 4), np.uint8)
        ink[..., 3] = 255 - stored
        image = Image.frombytes("CMYK", stored.shape[::-1], ink.tobytes())
    else:
        image = Image.fromarray(stored).convert("RGB" if mode in ("RGB", "RGBA") else "L")
        image = image.convert(mode)
    image.save(tmp_path / "a.tiff", compression=compression, tiffinfo={274: 6})
    assert_reads(tmp_path / "a.tiff", gray / 255)


@pytest.mark.parametrize(("compression", "ratio"), [(1, 1), (5, 4096), (8, 1032), (32773, 64)])
def test_a_file_too_short_for_its_size_is_refused_before_it_is_decoded(
    tmp_path, compression, ratio, monkeypatch
):
    def load(image):
        raise AssertionError("decoded")

    monkeypatch.setattr("PIL.TiffImagePlugin.TiffImageFile.load", load)
    side = int((300 * ratio) ** 0.5) + 40
    data = tiff(np.zeros((side, side)), bits=8, data=bytes(100), compression=compression)
    (tmp_path / "a.tiff").write_bytes(data)
    with pytest.raises(ImageReadError, match="fewer pixels than its header says"):
        read_image(tmp_path / "a.tiff")


def test_pointers_to_nowhere_are_ignored(tmp_path):
    # Pointers to EXIF and GPS data, beyond the end of the file.
    extra = [(34665, 4, 1_000_000), (34853, 4, 2_000_000)]
    stored = np.ascontiguousarray(STORE[6](np.round(GRAY * 255).astype(np.uint8)))
    (tmp_path / "a.tiff").write_bytes(tiff(stored, bits=8, orientation=6, extra=extra))
    assert_reads(tmp_path / "a.tiff", np.round(GRAY * 255) / 255)


@pytest.mark.parametrize("orientation", [0, 9, 255])
def test_an_unknown_orientation_is_ignored(tmp_path, orientation):
    stored = np.round(GRAY * 255).astype(np.uint8)
    (tmp_path / "a.tiff").write_bytes(tiff(stored, bits=8, orientation=orientation))
    assert_reads(tmp_path / "a.tiff", stored / 255)


@pytest.mark.parametrize(("bits", "dtype", "sample_format"), [(64, "<f8", 3), (16, "<f2", 3)])
def test_rare_kinds_are_refused_with_advice(tmp_path, bits, dtype, sample_format):
    stored = GRAY.astype(dtype)
    (tmp_path / "a.tiff").write_bytes(tiff(stored, bits=bits, sample_format=sample_format))
    with pytest.raises(ImageReadError, match="a rare kind, such as float RGB; save it as PNG"):
        read_image(tmp_path / "a.tiff")
