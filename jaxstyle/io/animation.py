"""Animations of images: GIF, WebP, and H.264 video, from frames that are kept in a file."""

import contextlib
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from PIL import Image, TiffImagePlugin

from jaxstyle.errors import WriteError
from jaxstyle.io.atomic import check_output, temporary_folder, write_bytes
from jaxstyle.io.formats import ANIMATION_FORMATS, AnimationFormat
from jaxstyle.io.gif import write_gif
from jaxstyle.io.images import composite, resize
from jaxstyle.io.pillow import max_pixels
from jaxstyle.io.video import find_ffmpeg, write_video

# Frames that only store what differs from the frame before would lose small changes, and show
# them all at once at the next whole frame.
_WEBP_OPTIONS: dict[str, Any] = {"quality": 80, "method": 2, "kmin": 0, "kmax": 1, "loop": 0}


def animation_format(path: Path) -> AnimationFormat:
    """Return the format that the suffix of a path names.

    Raises:
      WriteError: there is no such format, or it needs an extra that is not installed.
    """
    format = ANIMATION_FORMATS.get(path.suffix.lower())
    if format is None:
        names = ", ".join(ANIMATION_FORMATS)
        raise WriteError(f"cannot write {path}: its name must end in {names}.")
    if not format.installed:
        raise WriteError(
            f"cannot write {path} without an extra; install it with "
            f"`pip install 'jaxstyle[{format.extra}]'`."
        )
    return format


def check_animation(path: Path) -> None:
    """Raise `WriteError` if an animation cannot be written to `path`."""
    format = animation_format(path)
    if format.package:
        try:
            find_ffmpeg()
        except OSError as error:
            raise WriteError(f"cannot write {path}: {error}.") from error
    check_output(path)


@contextlib.contextmanager
def open_animation(path: Path, shape: Sequence[int]) -> Iterator["Animation"]:
    """Open an animation, whose frames are kept in a temporary file until it is written.

    Args:
      path: animation to write: .gif, .webp or .mp4.
      shape: height and width of the images. The frames are at most as large as
        `formats.ANIMATION_FORMATS` says.

    Raises:
      WriteError: it cannot be written.

    Example:
      >>> import tempfile
      >>> from pathlib import Path
      >>> import numpy as np
      >>> from PIL import Image
      >>> from jaxstyle.io.animation import open_animation
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = Path(folder, "fade.gif")
      ...     with open_animation(path, (24, 32)) as animation:
      ...         for gray in np.linspace(0, 1, 5):
      ...             animation.append(np.full((24, 32, 3), gray))
      ...         animation.write([100] * 5)
      ...     with Image.open(path) as image:
      ...         image.size, image.n_frames
      ((32, 24), 5)
    """
    check_animation(path)
    with temporary_folder() as folder, (folder / "frames.tiff").open("w+b") as file:
        yield Animation(path, shape, file, folder)


class Animation:
    """Frames of an animation; see `open_animation`.

    Attributes:
      shape: height and width of the frames.
    """

    def __init__(
        self,
        path: Path,
        shape: Sequence[int],
        file: IO[bytes],
        folder: Path,
    ):
        self._path, self._file, self._folder = path, file, folder
        self._writer = _FrameWriter(file)
        self._count, self._error = 0, None
        self.shape = _frame_shape(shape, animation_format(path))

    def __len__(self) -> int:
        return self._count

    def append(self, image: Float[ndarray, "_h _w _c"]) -> None:
        """Append an image in [0, 1], resampled to `shape`; opacity is put on white.

        If the disk is full, `write` raises the error, so that a run goes on until then.
        """
        if self._error is not None:
            return
        pixels = composite(resize(np.asarray(image, np.float32), self.shape))
        frame = Image.fromarray(np.round(np.clip(pixels, 0, 1) * 255).astype(np.uint8))
        try:
            frame.save(self._writer, "TIFF", compression="tiff_lzw")
            self._writer.newFrame()
        except OSError as error:
            self._error = error
        self._count += 1

    def write(self, milliseconds: Sequence[int]) -> None:
        """Write the animation; no frame can be appended any more.

        Args:
          milliseconds: how long each frame is shown, in multiples of 40.

        Raises:
          WriteError: it cannot be written.
        """
        encoded = self._folder / f"animation{self._path.suffix.lower()}"
        write = {".gif": write_gif, ".webp": _write_webp, ".mp4": write_video}[encoded.suffix]
        try:
            if self._error is not None:
                raise self._error
            self._file.flush()
            with Image.open(self._file.name) as frames:
                write(encoded, frames, milliseconds)
            data = encoded.read_bytes()
        except OSError as error:
            reason = error.strerror or error
            raise WriteError(f"cannot write {self._path}: {reason}.") from error
        write_bytes(self._path, data)


class _FrameWriter(TiffImagePlugin.AppendingTiffWriter):
    """Appends frames to a TIFF file, whole after each of them."""

    def close(self) -> None:
        # Python calls it when the object is deleted. Pillow's would then seek in the closed file.
        pass


def _frame_shape(shape: Sequence[int], format: AnimationFormat) -> tuple[int, int]:
    """Return the largest size that a format allows for images of a size."""
    height, width = shape[:2]
    # The frames are read again, with the limit of all images.
    limit = math.sqrt(max_pixels() / (height * width))
    scale = min(1.0, format.max_edge / max(height, width), limit)
    unit = format.multiple
    rows, columns = (max(unit, round(side * scale / unit) * unit) for side in (height, width))
    return rows, columns


def _write_webp(path: Path, frames: Image.Image, milliseconds: Sequence[int]) -> None:
    frames.save(path, "WEBP", save_all=True, duration=list(milliseconds), **_WEBP_OPTIONS)
