"""Image files to float32 RGB in [0, 1] and back.

Reading applies the EXIF orientation, converts ICC profiles to sRGB and expands gray to RGB.
Writing is atomic and embeds an sRGB profile.
"""

import contextlib
import io
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from PIL import ExifTags, Image, ImageCms, ImageOps, PngImagePlugin, UnidentifiedImageError

from jaxstyle.errors import ImageReadError, WriteError, one_line
from jaxstyle.io.atomic import check_output, write_bytes

MIN_SIDE = 16
"""Smallest side of an image, in pixels. VGG19's deep layers are empty below it."""

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".tif": "TIFF",
           ".tiff": "TIFF"}  # fmt: skip
"""Output formats by file name suffix."""

_SAVE_OPTIONS: dict[str, dict[str, Any]] = {
    "PNG": {},
    # 4:4:4: chroma subsampling would blur the edges of colored strokes.
    "JPEG": {"quality": 95, "subsampling": "4:4:4"},
    "WEBP": {"quality": 95, "method": 6},
    "TIFF": {"compression": "tiff_adobe_deflate"},
}
# Largest side that a format can store, in pixels.
_MAX_SIDE = {"JPEG": 65_500, "WEBP": 16_383}


def read_image(
    path: str | os.PathLike[str],
    size: int | None = None,
    *,
    enlarge: bool = True,
    alpha: bool = False,
) -> Float[ndarray, "h w c"]:
    """Read an image file as upright float32 sRGB in [0, 1].

    Fully transparent pixels get the mean color of the image, weighted by opacity.

    Args:
      path: file in any format that Pillow reads. Gray keeps its precision of 16 bits or float32;
        RGB has 8 bits per channel. Only the first frame of an animation is read.
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
    path = Path(path)
    with _open_image(path) as file:
        file.load()
        pixels = _to_rgba(ImageOps.exif_transpose(file))
    if size is not None:
        pixels = _resize_long_edge(path, pixels, size, enlarge)
    return pixels if alpha and pixels.shape[-1] == 4 else pixels[..., :3]


def read_shape(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Return the upright height and width of an image file without decoding it.

    Raises:
      ImageReadError: as for `read_image`, as far as the header shows it.
    """
    with _open_image(Path(path)) as file:
        width, height, exif = *file.size, file.getexif()
        if file.format == "TIFF":
            # Pillow has already applied the orientation to `file.size`.
            width, height = exif[ExifTags.Base.ImageWidth], exif[ExifTags.Base.ImageLength]
        swapped = exif.get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
    return (width, height) if swapped else (height, width)


def read_thumbnail(path: str | os.PathLike[str], size: int) -> Image.Image:
    """Return an upright RGB thumbnail of an image file, with a long edge of `size` pixels.

    Raises:
      ImageReadError: as for `read_image`.
    """
    with _open_image(Path(path)) as file:
        # JPEG can be decoded at a fraction of its size, which is faster.
        file.draft(None, (2 * size, 2 * size))
        return _to_srgb(
            ImageOps.contain(ImageOps.exif_transpose(file.convert("RGB")), (size, size))
        )


@contextlib.contextmanager
def _open_image(path: Path) -> Iterator[Image.Image]:
    """Open an image file. Any exception inside the block becomes an `ImageReadError`."""
    try:
        with warnings.catch_warnings():
            # Pillow warns at half the size that it rejects.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as file:
                _check_size(path, file.size)
                yield file
    except ImageReadError:
        raise
    except FileNotFoundError:
        raise ImageReadError(f"{path} does not exist.") from None
    except IsADirectoryError:
        raise ImageReadError(f"{path} is a folder; name an image in it.") from None
    except UnidentifiedImageError:
        if path.stat().st_size == 0:
            raise ImageReadError(f"{path} is empty; copy it again.") from None
        raise ImageReadError(
            f"{path} is not an image that Pillow can read; convert it to PNG or JPEG."
        ) from None
    except Image.DecompressionBombError:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 1_000_000
        raise ImageReadError(
            f"{path} has more than {limit} million pixels; reduce its size first."
        ) from None
    except Exception as error:
        # Codecs raise many classes for damaged files: OSError, SyntaxError, struct.error.
        raise ImageReadError(f"{path} cannot be read: {one_line(error).rstrip('.')}.") from error


def _check_size(path: Path, size: tuple[int, int]) -> None:
    if min(size) < MIN_SIDE:
        raise ImageReadError(
            f"{path} is {size[0]}x{size[1]}; both sides must be at least {MIN_SIDE} pixels. "
            "Use a larger image."
        )


