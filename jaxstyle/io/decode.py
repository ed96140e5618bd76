"""From an image file to upright float32 sRGB: orientation, modes, profiles, bounded memory."""

import contextlib
import hashlib
import io
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from PIL import Image, ImageCms, UnidentifiedImageError

from jaxstyle.errors import ImageReadError, one_line
from jaxstyle.io import jxl, pillow, png, tiff
from jaxstyle.io.atomic import open_regular
from jaxstyle.io.remote import FilePath

MIN_SIDE = 16
"""Smallest side of an image, in pixels. VGG19's deep layers are empty below it."""

# Larger images are decoded one at a time, so that threads do not add up their memory.
_LARGE_PIXELS = 25_000_000
# Larger JPEG files are decoded at a fraction of their size.
_DRAFT_PIXELS = 64_000_000
_BAND_PIXELS = 500_000
# Largest JPEG file without its end marker that is copied into memory, twice.
_MAX_WITHOUT_END = 2**28
_large = threading.Lock()

Box = tuple[float, float, float, float]
"""Left, top, right and bottom of a region, in pixels."""


class Source:
    """An open image file, whose pixels are not decoded yet.

    Attributes:
      path: the file.
      file: its bytes.
      image: Pillow's image, as stored, not upright.
      png: chunks of a PNG file, or `None` for other formats.
      orientation: EXIF orientation, from 1 to 8; 1 if there is none or it is damaged.
    """

    def __init__(self, path: FilePath, file: io.BufferedReader):
        self.path, self.file, self.png = path, file, None
        view, size = file, jxl.read_size(file)
        if size is not None:
            _check_excess(path, size[0] * size[1], "JXL")
        file.seek(0)
        if file.read(8) == png.SIGNATURE:
            self.png = png.scan(file)
            view = png.open_parts(file, self.png.parts)
        self.image = pillow.open_image(view, without=() if size else ("JXL",))
        self.image.info.update(self.png.info if self.png else {})
        self.orientation = pillow.take_orientation(self.image)

    @property
    def shape(self) -> tuple[int, int]:
        """Return the upright height and width."""
        return self._upright(*tiff.stored_size(self.image))

    def _upright(self, width: Any, height: Any) -> tuple[Any, Any]:
        return (width, height) if self.orientation >= 5 else (height, width)

    def load(self, shape: tuple[int, int] | None) -> tuple[float, float]:
        """Decode the pixels.

        Args:
          shape: a JPEG file of at least four times this height and width may be decoded at a
            fraction of its size, which changes `Source.shape`; `None` decodes all pixels.

        Returns:
          The upright height and width of the pixels. Fractions of the size are not whole, and
          the last row and column are then covered in part.
        """
        target = shape and self._upright(*shape[::-1])

        def draft(image: Image.Image) -> Any:
            if target is None or image.format not in ("JPEG", "MPO"):
                return None
            if min(image.height / target[0], image.width / target[1]) < 4:
                return None
            return image.draft(None, (2 * target[1], 2 * target[0]))

        drafted = draft(self.image)
        if self.png is not None:
            png.check_length(self.png, self.image.size)
        elif self.image.format == "TIFF":
            tiff.check_length(self.image, self.file.seek(0, io.SEEK_END))
        try:
            self.image.load()
        except OSError:
            if self.image.format not in ("JPEG", "MPO"):
                raise
            self.image = _load_without_end(self.file, draft)
        if self.png is not None and _may_lack_rows(self.image, self.png):
            png.check_rows(self.file, self.png, self.image.size)
        # A damaged ICO file has another size than its header says.
        return self._upright(*drafted[1][2:]) if drafted else self.shape

    def crop(self, top: int, bottom: int) -> Image.Image:
        """Return what becomes the rows from `top` to `bottom` of the upright image."""
        width, height = tiff.stored_size(self.image)
        if self.orientation in (3, 4, 7, 8):
            top, bottom = self.shape[0] - bottom, self.shape[0] - top
        box = (top, 0, bottom, height) if self.orientation >= 5 else (0, top, width, bottom)
        return self.image.crop(box)

    def turn(self, pixels: Float[ndarray, "_h _w c"]) -> Float[ndarray, "h w c"]:
        """Apply the orientation to pixels."""
        if self.orientation >= 5:
            pixels = pixels.swapaxes(0, 1)
        if self.orientation in (2, 3, 6, 7):
            pixels = pixels[:, ::-1]
        if self.orientation in (3, 4, 7, 8):
            pixels = pixels[::-1]
        return np.ascontiguousarray(pixels)

    def covered(self, size: tuple[float, float]) -> Box:
        """Return where the height and width returned by `load` lie in the upright image."""
        left = self.shape[1] - size[1] if self.orientation in (2, 3, 6, 7) else 0.0
        top = self.shape[0] - size[0] if self.orientation in (3, 4, 7, 8) else 0.0
        return left, top, left + size[1], top + size[0]


