"""Opening files with Pillow: formats, limits, and no messages on the terminal."""

import contextlib
import ctypes
import functools
import logging
import threading
import warnings
from collections.abc import Collection, Iterator
from importlib import import_module
from io import BufferedIOBase
from typing import IO, Any, cast

from PIL import ExifTags, Image

from jaxstyle.io.atomic import open_regular
from jaxstyle.io.formats import MAX_PIXELS, READ_FORMATS
from jaxstyle.io.remote import FilePath

_lock = threading.Lock()
_users, _limit = 0, Image.MAX_IMAGE_PIXELS
_max_pixels = MAX_PIXELS


def max_pixels() -> int:
    """Return the number of pixels of the largest image that is read."""
    return _max_pixels


@contextlib.contextmanager
def pixel_limit(pixels: int) -> Iterator[None]:
    """Set the largest image that is read, in pixels, for all threads of the process.

    Example:
      >>> from jaxstyle.io.pillow import max_pixels, pixel_limit
      >>> with pixel_limit(1_000_000):
      ...     max_pixels()
      1000000
    """
    global _max_pixels
    before, _max_pixels = _max_pixels, pixels
    try:
        yield
    finally:
        _max_pixels = before


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence Pillow's warnings and apply `max_pixels` inside the block. Safe in threads.

    The limit is a setting of the process, so the first thread to enter sets it and the last one
    to leave restores it. Warnings are silenced for all threads
    while the main thread is inside: filters that overlap in time would not be restored.
    """
    global _users, _limit
    with _lock:
        if not _users:
            # Pillow rejects more than twice its limit, in the frames of an ICO file too.
            _limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, max(1, (_max_pixels + 1) // 2)
        _users += 1
    try:
        with contextlib.ExitStack() as stack:
            if threading.current_thread() is threading.main_thread():
                stack.enter_context(warnings.catch_warnings())
                warnings.filterwarnings("ignore", module="PIL")
                warnings.filterwarnings("ignore", module="pillow_(heif|jxl)")
            yield
    finally:
        with _lock:
            _users -= 1
            if not _users:
                Image.MAX_IMAGE_PIXELS = _limit


@functools.cache
def _decoders() -> tuple[str, ...]:
    """Return Pillow's names of the formats that are read, and prepare Pillow for them.

    What this sets stays set: openers of the optional formats, and silence of libtiff, which
    prints on its own, and of Pillow's log.
    """
    for format in READ_FORMATS:
        if format.package and format.installed:
            # Its own library may be missing.
            with contextlib.suppress(ImportError, OSError):
                module = import_module(format.package)
                getattr(module, "register_heif_opener", lambda: None)()
    Image.init()
    # Without a handler, Python would print Pillow's log messages.
    logging.getLogger("PIL").addHandler(logging.NullHandler())
    # libtiff prints errors of damaged files on its own.
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(Image.core.__file__).TIFFSetErrorHandler(None)
    return tuple(format.decoder for format in READ_FORMATS if format.decoder in Image.OPEN)


def open_image(file: BufferedIOBase, *, without: Collection[str] = ()) -> Image.Image:
    """Open an image in one of the formats in `READ_FORMATS`, whatever its name.

    Pillow gets a file object, never a path: it would map uncompressed files into memory, and
    read them wrongly if they are rotated.

    Args:
      file: the file.
      without: Pillow's names of formats that the file does not have.
    """
    formats = [decoder for decoder in _decoders() if decoder not in without]
    return Image.open(cast(IO[bytes], file), formats=formats)


def take_orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, from 1 to 8; 1 if there is none or it is damaged.

    Pillow turns TIFF files itself while it decodes them, in a second copy. It does not any more
    after this call.
    """
    orientation: Any = 1
    if image.format == "JXL" and not getattr(image, "jpeg", False):
        # Its own header holds the orientation, and its decoder applies it.
        return 1
    with contextlib.suppress(Exception):
        orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    if image.format == "TIFF":
        # After an exception, the EXIF data counts as read.
        image.getexif()[ExifTags.Base.Orientation] = 1
    return orientation if orientation in range(1, 9) else 1


def explain_excess(count: int, decoder: str = "", *, progressive: bool = False) -> str:
    """Return why an image is too large, to follow its path; nothing if it is not.

    Args:
      count: number of pixels.
      decoder: Pillow's name of the format.
      progressive: whether it is a JPEG file whose decoder keeps its coefficients.
    """
    format = next((f for f in READ_FORMATS if f.decoder == decoder), None)
    memory, name = (format.memory, f"{format.name} ") if format else (1, "")
    if progressive:
        memory, name = 2, "progressive JPEG "
    if count * memory <= _max_pixels:
        return ""
    return (
        f"has more than {_max_pixels / memory / 1e6:g} million pixels, the limit of {name}files; "
        f"reduce its size, or set `--max-pixels` to {memory * count}"
    )


def explain_unidentified(path: FilePath) -> str:
    """Return why a file cannot be read, to follow its path."""
    with open_regular(path) as file:
        begin = file.read(12)
    if not begin:
        return "is empty; copy it again"
    for format in READ_FORMATS:
        marked = path.suffix.lower() in format.suffixes or any(m in begin for m in format.marks)
        if marked and not format.installed:
            install = f"`pip install 'jaxstyle[{format.extra}]'`"
            return f"cannot be read without an extra; install {format.name} with {install}"
    if begin[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return (
            "cannot be read: it is a damaged TIFF or a rare kind, such as float RGB; save it as PNG"
        )
    return "is not an image that can be read; convert it to PNG or JPEG"
