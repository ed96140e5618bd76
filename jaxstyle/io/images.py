"""Image files to float32 RGB in [0, 1] and back.

Reading applies the EXIF orientation, converts ICC profiles to sRGB and expands gray to RGB.
Writing is atomic and embeds an sRGB profile.
"""

import contextlib
import io
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from PIL import ExifTags, Image, ImageCms, PngImagePlugin

from jaxstyle.errors import ImageReadError, WriteError
from jaxstyle.io import decode
from jaxstyle.io.atomic import check_output, write_bytes
from jaxstyle.io.decode import MIN_SIDE as MIN_SIDE
from jaxstyle.io.formats import FORMATS as FORMATS
from jaxstyle.io.remote import FilePath, to_path

_SAVE_OPTIONS: dict[str, dict[str, Any]] = {
    "PNG": {},
    # 4:4:4: chroma subsampling would blur the edges of colored strokes.
    "JPEG": {"quality": 95, "subsampling": "4:4:4"},
    "WEBP": {"quality": 95, "method": 6},
    "TIFF": {"compression": "tiff_adobe_deflate"},
}
# Largest side that a format can store, in pixels.
_MAX_SIDE = {"JPEG": 65_500, "WEBP": 16_383}
# JPEG files hold at most 64 KiB of EXIF data.
_MAX_DESCRIPTION = 60_000


def read_image(
    path: str | os.PathLike[str] | FilePath,
    size: int | None = None,
    *,
    enlarge: bool = True,
    alpha: bool = False,
) -> Float[ndarray, "h w c"]:
    """Read an image file as upright float32 sRGB in [0, 1].

    Fully transparent pixels get the mean color of the image, weighted by opacity.

    Args:
      path: file in a format of `formats.READ_FORMATS`, whatever its name. Gray keeps its
        precision of 16 bits or float32; RGB has 8 bits per channel. Only the first frame of an
        animation is read.
      size: long edge of the returned image, in pixels (bicubic, antialiased).
      enlarge: whether to enlarge a smaller image to `size`.
      alpha: return opacity as a fourth channel if the file has transparency.

    Raises:
      ImageReadError: the file is missing, damaged, not an image, too large or too small.

    Example:
      >>> import tempfile
      >>> from pathlib import Path
      >>> import numpy as np
      >>> import jaxstyle
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = Path(folder, "gray.png")
      ...     jaxstyle.write_image(path, np.full((40, 60, 3), 0.2))
      ...     image = jaxstyle.read_image(path, size=30)
      >>> image.shape
      (20, 30, 3)
      >>> round(float(image.mean()), 3)
      0.2
    """

    def target(shape: tuple[int, int]) -> tuple[int, int]:
        scale = 1.0 if size is None else size / max(shape)
        if scale > 1 and not enlarge:
            scale = 1.0
        height, width = (max(1, round(side * scale)) for side in shape)
        if min(height, width) < MIN_SIDE:
            raise ImageReadError(
                f"{path} is {shape[1]}x{shape[0]} and becomes {width}x{height} at a long edge of "
                f"{size}; both sides must be at least {MIN_SIDE} pixels. Raise the size or crop "
                "the image."
            )
        return height, width

    return read_image_as(path, target, alpha=alpha)


def read_shape(path: str | os.PathLike[str] | FilePath) -> tuple[int, int]:
    """Return the upright height and width of an image file without decoding it.

    Raises:
      ImageReadError: as for `read_image`, as far as the header shows it.
    """
    with decode.open_source(to_path(path)) as source:
        return source.shape


def read_thumbnail(path: str | os.PathLike[str] | FilePath, size: int) -> Image.Image:
    """Return an upright RGB thumbnail of an image file, with a long edge of `size` pixels.

    Raises:
      ImageReadError: as for `read_image`.
    """
    with decode.open_source(to_path(path)) as source:
        height, width = source.shape
        scale = size / max(height, width)
        shape = max(1, round(height * scale)), max(1, round(width * scale))
        pixels = decode.decode(source, shape, fast=True)[..., :3]
    return Image.fromarray(np.round(pixels * 255).astype(np.uint8))


def read_image_as(
    path: str | os.PathLike[str] | FilePath,
    target: Callable[[tuple[int, int]], tuple[int, int]],
    *,
    alpha: bool = False,
) -> Float[ndarray, "h w c"]:
    """Read an image file at a size that depends on the file's size.

    Args:
      path: file, as for `read_image`.
      target: returns the height and width to resample to, from those of the file.
      alpha: return opacity as a fourth channel if the file has transparency.

    Raises:
      ImageReadError: as for `read_image`, or `target` raises it.
    """
    with decode.open_source(to_path(path)) as source:
        pixels = decode.decode(source, target(source.shape))
    return pixels if alpha and pixels.shape[-1] == 4 else pixels[..., :3]


def resize(pixels: Float[ndarray, "_h _w c"], shape: Sequence[int]) -> Float[ndarray, "h w c"]:
    """Resample to the height and width `shape` (bicubic, antialiased), clipped to [0, 1]."""
    if pixels.shape[:2] == tuple(shape[:2]):
        return pixels
    box = (0, 0, pixels.shape[1], pixels.shape[0])
    return np.clip(decode.resample(pixels, shape, box), 0, 1)


