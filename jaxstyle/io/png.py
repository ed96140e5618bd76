"""PNG files: the chunks that a decoder needs, and checks that Pillow leaves out."""

import bisect
import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import accumulate
from typing import NoReturn

SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Chunks that Pillow may see. Others hold text, thumbnails and animations, of any size.
_KEPT = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_MAX_PROFILE = 32 * 2**20
_MAX_METADATA = 2**20
_MAX_CHUNKS = 1_000_000
# Text that holds metadata, under the names that Pillow gives it.
_METADATA = {
    b"XML:com.adobe.xmp": "xmp",
    b"Raw profile type exif": "Raw profile type exif",
    b"jaxstyle": "jaxstyle",
}
# The DEFLATE format cannot compress better.
_MAX_RATIO = 1032
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
          (0, 1, 1, 2))  # fmt: skip


@dataclass
class PngHeader:
    """What the chunks of a PNG file say.

    Attributes:
      depth: bits per channel.
      color: color type of the PNG specification.
      interlaced: whether the rows are interlaced (Adam7).
      profile: ICC profile, or `None`.
      gamma: exponent from the chunk gAMA, or `None` for sRGB.
      info: metadata with the names and types of Pillow's `Image.info`.
      parts: offset and length of the chunks that a decoder needs.
      data: offset and length of the contents of the IDAT chunks.
    """

    depth: int = 8
    color: int = 2
    interlaced: bool = False
    profile: bytes | None = None
    gamma: float | None = None
    info: dict[str, str | bytes] = field(default_factory=dict)
    parts: list[tuple[int, int]] = field(default_factory=lambda: [(0, 8)])
    data: list[tuple[int, int]] = field(default_factory=list)


def scan(file: io.BufferedReader) -> PngHeader:
    """Read the chunks of a PNG file, except its pixels, text and animations.

    Of several profiles, and of several texts with the same metadata, only the first counts.

    Raises:
      OSError: the file has more than a million chunks.
    """
    header, srgb = PngHeader(), False
    size = file.seek(0, io.SEEK_END)
    tried: set[bytes] = set()
    for kind, offset, length in _chunks(file, size):
        if kind in _KEPT:
            header.parts.append((offset - 8, length + 12))
        file.seek(offset)
        if kind == b"IHDR" and length >= 13:
            header.depth, header.color, _, _, interlace = file.read(13)[8:]
            header.interlaced = interlace == 1
        elif kind == b"IDAT":
            header.data.append((offset, min(length, size - offset)))
        elif kind == b"iCCP" and length <= _MAX_PROFILE and kind not in tried:
            tried.add(kind)
            packed = file.read(length).partition(b"\0")[2][1:]
            header.profile = _inflate(packed, _MAX_PROFILE)
        elif kind == b"eXIf" and length <= _MAX_METADATA:
            header.info["exif"] = file.read(length)
        elif kind in (b"tEXt", b"zTXt", b"iTXt") and length <= _MAX_METADATA:
            keyword, _, text = file.read(length).partition(b"\0")
            if keyword in _METADATA and keyword not in tried:
                tried.add(keyword)
                header.info.update(_read_metadata(kind, keyword, text))
        elif kind == b"sRGB":
            srgb = True
        elif kind == b"gAMA" and length == 4:
            header.gamma = struct.unpack(">I", file.read(4))[0] / 100_000
    if "Raw profile type exif" not in header.info:
        # Without this entry, Pillow would decode the pixels to look for EXIF data behind them.
        header.info.setdefault("exif", b"")
    # Precedence of the PNG specification: iCCP, sRGB, gAMA.
    if srgb or header.profile or not header.gamma:
        header.gamma = None
    return header


def _chunks(file: io.BufferedReader, size: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield type, offset and length of the contents of each chunk."""
    position, count = len(SIGNATURE), 0
    while position + 8 <= size:
        count += 1
        if count > _MAX_CHUNKS:
            raise OSError(f"it has more than {_MAX_CHUNKS} chunks")
        file.seek(position)
        length, kind = struct.unpack(">I4s", file.read(8))
        yield kind, position + 8, length
        if kind == b"IEND":
            return
        position += length + 12


def _read_metadata(kind: bytes, keyword: bytes, text: bytes) -> dict[str, str | bytes]:
    """Return the metadata of a text chunk; nothing if it is damaged."""
    compressed = kind == b"zTXt"
    if kind == b"zTXt":
        text = text[1:]
    elif kind == b"iTXt":
        compressed = text[:1] == b"\1"
        # A language and a translated keyword come before the text.
        text = text[2:].partition(b"\0")[2].partition(b"\0")[2]
    value = _inflate(text, _MAX_METADATA) if compressed else text
    if value is None:
        return {}
    name = _METADATA[keyword]
    return {name: value if name == "xmp" else value.decode("latin-1")}


def _inflate(packed: bytes, limit: int) -> bytes | None:
    """Return decompressed data; `None` if it is damaged or too large."""
    inflater = zlib.decompressobj()
    try:
        data = inflater.decompress(packed, limit)
    except zlib.error:
        return None
    return data if inflater.eof else None


def open_parts(file: io.BufferedReader, parts: list[tuple[int, int]]) -> io.BufferedReader:
    """Return a file that consists of parts of another file, each with an offset and a length."""
    return io.BufferedReader(_Parts(file, parts))


class _Parts(io.RawIOBase):
    def __init__(self, file: io.BufferedReader, parts: list[tuple[int, int]]):
        self._file, self._parts, self._position = file, parts, 0
        self._starts = list(accumulate((length for _, length in parts), initial=0))

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._starts[-1]}[whence]
        self._position = base + offset
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        index = bisect.bisect_right(self._starts, self._position) - 1
        if index == len(self._parts):
            return 0
        inside = self._position - self._starts[index]
        offset, length = self._parts[index]
        self._file.seek(offset + inside)
        data = self._file.read(min(len(buffer), length - inside))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


def check_length(header: PngHeader, size: tuple[int, int]) -> None:
    """Raise `OSError` if a PNG file is too short for its width and height, however compressed."""
    length = sum(length for _, length in header.data)
    if length * _MAX_RATIO < _count_bytes(header, size):
        _raise_truncated()


def check_rows(file: io.BufferedReader, header: PngHeader, size: tuple[int, int]) -> None:
    """Raise `OSError` unless a PNG file holds the data of every row.

    Args:
      file: the file.
      header: its header.
      size: width and height.
    """
    needed = _count_bytes(header, size)
    inflater = zlib.decompressobj()
    found = 0
    for offset, length in header.data:
        for start in range(offset, offset + length, 2**16):
            file.seek(start)
            data = file.read(min(2**16, offset + length - start))
            while data and found < needed and not inflater.eof:
                found += len(inflater.decompress(data, 2**22))
                data = inflater.unconsumed_tail
    if found < needed:
        _raise_truncated()


def _count_bytes(header: PngHeader, size: tuple[int, int]) -> int:
    """Return the number of bytes of the rows, before compression."""
    bits = header.depth * _CHANNELS.get(header.color, 4)
    passes = _ADAM7 if header.interlaced else ((0, 0, 1, 1),)
    count = 0
    for x, y, step_x, step_y in passes:
        columns, rows = -(-(size[0] - x) // step_x), -(-(size[1] - y) // step_y)
        if columns > 0 and rows > 0:
            count += rows * (1 + -(-columns * bits // 8))
    return count


def _raise_truncated() -> NoReturn:
    raise OSError("image file is truncated: it has fewer rows than its header says")
