import io
import os
import socket
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from conftest import IMAGES
from PIL import Image

from jaxstyle import read_image
from jaxstyle.errors import ImageReadError
from jaxstyle.io import pillow
from jaxstyle.io.images import read_shape, read_thumbnail

# Stored transposed and flipped by each orientation, shown upright.
STORE = {
    1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1), 6: lambda a: a.swapaxes(0, 1)[::-1],
    7: lambda a: a.swapaxes(0, 1)[::-1, ::-1], 8: lambda a: a.swapaxes(0, 1)[:, ::-1],
}  # fmt: skip
GRAY = np.add.outer(np.arange(24) * 5, np.arange(40) * 3) / 255  # 0 to 232/255, all differ in rows


def tiff(stored, *, bits, photometric=1, sample_format=1, orientation=1, data=None):
    """An uncompressed little-endian TIFF file of one strip, as the specification has it."""
    height, width = stored.shape[:2]
    data = stored.tobytes() if data is None else data
    entries = [(256, 4, width), (257, 4, height), (258, 3, bits), (259, 3, 1),
               (262, 3, photometric), (273, 4, 8), (274, 3, orientation), (277, 3, 1),
               (278, 4, height), (279, 4, len(data)), (339, 3, sample_format)]  # fmt: skip
    table = struct.pack("<H", len(entries))
    for tag, kind, value in entries:
        table += struct.pack("<HHII", tag, kind, 1, value)
    data += b"\0" * (len(data) % 2)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + table + b"\0\0\0\0"


def chunk(kind, data):
    crc = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)


def png(width, height, rows, *, depth=8, color=0, extra=b""):
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + data + chunk(b"IEND", b"")


def assert_reads(path, expected, atol=1e-6):
    """All three readers show `expected`."""
    image = read_image(path)
    np.testing.assert_allclose(image, np.repeat(expected[..., None], 3, -1), atol=atol)
    assert read_shape(path) == expected.shape
    thumbnail = np.asarray(read_thumbnail(path, max(expected.shape))) / 255
    np.testing.assert_allclose(thumbnail, image, atol=0.6 / 255)


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


def test_a_jpeg_without_its_end_marker_is_read_and_one_without_pixels_is_not(tmp_path):
    data = (IMAGES / "coffee.jpg").read_bytes()
    whole = data[: data.rindex(b"\xff\xd9")]
    (tmp_path / "a.jpg").write_bytes(whole)
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg"), read_image(IMAGES / "coffee.jpg"))
    (tmp_path / "b.jpg").write_bytes(whole[:-60])
    with pytest.raises(ImageReadError, match="truncated"):
        read_image(tmp_path / "b.jpg")


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_garbage_exif_is_ignored(tmp_path, format):
    picture = Image.new("L", (20, 16), 128).convert("RGB")
    for body in (b"\xff" * 40, b"MM\0*\0\0\0\x08\xff\xff" + b"\x01" * 30):
        picture.save(tmp_path / "a", format, exif=b"Exif\0\0" + body)
        np.testing.assert_allclose(read_image(tmp_path / "a"), 128 / 255, atol=2 / 255)
        assert read_shape(tmp_path / "a") == (16, 20)


@pytest.mark.parametrize("name", ["a.png", "a.eps", "a.jpg"])
def test_postscript_is_not_read_under_any_name(tmp_path, name):
    Image.new("RGB", (32, 32)).save(tmp_path / "real.eps")
    (tmp_path / name).write_bytes((tmp_path / "real.eps").read_bytes())
    for read in (read_image, read_shape, lambda path: read_thumbnail(path, 16)):
        with pytest.raises(ImageReadError, match="not an image that can be read"):
            read(tmp_path / name)


def test_pipes_sockets_and_devices_are_refused_at_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe.png")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.png")
        for path in ("pipe.png", "socket.png", "/dev/zero"):
            for read in (read_image, read_shape, lambda path: read_thumbnail(path, 16)):
                with pytest.raises(ImageReadError, match="not a regular file"):
                    read(path)


def test_the_pixel_limit_is_checked_on_the_header(tmp_path):
    Image.new("1", (200, 100)).save(tmp_path / "a.png")
    with pillow.pixel_limit(19_999), pytest.raises(ImageReadError, match="set `--max-pixels`"):
        read_shape(tmp_path / "a.png")
    with pillow.pixel_limit(20_000):
        assert read_shape(tmp_path / "a.png") == (100, 200)


@pytest.mark.parametrize("orientation", STORE)
def test_large_images_are_reduced_without_a_shift(tmp_path, orientation):
    y, x = np.mgrid[0:403, 0:607] / 607
    pixels = np.round(np.stack([x, y, x * y], -1) * 255).astype(np.uint8)
    exif = Image.Exif()
    exif[274] = orientation
    stored = np.ascontiguousarray(STORE[orientation](pixels))
    Image.fromarray(stored).save(tmp_path / "a.png", exif=exif)
    whole = Image.fromarray(pixels).resize((60, 40), Image.Resampling.BICUBIC)
    image = read_image(tmp_path / "a.png", 60)
    np.testing.assert_allclose(image, np.asarray(whole) / 255, atol=1.5 / 255)


@pytest.mark.slow
@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_a_photograph_of_200_megapixels_is_read_in_a_gibibyte(tmp_path, format):
    Image.new("RGB", (16_320, 12_240), (9, 99, 199)).save(tmp_path / "a", format, compress_level=1)
    code = (
        "import resource, sys; from jaxstyle import read_image;"
        "image = read_image(sys.argv[1], 512); print(image.shape, image[0, 0] * 255);"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a")]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert int(out.split()[-1]) < 2**20


def test_heic_is_read_where_its_package_is_installed(tmp_path):
    heif = pytest.importorskip("pillow_heif")
    buffer = io.BytesIO()
    heif.from_pillow(Image.new("RGB", (64, 48), (128, 128, 128))).save(buffer)
    (tmp_path / "photo.jpg").write_bytes(buffer.getvalue())
    np.testing.assert_allclose(read_image(tmp_path / "photo.jpg"), 128 / 255, atol=3 / 255)
