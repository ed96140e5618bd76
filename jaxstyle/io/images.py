"""Picture files: any that Pillow reads, to float32 RGB in [0, 1] and back.

Pictures come upright (EXIF), in sRGB (ICC profile converted), gray as RGB; they are
written with an sRGB profile, whole or not at all.
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
"""Smallest side of a picture that can be read; below it VGG19's deep layers are empty."""

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP", ".tif": "TIFF",
           ".tiff": "TIFF"}  # fmt: skip
"""Formats that are written, by the ending of the file's name."""

_OPTIONS: dict[str, dict[str, Any]] = {
    "PNG": {},
    # 4:4:4: halved chroma smears the edges of colored strokes.
    "JPEG": {"quality": 95, "subsampling": "4:4:4"},
    "WEBP": {"quality": 95, "method": 6},
    "TIFF": {"compression": "tiff_adobe_deflate"},
}
# Longest side that a format can say, in pixels.
_LARGEST = {"JPEG": 65_500, "WEBP": 16_383}


def read_image(
    path: str | os.PathLike[str],
    size: int | None = None,
    *,
    enlarge: bool = True,
    alpha: bool = False,
) -> Float[ndarray, "h w c"]:
    """Picture of a file: float32 RGB in [0, 1], upright, sRGB.

    Args:
      path: any format that Pillow reads; gray of 16 bits or floats is read in full, RGB as 8
        bits a channel; of several frames the first.
      size: long edge in pixels to resample to (bicubic, antialiased).
      enlarge: whether a smaller picture is enlarged to `size`.
      alpha: return a fourth channel if the file has transparency. Without it,
        and in the colors under full transparency, which no one has seen, pixels
        that cannot be seen take the mean of those that can.

    Raises:
      ImageReadError: the file is missing, damaged, not a picture, too large or too small.
    """
    path = Path(path)
    with _opened(path) as file:
        file.load()
        pixels = _to_rgba(ImageOps.exif_transpose(file))
    if size is not None:
        pixels = _fit(path, pixels, size, enlarge)
    return pixels if alpha and pixels.shape[-1] == 4 else pixels[..., :3]