def write_image(
    path: str | os.PathLike[str],
    image: Any,
    *,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Write an image file atomically.

    The file has an sRGB profile. Its suffix selects PNG, JPEG (quality 95, 4:4:4), WebP
    (quality 95) or TIFF. JPEG has no transparency, so RGBA is composited over white.

    Args:
      path: file to create or replace.
      image: `[h, w, 3]` or `[h, w, 4]`, in [0, 1]. Values outside are clipped.
      metadata: text chunks of a PNG file. In other formats, `jaxstyle` and `Software` are
        written as the EXIF tags ImageDescription and Software, in ASCII.

    Raises:
      WriteError: the suffix is unknown, or the file cannot be written.
      ValueError: `image` has another shape.

    Example:
      >>> import tempfile
      >>> from pathlib import Path
      >>> import numpy as np
      >>> import jaxstyle
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = Path(folder, "orange.png")
      ...     jaxstyle.write_image(path, np.full((16, 16, 3), [1.2, 0.6, 0.0]))
      ...     image = jaxstyle.read_image(path)
      >>> image[0, 0]  # 1.2 was clipped to 1.
      array([1. , 0.6, 0. ], dtype=float32)
    """
    path = Path(path)
    check_picture(path, np.shape(image))
    data = encode_image(image, FORMATS[path.suffix.lower()], metadata=metadata)
    write_bytes(path, data)


def check_picture(path: Path, shape: Sequence[int] = ()) -> None:
    """Raise `WriteError` if an image cannot be written to `path`.

    Args:
      path: file to write.
      shape: height, width, ... of the image, if known.
    """
    check_format(path, shape)
    check_output(path)


def check_format(path: FilePath, shape: Sequence[int] = ()) -> None:
    """Raise `WriteError` unless the suffix of `path` names a format that can store `shape`."""
    format = FORMATS.get(path.suffix.lower())
    if format is None:
        raise WriteError(f"cannot write {path}: its name must end in {', '.join(FORMATS)}.")
    if max(shape[:2], default=0) > _MAX_SIDE.get(format, 2**31):
        raise WriteError(
            f"cannot write {path}: {format} allows at most {_MAX_SIDE[format]} pixels per side; "
            "use PNG."
        )


def encode_image(image: Any, format: str, *, metadata: Mapping[str, str] | None = None) -> bytes:
    """Return the bytes of an image file. Equal images give equal bytes."""
    pixels = np.asarray(image, np.float32)
    if pixels.ndim != 3 or pixels.shape[-1] not in (3, 4):
        raise ValueError(f"`image` has shape {pixels.shape}; it must be [h, w, 3] or [h, w, 4].")
    if format == "JPEG":
        pixels = composite(pixels)
    pil_image = Image.fromarray(np.round(np.clip(pixels, 0, 1) * 255).astype(np.uint8))
    options = dict(_SAVE_OPTIONS[format])
    if format == "PNG" and metadata:
        chunks = PngImagePlugin.PngInfo()
        for name, text in metadata.items():
            chunks.add_itxt(name, text)
        options["pnginfo"] = chunks
    elif metadata:
        options["exif"] = _make_exif(metadata)
    buffer = io.BytesIO()
    pil_image.save(buffer, format, icc_profile=_srgb_profile(), **options)
    return buffer.getvalue()


def read_description(path: str | os.PathLike[str] | FilePath) -> str:
    """Return the metadata `jaxstyle` that an image file carries; empty if it carries none.

    Raises:
      ImageReadError: as for `read_image`, as far as the header shows it.

    Example:
      >>> import tempfile
      >>> from pathlib import Path
      >>> import numpy as np
      >>> from jaxstyle.io.images import read_description, write_image
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = Path(folder, "gray.jpg")
      ...     write_image(path, np.full((16, 16, 3), 0.5), metadata={"jaxstyle": "{}"})
      ...     read_description(path)
      '{}'
    """
    text: Any = None
    with decode.open_source(to_path(path)) as source:
        if source.png is not None:
            text = source.png.info.get("jaxstyle")
        else:
            # Damaged EXIF data raises many classes.
            with contextlib.suppress(Exception):
                text = source.image.getexif().get(ExifTags.Base.ImageDescription)
    return text if isinstance(text, str) else ""


def _make_exif(metadata: Mapping[str, str]) -> bytes:
    """Return EXIF data with the metadata; without its description if that is too long."""
    exif = Image.Exif()
    exif[ExifTags.Base.Software] = metadata.get("Software", "")
    if len(metadata.get("jaxstyle", "")) <= _MAX_DESCRIPTION:
        exif[ExifTags.Base.ImageDescription] = metadata.get("jaxstyle", "")
    return exif.tobytes()


def composite(pixels: Float[ndarray, "h w _c"], background: float = 1.0) -> Float[ndarray, "h w 3"]:
    """Put an image on a gray background, by default white, if it has an opacity.

    Args:
      pixels: `[h, w, 3]`, or `[h, w, 4]` with opacity.
      background: gray value from 0 to 1.

    Example:
      >>> import numpy as np
      >>> from jaxstyle.io.images import composite
      >>> composite(np.zeros((1, 1, 4), np.float32), 0.5)
      array([[[0.5, 0.5, 0.5]]], dtype=float32)
    """
    if pixels.shape[-1] == 3:
        return pixels
    alpha = pixels[..., 3:]
    return pixels[..., :3] * alpha + background * (1 - alpha)


def _srgb_profile() -> bytes:
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    # Bytes 24 to 35 hold the creation time (ICC.1:2022, 7.2.8). A fixed one keeps files equal.
    profile[24:36] = bytes([7, 226, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0])
    return bytes(profile)
