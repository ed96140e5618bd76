"""Pictures for `fuzz.py`: small ones of every format that Pillow writes, and their damage."""

import contextlib
import io
import os
import socket
import struct
import zlib
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from PIL import Image, ImageCms, PngImagePlugin, TiffImagePlugin

WIDTH, HEIGHT = 37, 29
"""Size of the pictures. Both numbers are rare, so that they are found in a header."""

_SIZES = (0, 1, 15, 16, 17, 255, 20_000, 65_500, 65_535, 100_000, 2**31 - 1, 2**32 - 1)
_MODES = {
    "PNG": ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"),
    "JPEG": ("L", "RGB", "CMYK"),
    "MPO": ("RGB",),
    "TIFF": ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F", "LAB", "YCbCr"),
    "WEBP": ("RGB", "RGBA"),
    "GIF": ("L", "P", "1"),
    "BMP": ("1", "L", "P", "RGB", "RGBA"),
    "AVIF": ("RGB", "RGBA"),
    "HEIF": ("RGB", "RGBA"),
    "JPEG2000": ("L", "LA", "RGB", "RGBA"),
    "PPM": ("1", "L", "RGB", "I;16", "F"),
    "TGA": ("1", "L", "LA", "P", "RGB", "RGBA"),
    "ICO": ("RGBA", "P"),
    # Formats that are not photographs, and one that Pillow reads with another program.
    "PCX": ("L", "RGB"),
    "SGI": ("RGB",),
    "DDS": ("RGBA",),
    "QOI": ("RGB",),
    "ICNS": ("RGBA",),
    "EPS": ("RGB",),
}
_TEXTS = (
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 50 50\n%%EndComments\n(x) (w) file closefile\n",
    b"%!PS\n{} loop\n",
    b"\xc5\xd0\xd3\xc6" + struct.pack("<6I", 30, 100, 0, 0, 0, 0) + b"%!PS-Adobe\n",
    b'<svg xmlns="http://www.w3.org/2000/svg" width="99999" height="99999"/>',
    b"P6 99999 99999 255\n",
    b"P6\n# no end " + b"x" * 5000,
    b"Pf\n-1 20\n1.0\n",
    b"GIF89a" + struct.pack("<HH", 60_000, 60_000) + b"\x80\0\0" + bytes(6) + b",",
    b"RIFF\xff\xff\xff\xffWEBPVP8X" + bytes(20),
    b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(40),
    b"\0\0\0\x1cftypavif" + bytes(40),
    b"\0\0\0\x18ftypheic" + bytes(40),
    b"BM" + bytes(60),
    b"\0\0\1\0\xff\xff" + bytes(40),
    b"II*\0\x08\0\0\0" + b"\xff" * 40,
    b"MM\0*\0\0\0\x08\0\0",
    b"II+\0\x08\0\0\0" + b"\xff" * 40,
    b"\xff\xd8\xff\xd9",
    b"\xff\xd8" * 400,
    b"\x89PNG\r\n\x1a\n",
    b"%PDF-1.4\n",
    b"\xd7\xcd\xc6\x9a" + bytes(40),
    b"SIMPLE  =                    T" + b" " * 5000,
    b"",
)
# Tags of TIFF whose values decide about size, layout, or color.
_TIFF_TAGS = (254, 256, 257, 258, 259, 262, 263, 266, 273, 274, 277, 278, 279, 284, 317, 320, 322,
              323, 330, 338, 339, 347, 530, 700, 34665, 34675)  # fmt: skip


def make_pictures() -> list[bytes]:
    """Return pictures of all formats and modes, with orientations, profiles and options."""
    pictures = []
    with contextlib.suppress(ImportError):
        import_module("pillow_heif").register_heif_opener()
    for format, modes in _MODES.items():
        for mode in modes:
            image = _draw(mode)
            for options in _options(format, mode):
                buffer = io.BytesIO()
                # Libraries on some machines lack a codec.
                with contextlib.suppress(OSError, KeyError, ValueError, RuntimeError):
                    image.save(buffer, format, **options)
                    pictures.append(buffer.getvalue())
    return pictures


def _draw(mode: str) -> Image.Image:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    if mode == "I;16":
        return Image.fromarray((x * 1700 + y).astype(np.uint16))
    if mode == "I":
        return Image.fromarray((x * 1700 + y).astype(np.int32))
    if mode == "F":
        return Image.fromarray((x / WIDTH).astype(np.float32))
    channels = [x * 6, y * 8, (x + y) * 3, 255 - x]
    image = Image.fromarray(np.stack(channels, -1).astype(np.uint8), "RGBA")
    if mode in ("RGBA", "LA"):
        return image.convert(mode)
    if mode == "LAB":
        return Image.merge("LAB", image.split()[:3])
    return image.convert("RGB").convert(mode)


