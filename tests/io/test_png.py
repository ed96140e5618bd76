"""Chunks of PNG files: color, transparency, metadata, and missing rows."""

import struct
import time
import zlib

import numpy as np
import pytest
from pictures import GRAY, STORE, assert_reads, chunk, png

from jaxstyle import read_image
from jaxstyle.errors import ImageReadError
from jaxstyle.io import png as png_chunks
from jaxstyle.io.images import read_shape, read_thumbnail


def test_a_gamma_chunk_is_applied_unless_the_file_says_srgb(tmp_path):
    rows = (b"\0" + b"\x37" * 16) * 16  # 55/255 in linear light is 0.5 in sRGB (IEC 61966-2-1).
    linear = chunk(b"gAMA", struct.pack(">I", 100_000))
    (tmp_path / "linear.png").write_bytes(png(16, 16, rows, extra=linear))
    assert_reads(tmp_path / "linear.png", np.full((16, 16), 0.5), atol=0.004)
    (tmp_path / "srgb.png").write_bytes(png(16, 16, rows, extra=linear + chunk(b"sRGB", b"\0")))
    assert_reads(tmp_path / "srgb.png", np.full((16, 16), 55 / 255))


def test_the_transparent_value_of_four_bit_gray_becomes_alpha(tmp_path):
    rows = (b"\0" + b"\x35" * 8) * 16  # Values 3 and 5, alternating.
    extra = chunk(b"tRNS", b"\0\x05")
    (tmp_path / "a.png").write_bytes(png(16, 16, rows, depth=4, extra=extra))
    alpha = read_image(tmp_path / "a.png", alpha=True)[..., 3]
    np.testing.assert_array_equal(alpha, np.tile([1, 0], (16, 8)))


def test_the_transparent_color_of_deep_rgb_becomes_alpha(tmp_path):
    left, right = struct.pack(">3H", 0x1234, 0x5678, 0x9ABC), struct.pack(">3H", 0x1234, 0, 0x9ABC)
    extra = chunk(b"tRNS", right)
    data = png(16, 16, (b"\0" + left * 8 + right * 8) * 16, depth=16, color=2, extra=extra)
    (tmp_path / "a.png").write_bytes(data)
    alpha = read_image(tmp_path / "a.png", alpha=True)[..., 3]
    np.testing.assert_array_equal(alpha, np.repeat([[1] * 8 + [0] * 8], 16, axis=0))


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"tEXt"])
def test_megabytes_of_text_do_not_prevent_reading(tmp_path, kind):
    text = zlib.compress(bytes(80_000_000))
    body = {b"zTXt": b"x\0\0" + text, b"iTXt": b"x\0\1\0\0\0" + text, b"tEXt": b"x\0" + b"y" * 9**7}
    rows = (b"\0" + b"\x80" * 16) * 16
    (tmp_path / "a.png").write_bytes(png(16, 16, rows, extra=chunk(kind, body[kind]) * 2))
    assert_reads(tmp_path / "a.png", np.full((16, 16), 128 / 255))


def test_a_png_with_fewer_rows_than_its_header_says_is_refused(tmp_path):
    rows = (b"\0" + b"\x80" * 16) * 15
    (tmp_path / "a.png").write_bytes(png(16, 16, rows))
    for read in (read_image, lambda path: read_thumbnail(path, 16)):
        with pytest.raises(ImageReadError, match="fewer rows than its header says"):
            read(tmp_path / "a.png")
    black = b"\0" * 17 * 16
    (tmp_path / "black.png").write_bytes(png(16, 16, black))
    assert_reads(tmp_path / "black.png", np.zeros((16, 16)))


def interlace(pixels):
    """The rows of the seven passes of Adam7 (PNG specification, 8.2), without filters."""
    starts = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
              (0, 1, 1, 2))  # fmt: skip
    passes = (pixels[y::dy, x::dx] for x, y, dx, dy in starts)
    return b"".join(b"\0" + row.tobytes() for part in passes for row in part if row.size)


def test_interlaced_rows_are_read_and_missing_ones_noticed(tmp_path):
    # The last row of an odd number belongs to an early pass, so it is there in both files.
    pixels = np.round(GRAY * 255).astype(np.uint8)[:23]
    rows = interlace(pixels)
    (tmp_path / "a.png").write_bytes(png(40, 23, rows, interlaced=True))
    assert_reads(tmp_path / "a.png", pixels / 255)
    (tmp_path / "b.png").write_bytes(png(40, 23, rows[:-41], interlaced=True))
    with pytest.raises(ImageReadError, match="fewer rows than its header says"):
        read_image(tmp_path / "b.png")