@contextlib.contextmanager
def open_source(path: FilePath) -> Iterator[Source]:
    """Open an image file.

    Raises:
      ImageReadError: the file is missing, not an image, too large or too small.
    """
    with contextlib.ExitStack() as stack:
        with _reading(path):
            stack.enter_context(pillow.quiet())
            source = Source(path, stack.enter_context(open_regular(path)))
            stack.enter_context(source.image)
            height, width = source.shape
            progressive = bool(source.image.info.get("progression"))
            _check_excess(path, height * width, source.image.format or "", progressive)
            if min(height, width) < MIN_SIDE:
                raise ImageReadError(
                    f"{path} is {width}x{height}; both sides must be at least {MIN_SIDE} pixels. "
                    "Use a larger image."
                )
        yield source


@contextlib.contextmanager
def _reading(path: FilePath) -> Iterator[None]:
    """Turn any exception inside the block into an `ImageReadError`."""
    try:
        yield
    except ImageReadError:
        raise
    except FileNotFoundError:
        raise ImageReadError(f"{path} does not exist.") from None
    except IsADirectoryError:
        raise ImageReadError(f"{path} is a folder; name an image in it.") from None
    except UnidentifiedImageError:
        raise ImageReadError(f"{path} {pillow.explain_unidentified(path)}.") from None
    except Image.DecompressionBombError as error:
        count = re.search(r"\d+", str(error))
        _check_excess(path, int(count[0]) if count else 2**62)
        raise ImageReadError(f"{path} has too many pixels; reduce its size.") from None
    except MemoryError:
        raise ImageReadError(f"{path} cannot be read: out of memory; reduce its size.") from None
    except Exception as error:
        # Codecs raise many classes for damaged files: OSError, SyntaxError, struct.error.
        reason = error.strerror if isinstance(error, OSError) and error.strerror else error
        reason = "its pixels are damaged" if "decoder error" in str(reason) else reason
        raise ImageReadError(f"{path} cannot be read: {one_line(reason).rstrip('.')}.") from error


def _check_excess(path: FilePath, count: int, decoder: str = "", progressive: bool = False) -> None:
    """Raise `ImageReadError` if an image has too many pixels."""
    if excess := pillow.explain_excess(count, decoder, progressive=progressive):
        raise ImageReadError(f"{path} {excess}.") from None


def decode(
    source: Source, shape: tuple[int, int], *, fast: bool = False
) -> Float[ndarray, "h w c"]:
    """Return upright sRGB pixels, with opacity as a fourth channel if there is any.

    Fully transparent pixels get the mean color of the image, weighted by opacity. The image is
    converted and resampled in bands of rows, so that its float32 pixels need little memory. Its
    decoded pixels are freed.

    Args:
      source: the file.
      shape: height and width to resample to (bicubic, antialiased).
      fast: decode every JPEG file at a fraction of its size if possible, not only large ones.

    Raises:
      ImageReadError: the file is damaged.
    """
    count = source.shape[0] * source.shape[1]
    one_at_a_time = _large if count > _LARGE_PIXELS else contextlib.nullcontext()
    with _reading(source.path), one_at_a_time:
        size = source.load(shape if fast or count > _DRAFT_PIXELS else None)
        left, top, right, bottom = source.covered(size)
        convert = _Converter(source)
        mean = _mean_color(_bands(source, convert)) if convert.has_alpha else None
        channels, begin = 4 if convert.has_alpha else 3, 0
        rows = np.empty((source.shape[0], shape[1], channels), np.float32)
        for band in _bands(source, convert):
            if mean is not None:
                band[..., :3] = np.where(band[..., 3:] > 0, band[..., :3], mean)
            end = begin + band.shape[0]
            rows[begin:end] = resample(band, (end - begin, shape[1]), (left, 0, right, end - begin))
            begin = end
        # The decoded pixels would add to those of the next image.
        source.image.close()
        return np.clip(resample(rows, shape, (0, top, shape[1], bottom)), 0, 1)