def _to_rgba(image: Image.Image) -> Float[ndarray, "h w c"]:
    """Return float sRGB pixels: RGB, or RGBA if the image has transparency."""
    if image.mode.startswith("I") or image.mode == "F":
        gray = np.asarray(image, np.float32)
        # A gray PNG marks one value as transparent.
        transparent_gray = image.info.get("transparency")
        alpha = None
        if transparent_gray is not None:
            alpha = (gray != transparent_gray)[..., None].astype(np.float32)
        # Pillow may read 16-bit files as 32-bit integers. Floats are assumed to be in [0, 1].
        gray = gray if image.mode == "F" else gray / 65535
        if not np.isfinite(gray).all():
            raise ValueError("it contains pixels that are not finite")
        rgb = np.repeat(np.clip(gray, 0, 1)[..., None], 3, axis=-1)
    else:
        opacity = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
        alpha = None if opacity is None else np.asarray(opacity, np.float32)[..., None] / 255
        if image.mode in ("P", "PA", "RGBA", "RGBX", "La", "RGBa", "1"):
            image = image.convert("RGBA").convert("RGB")
        elif image.mode == "LA":
            image = image.convert("L")
        rgb = np.asarray(_to_srgb(image), np.float32) / 255
    if alpha is None:
        return rgb
    if 0 < alpha.mean() < 1:
        rgb = np.where(alpha > 0, rgb, (rgb * alpha).mean(axis=(0, 1)) / alpha.mean())
    return np.concatenate([rgb, alpha], axis=-1, dtype=np.float32)


def _to_srgb(image: Image.Image) -> Image.Image:
    icc = image.info.get("icc_profile")
    if icc and image.mode in ("RGB", "L", "CMYK", "LAB"):
        try:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
            converted = ImageCms.profileToProfile(
                image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB"
            )
            if converted is not None:
                return converted
        except (ImageCms.PyCMSError, OSError):
            # An invalid profile is ignored: the pixels are assumed to be sRGB.
            pass
    return image.convert("RGB")


def _resize_long_edge(
    path: Path, pixels: ndarray, size: int, enlarge: bool
) -> Float[ndarray, "h w c"]:
    height, width = pixels.shape[:2]
    scale = size / max(height, width)
    if scale > 1 and not enlarge:
        return pixels
    shape = (max(1, round(height * scale)), max(1, round(width * scale)))
    if min(shape) < MIN_SIDE:
        raise ImageReadError(
            f"{path} is {width}x{height} and becomes {shape[1]}x{shape[0]} at a long edge of "
            f"{size}; both sides must be at least {MIN_SIDE} pixels. Raise the size or crop the "
            "image."
        )
    return resize(pixels, shape)


def resize(pixels: Float[ndarray, "_h _w c"], shape: Sequence[int]) -> Float[ndarray, "h w c"]:
    """Resample to the height and width `shape` (bicubic, antialiased), clipped to [0, 1]."""
    height, width = shape[:2]
    if pixels.shape[:2] == (height, width):
        return pixels
    planes = [Image.fromarray(pixels[..., c]) for c in range(pixels.shape[-1])]
    planes = [plane.resize((width, height), Image.Resampling.BICUBIC) for plane in planes]
    return np.clip(np.stack([np.asarray(plane) for plane in planes], axis=-1), 0, 1)


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
      metadata: text chunks of a PNG file; other formats ignore it.

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


def check_format(path: Path, shape: Sequence[int] = ()) -> None:
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
    if format == "JPEG" and pixels.shape[-1] == 4:
        alpha = pixels[..., 3:]
        pixels = pixels[..., :3] * alpha + (1 - alpha)
    pil_image = Image.fromarray(np.round(np.clip(pixels, 0, 1) * 255).astype(np.uint8))
    options = dict(_SAVE_OPTIONS[format])
    if format == "PNG" and metadata:
        chunks = PngImagePlugin.PngInfo()
        for name, text in metadata.items():
            chunks.add_itxt(name, text)
        options["pnginfo"] = chunks
    buffer = io.BytesIO()
    pil_image.save(buffer, format, icc_profile=_srgb_profile(), **options)
    return buffer.getvalue()


def _srgb_profile() -> bytes:
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    # Bytes 24 to 35 hold the creation time (ICC.1:2022, 7.2.8). A fixed one keeps files equal.
    profile[24:36] = bytes([7, 226, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0])
    return bytes(profile)
