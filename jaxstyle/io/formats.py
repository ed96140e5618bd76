"""Image formats that are read and written: one table for the reader, the batch and the help.

Standard library only, so that the command line's help can use it.
"""

from dataclasses import dataclass
from importlib.util import find_spec

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".tif": "TIFF",
           ".tiff": "TIFF"}  # fmt: skip
"""Output formats by file name suffix."""


MAX_PIXELS = 210_000_000
"""Default of the largest image that is read, in pixels."""


@dataclass(frozen=True)
class ReadFormat:
    """A format that can be read.

    Attributes:
      name: name for users.
      decoder: Pillow's name.
      suffixes: usual file name suffixes. Content decides, not the name.
      memory: memory that its decoder needs per pixel, as a multiple of PNG's.
      package: module that reads the format, or empty for Pillow itself.
      extra: optional dependency of jaxstyle that installs the module.
      marks: bytes near the beginning of files, for formats that may not be installed.
    """

    name: str
    decoder: str
    suffixes: tuple[str, ...]
    memory: int = 1
    package: str = ""
    extra: str = ""
    marks: tuple[bytes, ...] = ()

    @property
    def installed(self) -> bool:
        """Return whether the format can be read in this environment."""
        return not self.package or find_spec(self.package) is not None


# TGA files have no signature: every other format is tried first.
READ_FORMATS = (
    ReadFormat("PNG", "PNG", (".png", ".apng")),
    ReadFormat("JPEG", "JPEG", (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo")),
    ReadFormat("WebP", "WEBP", (".webp",), 4),
    ReadFormat("TIFF", "TIFF", (".tif", ".tiff")),
    ReadFormat("GIF", "GIF", (".gif",)),
    ReadFormat("BMP", "BMP", (".bmp",)),
    ReadFormat("AVIF", "AVIF", (".avif",), 3),
    ReadFormat("JPEG 2000", "JPEG2000", (".jp2", ".j2k", ".jpx", ".jpf"), 5),
    ReadFormat("PPM", "PPM", (".ppm", ".pgm", ".pbm", ".pnm", ".pfm")),
    ReadFormat("ICO", "ICO", (".ico",)),
    ReadFormat("HEIC", "HEIF", (".heic", ".heif"), 3, "pillow_heif", "heif",
               (b"ftyphei", b"ftyphev", b"ftypmif1", b"ftypmsf1")),
    ReadFormat("JPEG XL", "JXL", (".jxl",), 3, "pillow_jxl", "jxl", (b"\xff\x0a", b"JXL ")),
    ReadFormat("TGA", "TGA", (".tga",)),
)  # fmt: skip
"""Input formats, in the order in which they are tried."""

READ_SUFFIXES = tuple(suffix for format in READ_FORMATS for suffix in format.suffixes)
"""Suffixes of the files that a search of a folder finds."""


@dataclass(frozen=True)
class AnimationFormat:
    """A format of animations that can be written.

    Attributes:
      max_edge: largest long edge of the frames, in pixels.
      multiple: both sides of the frames are multiples of this.
      package: module that writes the format, or empty for Pillow itself.
      extra: optional dependency of jaxstyle that installs the module.
    """

    max_edge: int
    multiple: int = 1
    package: str = ""
    extra: str = ""

    @property
    def installed(self) -> bool:
        """Return whether the format can be written in this environment."""
        return not self.package or find_spec(self.package) is not None


# A GIF file is about three times as large as a video of the same pixels.
ANIMATION_FORMATS = {
    ".gif": AnimationFormat(640),
    ".webp": AnimationFormat(1024),
    ".mp4": AnimationFormat(1024, 2, "imageio_ffmpeg", "video"),
}
"""Formats of animations by file name suffix."""


def describe_animations() -> str:
    """Return which animations are written, and how large they are at most.

    Example:
      >>> from jaxstyle.io.formats import describe_animations
      >>> print(describe_animations())
      .gif (up to 640 pixels), .webp (up to 1024), .mp4 (up to 1024, extra `video`)
    """
    sizes = [f"up to {f.max_edge}" for f in ANIMATION_FORMATS.values()]
    sizes[0] += " pixels"
    extras = [f", extra `{f.extra}`" if f.extra else "" for f in ANIMATION_FORMATS.values()]
    parts = zip(ANIMATION_FORMATS, sizes, extras, strict=True)
    return ", ".join(f"{suffix} ({size}{extra})" for suffix, size, extra in parts)


def describe_formats() -> str:
    """Return one sentence that says what is read and what is written.

    Example:
      >>> from jaxstyle.io.formats import describe_formats
      >>> print(describe_formats().partition(";")[2].strip())
      written: .png .jpg .jpeg .webp .tif .tiff.
    """
    names = [f.name + (f" (extra `{f.extra}`)" if f.extra else "") for f in READ_FORMATS]
    return f"Images read: {', '.join(names)}; written: {' '.join(FORMATS)}."