def resample(
    pixels: Float[ndarray, "_h _w c"], shape: Sequence[int], box: Box
) -> Float[ndarray, "h w c"]:
    """Resample a region of an image to the height and width `shape` (bicubic, antialiased)."""
    height, width = shape[:2]
    if pixels.shape[:2] == (height, width) and box == (0, 0, width, height):
        return pixels
    planes = [Image.fromarray(pixels[..., c]) for c in range(pixels.shape[-1])]
    bicubic = Image.Resampling.BICUBIC
    planes = [plane.resize((width, height), bicubic, box=box) for plane in planes]
    return np.stack([np.asarray(plane) for plane in planes], axis=-1)


def _bands(source: Source, convert: Callable[[Image.Image], ndarray]) -> Iterator[ndarray]:
    """Yield the upright pixels of an image, some rows at a time."""
    height, width = source.shape
    rows = max(1, _BAND_PIXELS // width)
    for top in range(0, height, rows):
        yield source.turn(convert(source.crop(top, min(top + rows, height))))


def _mean_color(bands: Iterator[ndarray]) -> Float[ndarray, "3"] | None:
    """Return the mean color, weighted by opacity; `None` if everything is transparent."""
    color, opacity = np.zeros(3), 0.0
    for band in bands:
        color += (band[..., :3] * band[..., 3:]).sum(axis=(0, 1), dtype=np.float64)
        opacity += band[..., 3].sum(dtype=np.float64)
    return (color / opacity).astype(np.float32) if opacity else None


def _load_without_end(file: io.BufferedReader, draft: Callable[[Image.Image], Any]) -> Image.Image:
    """Decode a JPEG file that lacks only its end marker.

    Bytes appended to the file change missing pixels, but not complete ones.

    Raises:
      OSError: the file lacks pixels.
    """
    if file.seek(0, io.SEEK_END) > _MAX_WITHOUT_END:
        raise OSError("image file is truncated")
    file.seek(0)
    data, digests, image = file.read(), set(), None
    for padding in (b"\x55", b"\xaa"):
        image = pillow.open_image(io.BytesIO(data + 64 * padding + b"\xff\xd9"))
        draft(image)
        image.load()
        digest = hashlib.sha256()
        for top in range(0, image.height, 256):
            digest.update(image.crop((0, top, image.width, top + 256)).tobytes())
        digests.add(digest.digest())
    if image is None or len(digests) > 1:
        raise OSError("image file is truncated")
    return image


def _may_lack_rows(image: Image.Image, header: png.PngHeader) -> bool:
    """Return whether the last row is zero, as Pillow leaves missing rows."""
    last = image.crop((0, image.height - 1, image.width, image.height))
    return header.interlaced or not any(last.tobytes())


class _Converter:
    """Converts strips of an image to float sRGB, with opacity if the image has any."""

    def __init__(self, source: Source):
        self._levels = tiff.gray_levels(source.image)
        info = source.image.info
        icc = info.get("icc_profile") if source.png is None else source.png.profile
        self._profile = _open_profile(icc)
        self._gamma = None if source.png is None else source.png.gamma
        self._transparent = _transparent_value(info.get("transparency"), source)
        self._transforms: dict[str, Any] = {}
        deep = self._levels.white is not None
        self.has_alpha = deep and self._transparent is not None
        self.has_alpha |= not deep and source.image.has_transparency_data

    def __call__(self, image: Image.Image) -> Float[ndarray, "h w c"]:
        if self._levels.white is not None:
            return self._convert_gray(image)
        if self._transparent is not None:
            image.info["transparency"] = self._transparent
        alpha = None
        if image.mode == "La":
            image = image.convert("LA")
        if image.has_transparency_data:
            opacity = image.convert("RGBA").getchannel("A")
            alpha = np.asarray(opacity, np.float32)[..., None] / 255
        if image.mode in ("P", "PA", "RGBA", "RGBX", "RGBa", "1"):
            image = image.convert("RGBA").convert("RGB")
        elif image.mode == "LA":
            image = image.convert("L")
        rgb = self._apply_gamma(np.asarray(self._to_srgb(image), np.float32) / 255)
        return rgb if alpha is None else np.concatenate([rgb, alpha], axis=-1, dtype=np.float32)

    def _convert_gray(self, image: Image.Image) -> Float[ndarray, "h w c"]:
        levels, stored = self._levels, np.asarray(image)
        if levels.dtype is not None:
            stored = stored.view(levels.dtype)
        if not np.isfinite(stored).all():
            raise ValueError("it contains pixels that are not finite")
        # 32-bit integers need more precision than float32 until they are scaled.
        wide = stored.astype(np.float64 if stored.dtype.itemsize == 4 else np.float32)
        gray = np.clip(wide / (levels.white or 1), 0, 1).astype(np.float32)
        gray = 1 - gray if levels.inverted else gray
        rgb = self._apply_gamma(np.repeat(gray[..., None], 3, axis=-1))
        ramp = self._gray_ramp()
        if ramp is not None:
            knots = np.linspace(0, 1, len(ramp))
            planes = [np.interp(gray, knots, ramp[:, c]) for c in range(3)]
            rgb = np.stack(planes, axis=-1).astype(np.float32)
        if self._transparent is None:
            return rgb
        # A gray PNG marks one value as transparent.
        alpha = (stored != self._transparent)[..., None].astype(np.float32)
        return np.concatenate([rgb, alpha], axis=-1)

    def _gray_ramp(self) -> Float[ndarray, "n 3"] | None:
        """Return the sRGB colors of the values from black to white by a gray profile."""
        profile: Any = None if self._profile is None else self._profile.profile
        if profile is None or profile.xcolor_space.strip() != "GRAY":
            return None
        ramp = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
        return np.asarray(self._to_srgb(ramp), np.float32)[0] / 255

    def _to_srgb(self, image: Image.Image) -> Image.Image:
        if image.mode not in self._transforms:
            self._transforms[image.mode] = _srgb_transform(image.mode, self._profile)
        transform = self._transforms[image.mode]
        converted = transform and ImageCms.applyTransform(image, transform)
        return converted or image.convert("RGB")

    def _apply_gamma(self, rgb: Float[ndarray, "h w 3"]) -> Float[ndarray, "h w 3"]:
        # Writers of sRGB files store 1 / 2.2.
        if self._gamma is None or abs(self._gamma * 2.2 - 1) < 0.05:
            return rgb
        linear = rgb ** np.float32(1 / self._gamma)
        # IEC 61966-2-1.
        return np.where(
            linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** np.float32(1 / 2.4) - 0.055
        ).astype(np.float32)


def _srgb_transform(
    mode: str, profile: ImageCms.ImageCmsProfile | None
) -> ImageCms.ImageCmsTransform | None:
    """Return how to convert an image to sRGB; `None` if no profile fits it."""
    # Lab is a space of its own; Pillow converts it.
    if profile is None or mode not in ("RGB", "L", "CMYK"):
        return None
    try:
        return ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), mode, "RGB")
    except (ImageCms.PyCMSError, OSError):
        # An unfit profile is ignored: the pixels are assumed to be sRGB.
        return None


def _open_profile(icc: bytes | None) -> ImageCms.ImageCmsProfile | None:
    """Return an ICC profile, or `None` if there is none or it is damaged."""
    try:
        return ImageCms.ImageCmsProfile(io.BytesIO(icc)) if icc else None
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        return None


def _transparent_value(value: Any, source: Source) -> Any:
    """Return the transparent color of an image in the units of Pillow's pixels."""
    header = source.png
    if header is None or value is None or source.image.mode not in ("L", "RGB"):
        return value
    if isinstance(value, tuple):
        return tuple(v >> 8 for v in value) if header.depth == 16 else value
    return value * 255 // (2**header.depth - 1) if header.depth < 8 else value