def test_the_shape_is_read_without_decoding(tmp_path, monkeypatch):
    def load(image):
        raise AssertionError("decoded")

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", load)
    (tmp_path / "a.png").write_bytes(png(16, 20, (b"\0" + bytes(16)) * 20))
    assert read_shape(tmp_path / "a.png") == (20, 16)


def test_a_file_too_short_for_its_size_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    def load(image):
        raise AssertionError("decoded")

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", load)
    (tmp_path / "a.png").write_bytes(png(9000, 9000, bytes(1000)))
    with pytest.raises(ImageReadError, match="fewer rows than its header says"):
        read_image(tmp_path / "a.png")


XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
# EXIF data of one entry, the orientation 6, as ImageMagick stores it.
EXIF = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
PROFILE = b"\nexif\n%8d\n%s\n" % (len(EXIF), EXIF.hex().encode())
ORIENTED = {
    "XMP": (b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP),
    "compressed XMP": (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(XMP)),
    "EXIF": (b"eXIf", EXIF[6:]),
    "EXIF as text": (b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(PROFILE)),
}


@pytest.mark.parametrize("kind", ORIENTED)
def test_the_orientation_is_found_wherever_writers_put_it(tmp_path, kind):
    stored = np.ascontiguousarray(STORE[6](np.round(GRAY * 255).astype(np.uint8)))
    rows = b"".join(b"\0" + row.tobytes() for row in stored)
    height, width = stored.shape
    (tmp_path / "a.png").write_bytes(png(width, height, rows, extra=chunk(*ORIENTED[kind])))
    assert_reads(tmp_path / "a.png", np.round(GRAY * 255) / 255)


@pytest.mark.parametrize("limit", [2**25, 2**20])
def test_a_large_or_damaged_profile_does_not_prevent_reading(tmp_path, monkeypatch, limit):
    monkeypatch.setattr(png_chunks, "_MAX_PROFILE", limit)
    rows = (b"\0" + b"\x80" * 16) * 16
    packed = b"x\0\0" + zlib.compress(bytes(5_000_000))
    for data in (packed, packed[:100], b"x\0\0" + bytes(5_000_000)):
        (tmp_path / "a.png").write_bytes(png(16, 16, rows, extra=chunk(b"iCCP", data)))
        assert_reads(tmp_path / "a.png", np.full((16, 16), 128 / 255))


def test_time_does_not_grow_with_the_square_of_the_number_of_chunks(tmp_path):
    rows = (b"\0" + b"\x80" * 16) * 16
    whole = png(16, 16, rows)
    start = whole.index(b"IDAT") - 4
    (length,) = struct.unpack(">I", whole[start : start + 4])
    packed = zlib.compress(rows, 0)
    packed = packed[:2] + b"\0\0\0\xff\xff" * 20_000 + packed[2:]  # Empty blocks of DEFLATE.
    pieces = [chunk(b"IDAT", packed[i : i + 1]) for i in range(len(packed))]
    # Between them are chunks of text, so that they cannot be merged.
    data = b"".join(piece + chunk(b"tEXt", b"x\0y") for piece in pieces)
    (tmp_path / "a.png").write_bytes(whole[:start] + data + whole[start + length + 12 :])
    began = time.process_time()
    assert_reads(tmp_path / "a.png", np.full((16, 16), 128 / 255))
    assert time.process_time() - began < 40


def test_only_the_first_profile_and_metadata_are_decompressed(monkeypatch, tmp_path):
    calls = []
    inflate = png_chunks._inflate
    monkeypatch.setattr(png_chunks, "_inflate", lambda *a: calls.append(a) or inflate(*a))
    junk = chunk(b"iCCP", b"x\0\0junk") + chunk(b"zTXt", b"Raw profile type exif\0\0junk")
    (tmp_path / "a.png").write_bytes(png(16, 16, (b"\0" + bytes(16)) * 16, extra=junk * 5))
    read_shape(tmp_path / "a.png")
    assert len(calls) == 2


def test_millions_of_chunks_are_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(png_chunks, "_MAX_CHUNKS", 100)
    extra = chunk(b"tEXt", b"x\0y") * 100
    (tmp_path / "a.png").write_bytes(png(16, 16, (b"\0" + bytes(16)) * 16, extra=extra))
    with pytest.raises(ImageReadError, match="more than 100 chunks"):
        read_shape(tmp_path / "a.png")


def test_data_behind_the_end_of_the_pixels_is_not_decompressed(tmp_path):
    rows = (b"\0" + bytes(16)) * 15
    packed = zlib.compress(rows) + bytes(2**26)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 16, 16, 8, 0, 0, 0, 0))
    data = png_chunks.SIGNATURE + header + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(data)
    began = time.process_time()
    with pytest.raises(ImageReadError, match="fewer rows"):
        read_image(tmp_path / "a.png")
    assert time.process_time() - began < 3