def read_shape(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Height and width of a picture file, upright, without decoding it.

    Raises:
      ImageReadError: as for `read_image`, as far as the file's header tells.
    """
    with _opened(Path(path)) as file:
        width, height, exif = *file.size, file.getexif()
        if file.format == "TIFF":
            # Pillow has turned its size already.
            width, height = exif[ExifTags.Base.ImageWidth], exif[ExifTags.Base.ImageLength]
        turned = exif.get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
    return (width, height) if turned else (height, width)


def read_thumbnail(path: str | os.PathLike[str], size: int) -> Image.Image:
    """Small RGB picture of a file for looking at, upright, its long edge `size`.

    Raises:
      ImageReadError: as for `read_image`.
    """
    with _opened(Path(path)) as file:
        # JPEG is decoded at a fraction of its size.
        file.draft(None, (2 * size, 2 * size))
        return _to_srgb(
            ImageOps.contain(ImageOps.exif_transpose(file.convert("RGB")), (size, size))
        )


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """A picture file; whatever goes wrong with it inside the block is an `ImageReadError`."""
    try:
        with warnings.catch_warnings():
            # Pillow warns at half of the size at which it refuses.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as file:
                _check_size(path, file.size)
                yield file
    except ImageReadError:
        raise
    except FileNotFoundError:
        raise ImageReadError(f"{path} does not exist.") from None
    except IsADirectoryError:
        raise ImageReadError(f"{path} is a folder; name a picture in it.") from None
    except UnidentifiedImageError:
        kind = "is empty" if path.stat().st_size == 0 else "is not a picture"
        raise ImageReadError(f"{path} {kind}, or of a format that Pillow does not read.") from None
    except Image.DecompressionBombError:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 1_000_000
        raise ImageReadError(
            f"{path} has more than {limit} million pixels; scale it down first."
        ) from None
    except Exception as error:
        # Damaged files raise whatever the codec tripped over: OSError, SyntaxError, struct.error.
        raise ImageReadError(f"{path} cannot be read: {one_line(error).rstrip('.')}.") from error


def _check_size(path: Path, size: tuple[int, int]) -> None:
    if min(size) < MIN_SIDE:
        raise ImageReadError(
            f"{path} is {size[0]}x{size[1]}; both sides must be at least {MIN_SIDE} pixels."
        )


def _to_rgba(image: Image.Image) -> Float[ndarray, "h w c"]:
    """Float pixels in sRGB: RGB, or RGBA if the image has transparency."""
    if image.mode.startswith("I") or image.mode == "F":
        gray = np.asarray(image, np.float32)
        # PNG names one gray that is not seen.
        unseen = image.info.get("transparency")
        a = None if unseen is None else (gray != unseen)[..., None].astype(np.float32)
        # 16-bit files may come as 32-bit integers; floats are taken as [0, 1].
        gray = gray if image.mode == "F" else gray / 65535
        if not np.isfinite(gray).all():
            raise ValueError("it has pixels that are not finite")
        rgb = np.repeat(np.clip(gray, 0, 1)[..., None], 3, axis=-1)
    else:
        opacity = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
        a = None if opacity is None else np.asarray(opacity, np.float32)[..., None] / 255
        if image.mode in ("P", "PA", "RGBA", "RGBX", "La", "RGBa", "1"):
            image = image.convert("RGBA").convert("RGB")
        elif image.mode == "LA":
            image = image.convert("L")
        rgb = np.asarray(_to_srgb(image), np.float32) / 255
    if a is None:
        return rgb
    if 0 < a.mean() < 1:
        rgb = np.where(a > 0, rgb, (rgb * a).mean(axis=(0, 1)) / a.mean())
    return np.concatenate([rgb, a], axis=-1, dtype=np.float32)


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
            # A broken or misplaced profile says nothing: the pixels are taken as they are.
            pass
    return image.convert("RGB")


def _fit(path: Path, pixels: ndarray, size: int, enlarge: bool) -> Float[ndarray, "h w c"]:
    height, width = pixels.shape[:2]
    scale = size / max(height, width)
    if scale > 1 and not enlarge:
        return pixels
    shape = (max(1, round(height * scale)), max(1, round(width * scale)))
    if min(shape) < MIN_SIDE:
        raise ImageReadError(
            f"{path} is {width}x{height}, or {shape[1]}x{shape[0]} at a long edge of {size}; both "
            f"sides must be at least {MIN_SIDE} pixels. Raise the size or crop the picture."
        )
    return resize(pixels, shape)


def resize(pixels: Float[ndarray, "_h _w c"], shape: Sequence[int]) -> Float[ndarray, "h w c"]:
    """Pixels at the height and width `shape`: bicubic, antialiased, clipped to [0, 1]."""
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
    """Write a picture, whole or not at all: a temporary file takes its name when it is complete.

    PNG, JPEG (quality 95, 4:4:4), WebP (quality 95) or TIFF, by the ending of the name, with an
    sRGB profile. JPEG knows no transparency: it is laid on white.

    Args:
      path: where to; replaced if it is there.
      image: `[h, w, 3]` or `[h, w, 4]`, values in [0, 1]; others are clipped.
      metadata: texts to keep in a PNG's chunks.

    Raises:
      WriteError: unknown ending, or the file cannot be written.
      ValueError: `image` has another shape.
    """
    path = Path(path)
    check_picture(path, np.shape(image))
    data = encode_image(image, FORMATS[path.suffix.lower()], metadata=metadata)
    write_bytes(path, data)


def check_picture(path: Path, shape: Sequence[int] = ()) -> None:
    """Raise `WriteError` where a picture could not be written, before any work is done.

    Args:
      path: file to write.
      shape: height, width, ..., of the picture if it is known.
    """
    check_format(path, shape)
    check_output(path)


def check_format(path: Path, shape: Sequence[int] = ()) -> None:
    """Raise `WriteError` unless the file's ending names a format that holds the shape."""
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise WriteError(f"cannot write {path}: its name must end in {', '.join(FORMATS)}.")
    if max(shape[:2], default=0) > _LARGEST.get(kind, 2**31):
        raise WriteError(
            f"cannot write {path}: {kind} ends at {_LARGEST[kind]} pixels a side; write a PNG."
        )


def encode_image(image: Any, format: str, *, metadata: Mapping[str, str] | None = None) -> bytes:
    """Bytes of a picture file; the same for the same picture."""
    pixels = np.asarray(image, np.float32)
    if pixels.ndim != 3 or pixels.shape[-1] not in (3, 4):
        raise ValueError(f"`image` is shaped {pixels.shape}; it must be [h, w, 3] or [h, w, 4].")
    if format == "JPEG" and pixels.shape[-1] == 4:
        opacity = pixels[..., 3:]
        pixels = pixels[..., :3] * opacity + (1 - opacity)
    picture = Image.fromarray(np.round(np.clip(pixels, 0, 1) * 255).astype(np.uint8))
    options = dict(_OPTIONS[format])
    if format == "PNG" and metadata:
        chunks = PngImagePlugin.PngInfo()
        for name, text in metadata.items():
            chunks.add_itxt(name, text)
        options["pnginfo"] = chunks
    buffer = io.BytesIO()
    picture.save(buffer, format, icc_profile=_srgb_profile(), **options)
    return buffer.getvalue()


def _srgb_profile() -> bytes:
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    # Bytes 24 to 35 are the time of making (ICC.1:2022, 7.2.8): equal pictures must be equal files.
    profile[24:36] = bytes([7, 226, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0])
    return bytes(profile)
