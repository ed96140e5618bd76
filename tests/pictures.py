"""Image files written byte by byte, and what all three readers must show of them."""

import struct
import zlib

import numpy as np

from jaxstyle import read_image
from jaxstyle.io.images import read_shape, read_thumbnail

# Stored transposed and flipped by each orientation, shown upright.
STORE = {
    1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1), 6: lambda a: a.swapaxes(0, 1)[::-1],
    7: lambda a: a.swapaxes(0, 1)[::-1, ::-1], 8: lambda a: a.swapaxes(0, 1)[:, ::-1],
}  # fmt: skip
GRAY = np.add.outer(np.arange(24) * 5, np.arange(40) * 3) / 255  # 0 to 232/255, all differ in rows


def tiff(
    stored,
    *,
    bits,
    photometric=1,
    sample_format=1,
    orientation=1,
    data=None,
    compression=1,
    extra=(),
):
    """A little-endian TIFF file of one strip, as the specification has it."""
    height, width = stored.shape[:2]
    data = stored.tobytes() if data is None else data
    entries = [(256, 4, width), (257, 4, height), (258, 3, bits), (259, 3, compression),
               (262, 3, photometric), (273, 4, 8), (274, 3, orientation), (277, 3, 1),
               (278, 4, height), (279, 4, len(data)), (339, 3, sample_format), *extra]  # fmt: skip
    table = struct.pack("<H", len(entries))
    for tag, kind, value in sorted(entries):
        table += struct.pack("<HHII", tag, kind, 1, value)
    data += b"\0" * (len(data) % 2)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + table + b"\0\0\0\0"


def chunk(kind, data):
    crc = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)


def png(width, height, rows, *, depth=8, color=0, extra=b"", interlaced=False):
    """A PNG file; `rows` are the bytes before compression, `extra` chunks before the pixels."""
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlaced)
    data = chunk(b"IDAT", zlib.compress(rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + data + chunk(b"IEND", b"")


READERS = {"image": read_image, "shape": read_shape, "thumbnail": lambda p: read_thumbnail(p, 16)}


def assert_reads(path, expected, atol=1e-6):
    """All three readers show `expected`, gray or RGB."""
    image = read_image(path)
    rgb = expected if expected.ndim == 3 else np.repeat(expected[..., None], 3, -1)
    np.testing.assert_allclose(image, rgb, atol=atol)
    assert read_shape(path) == expected.shape[:2]
    thumbnail = np.asarray(read_thumbnail(path, max(expected.shape))) / 255
    np.testing.assert_allclose(thumbnail, image, atol=0.6 / 255)
    half = max(expected.shape) // 2
    thumbnail = np.asarray(read_thumbnail(path, half)) / 255
    if half >= 16 and min(expected.shape[:2]) >= 32:
        np.testing.assert_allclose(thumbnail, read_image(path, half), atol=0.6 / 255)


def profile(space, tags):
    """An ICC profile (ICC.1:2001-04) of the color space `space` with some tags."""
    offset, body, table = 132 + 12 * len(tags), b"", struct.pack(">I", len(tags))
    for name, data in tags:
        table += struct.pack(">4sII", name, offset + len(body), len(data))
        body += data + b"\0" * (-len(data) % 4)
    printer = space == b"CMYK"
    header = struct.pack(">I4x4s", offset + len(body), b"\x02\x10\0\0")
    header += (b"prtrCMYKLab " if printer else b"mntr" + space + b"XYZ ").ljust(24, b"\0")
    header = (header + b"acsp").ljust(68, b"\0") + _WHITE
    return header.ljust(128, b"\0") + table + body


_WHITE = struct.pack(">III", 0xF6D6, 0x10000, 0xD32D)  # D50
_WHITE_TAG = (b"wtpt", b"XYZ \0\0\0\0" + _WHITE)
# Gray values that are proportional to light.
LINEAR_GRAY = profile(b"GRAY", [_WHITE_TAG, (b"kTRC", b"curv" + bytes(8))])
# Inks of which only black shows: its share k becomes L* = 100 (1 - k), without hue.
_INKS = b"".join(bytes([0 if corner & 1 else 255, 128, 128]) for corner in range(16))
_IDENTITY = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
_RAMP = bytes(range(256))
_LUT = b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + _IDENTITY + 4 * _RAMP + _INKS + 3 * _RAMP
BLACK_INK = profile(b"CMYK", [_WHITE_TAG, (b"A2B0", _LUT)])


def to_srgb(light):
    """The sRGB value of a share of light (IEC 61966-2-1)."""
    light = np.asarray(light, np.float64)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def light_of(lightness):
    """The share of light of a CIE lightness L* above 8."""
    return ((np.asarray(lightness, np.float64) + 16) / 116) ** 3
