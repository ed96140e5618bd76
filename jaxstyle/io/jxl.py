"""Size of JPEG XL files. Their decoder returns the size only after it has decoded the pixels."""

import io
import struct
from collections.abc import Iterator

_CODESTREAM = b"\xff\x0a"
_CONTAINER = b"\0\0\0\x0cJXL \r\n\x87\n"
# Width to height, by the number in the header; 0 stands for a width of its own.
_RATIOS = (None, (1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))
_SIDE_BITS = (9, 13, 18, 30)


def read_size(file: io.BufferedReader) -> tuple[int, int] | None:
    """Return the width and height of a JPEG XL file; `None` for a file of another format.

    ISO/IEC 18181-1, SizeHeader, and 18181-2, boxes.

    Raises:
      OSError: the file ends before its size.
    """
    file.seek(0)
    begin = file.read(len(_CONTAINER))
    if begin == _CONTAINER:
        begin = _find_codestream(file)
    if not begin.startswith(_CODESTREAM):
        return None
    file.seek(file.tell() - len(begin) + 2)
    bits = _Bits(file.read(16))
    small = bits.take(1)
    height = bits.take_side(small)
    ratio = _RATIOS[bits.take(3)]
    width = bits.take_side(small) if ratio is None else height * ratio[0] // ratio[1]
    return width, height


def _find_codestream(file: io.BufferedReader) -> bytes:
    """Go through the boxes of a container; return the first bytes of the codestream."""
    for kind in _boxes(file):
        if kind == b"jxlp":
            file.read(4)
        if kind in (b"jxlc", b"jxlp"):
            return file.read(2)
    raise OSError("image file is truncated")


def _boxes(file: io.BufferedReader) -> Iterator[bytes]:
    """Yield the types of the boxes; the file is then at the contents of the box."""
    position = len(_CONTAINER)
    while True:
        file.seek(position)
        header = file.read(16)
        if len(header) < 16:
            return
        length, kind, long_length = struct.unpack(">I4sQ", header)
        file.seek(position + (16 if length == 1 else 8))
        yield kind
        length = long_length if length == 1 else length
        if length < 8:
            return  # 0 stands for the rest of the file.
        position += length


class _Bits:
    """Numbers of some bits each, lowest bit first."""

    def __init__(self, data: bytes):
        self._value, self._left = int.from_bytes(data, "little"), 8 * len(data)

    def take(self, count: int) -> int:
        if count > self._left:
            raise OSError("image file is truncated")
        value = self._value & ((1 << count) - 1)
        self._value >>= count
        self._left -= count
        return value

    def take_side(self, small: int) -> int:
        """Read a width or height, of eights of pixels if `small`."""
        if small:
            return 8 * (1 + self.take(5))
        return 1 + self.take(_SIDE_BITS[self.take(2)])