def _options(format: str, mode: str) -> list[dict[str, Any]]:
    """Return the options with which pictures of a format are saved."""
    exif = Image.Exif()
    exif[274] = 6
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[24:36] = bytes(12)  # Its time of creation.
    options: list[dict[str, Any]] = [{}]
    if format in ("PNG", "JPEG", "TIFF", "WEBP", "AVIF", "HEIF"):
        options += [{"exif": exif}, {"icc_profile": bytes(profile)}]
    if format == "PNG":
        text = PngImagePlugin.PngInfo()
        text.add_itxt("XML:com.adobe.xmp", "x" * 100, zip=True)
        text.add_text("Comment", "y" * 100, zip=True)
        options += [{"pnginfo": text}]
        if mode in ("L", "P", "RGB"):
            options += [{"transparency": (1, 2, 3) if mode == "RGB" else 1}]
    if format == "JPEG":
        options += [{"progressive": True}, {"comment": b"c" * 100}]
    if format == "TIFF":
        compressions = ["packbits", "tiff_lzw", "tiff_adobe_deflate", "jpeg", "zstd", "lzma"]
        if mode == "1":
            compressions += ["group3", "group4", "tiff_ccitt"]
        options += [{"compression": name} for name in compressions]
        options += [{"tiffinfo": _turned(n)} for n in (3, 5, 8)]
        options += [{"big_tiff": True}]
    if format == "JPEG2000":
        options += [{"no_jp2": True}, {"num_resolutions": 2, "tile_size": (16, 16)}]
    if format == "TGA":
        options += [{"compression": "tga_rle"}]
    if format in ("GIF", "WEBP", "AVIF", "MPO", "TIFF", "PNG"):
        options += [{"save_all": True, "append_images": [_draw(mode)] * 2}]
    if format == "WEBP":
        options += [{"lossless": True}]
    return options


def _turned(orientation: int) -> TiffImagePlugin.ImageFileDirectory_v2:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[274] = orientation
    return tags


def damage_picture(
    random: Random, pictures: list[bytes], damage_bytes: Callable[[Random, bytes], bytes]
) -> bytes:
    """Return a hostile picture.

    Args:
      random: decides about everything.
      pictures: result of `make_pictures`.
      damage_bytes: changes bytes without knowing what they are.
    """
    if random.random() < 0.05:
        data = random.choice(_TEXTS)
        return data + random.choice((b"", bytes(100), random.choice(pictures)))
    data = random.choice(pictures)
    for _ in range(random.choice((0, 1, 1, 2))):
        data = random.choice((_damage_format, _damage_format, _resize, _splice))(
            random, data, pictures
        )
    if random.random() < 0.5:
        # Half of the changes hit the header.
        cut = random.choice((32, 128, 600, len(data)))
        data = damage_bytes(random, data[:cut]) + data[cut:]
    return data


def _resize(random: Random, data: bytes, pictures: list[bytes]) -> bytes:
    """Replace the width or height in a header, in any notation."""
    old = random.choice((WIDTH, HEIGHT))
    new = random.choice(_SIZES)
    notations = [lambda n: str(n).encode()]
    notations += [lambda n, f=f: struct.pack(f, n) for f in ("<H", ">H", "<I", ">I")]
    for notation in random.sample(notations, len(notations)):
        if notation(old) in data[:1000]:
            with contextlib.suppress(struct.error):
                return data.replace(notation(old), notation(new), random.choice((1, 2)))
    return data


def _splice(random: Random, data: bytes, pictures: list[bytes]) -> bytes:
    """Join the start of a picture with the end of another."""
    other = random.choice(pictures)
    return data[: random.randrange(len(data) + 1)] + other[random.randrange(len(other)) :]


def _damage_format(random: Random, data: bytes, pictures: list[bytes]) -> bytes:
    if data.startswith(b"\x89PNG"):
        return _damage_png(random, data)
    if data.startswith(b"\xff\xd8"):
        return _damage_jpeg(random, data)
    if data[:4] in (b"II*\0", b"MM\0*"):
        return _damage_tiff(random, data)
    return _resize(random, data, pictures)


def _damage_png(random: Random, data: bytes) -> bytes:
    """Change, insert, drop or copy chunks; the checksums fit in most cases."""
    chunks, at = [], 8
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += size + 12
    where = random.randrange(1, max(2, len(chunks)))
    kind = random.randrange(6)
    if kind == 0 and chunks and len(chunks[0][1]) == 13:
        header = list(struct.unpack(">IIBBBBB", chunks[0][1]))
        i = random.randrange(7)
        header[i] = random.choice(_SIZES if i < 2 else (0, 1, 2, 3, 4, 6, 7, 8, 16, 255))
        chunks[0] = chunks[0][0], struct.pack(">IIBBBBB", *header)
    elif kind == 1:
        chunks.insert(where, _png_chunk(random))
    elif kind == 2 and where < len(chunks):
        del chunks[where]
    elif kind == 3 and where < len(chunks):
        chunks.insert(where, chunks[where])
    elif kind == 4:
        rows = random.choice((0, 1, HEIGHT // 2, 10 * HEIGHT))
        pixels = zlib.compress(bytes(rows * (1 + 4 * WIDTH)))
        chunks = [(n, pixels if n == b"IDAT" else body) for n, body in chunks]
    else:
        random.shuffle(chunks)
    broken = random.random() < 0.1
    return data[:8] + b"".join(
        struct.pack(">I", len(body)) + name + body
        + struct.pack(">I", zlib.crc32(name + body) ^ broken)
        for name, body in chunks
    )  # fmt: skip


def _png_chunk(random: Random) -> tuple[bytes, bytes]:
    bomb = zlib.compress(bytes(random.choice((100, 2**21, 2**26))))
    texts = {
        b"tEXt": b"Comment\0" + b"x" * random.choice((3, 3_000_000)),
        b"zTXt": b"Comment\0\0" + bomb,
        b"iTXt": b"XML:com.adobe.xmp\0\1\0\0\0" + bomb,
        b"iCCP": b"icc\0\0" + bomb,
        b"eXIf": random.choice((b"MM\0*\0\0\0\x08", b"", b"garbage", b"II*\0\xff\xff\xff\xff")),
        b"gAMA": struct.pack(">I", random.choice((0, 1, 45455, 100_000, 2**32 - 1))),
        b"tRNS": random.randbytes(random.choice((0, 1, 2, 6, 300))),
        b"PLTE": random.randbytes(random.choice((0, 3, 7, 768, 900))),
        b"acTL": struct.pack(">II", random.choice((0, 1, 2**31)), 0),
        b"fcTL": random.randbytes(26),
        b"sRGB": random.randbytes(random.choice((0, 1, 9))),
        b"cHRM": random.randbytes(32),
        b"pHYs": bytes(9),
        b"XXXX": random.randbytes(9),
        b"IEND": b"",
    }
    return random.choice(list(texts.items()))


def _damage_jpeg(random: Random, data: bytes) -> bytes:
    """Insert, drop or copy segments, or drop the end."""
    marks = [i for i in range(len(data) - 4) if data[i] == 0xFF and 0xC0 <= data[i + 1] < 0xFF]
    at = random.choice(marks or [2])
    kind = random.randrange(4)
    if kind == 0:
        return data[: random.choice((-2, -1, len(data) // 2, at + 1))]
    if kind == 1:
        return data[:at] + data[at + random.choice((2, 4, 20)) :]
    if kind == 2:
        return data[:at] + data[at : at + random.choice((2, 20, 200))] * 3 + data[at:]
    orientation = random.choice((0, 1, 6, 8, 9, 65535))
    entry = struct.pack(">HHIHH", 274, random.choice((3, 2, 7)), 1, orientation, 0)
    bodies = (
        (0xE1, b"Exif\0\0MM\0*\0\0\0\x08\0\1" + entry + bytes(4)),
        (0xE1, b"Exif\0\0" + random.randbytes(40)),
        (0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta" + random.randbytes(40)),
        (0xE2, b"ICC_PROFILE\0\1\1" + random.randbytes(400)),
        (0xE2, b"ICC_PROFILE\0\2\1x"),
        (0xE2, b"MPF\0MM\0*\0\0\0\x08" + random.randbytes(60)),
        (0xED, b"Photoshop 3.0\0" + b"8BIM" + random.randbytes(40)),
        (0xEE, b"Adobe\0\x64\0\0\0\0" + random.randbytes(1)),
        (0xFE, b"comment"),
    )
    mark, body = random.choice(bodies)
    return data[:2] + struct.pack(">BBH", 255, mark, len(body) + 2) + body + data[2:]


def _damage_tiff(random: Random, data: bytes) -> bytes:
    """Change an entry of the first directory."""
    order = "<" if data[:1] == b"I" else ">"
    changed = bytearray(data)
    with contextlib.suppress(struct.error, IndexError):
        start = struct.unpack_from(f"{order}I", data, 4)[0]
        count = struct.unpack_from(f"{order}H", data, start)[0]
        at = start + 2 + 12 * random.randrange(max(1, count))
        tag, kind, number, value = struct.unpack_from(f"{order}HHII", data, at)
        field = random.randrange(5)
        if field == 0:
            tag = random.choice(_TIFF_TAGS)
        elif field == 1:
            kind = random.choice((0, 1, 2, 3, 4, 5, 7, 12, 13, 16, 255))
        elif field == 2:
            number = random.choice((0, 1, 2, 4, 1000, 2**16, 2**32 - 1))
        else:
            value = random.choice((*range(9), *_SIZES, value << 16, len(data)))
        struct.pack_into(f"{order}HHII", changed, at, tag, kind, number, value & 0xFFFFFFFF)
    return bytes(changed)


def write_special(random: Random, path: Path, *, waits: bool = True) -> None:
    """Make something that is not a regular file.

    Args:
      random: decides what.
      path: where.
      waits: whether it may be a pipe that nobody writes to.
    """
    kind = random.choice(("folder", "link", "loop", "socket", "zero", "null", "tty", "pipe"))
    if kind == "folder":
        path.mkdir()
    elif kind == "link":
        path.symlink_to("missing")
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "socket":
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
    elif kind == "pipe" and waits:
        os.mkfifo(path)
    else:
        path.symlink_to(f"/dev/{kind}" if kind in ("zero", "tty") else "/dev/null")
