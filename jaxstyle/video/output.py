"""Write the frames of a video: MP4, MOV and WebM by ffmpeg, GIF and WebP, or a folder."""

import itertools
import os
import struct
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from jaxstyle.errors import WriteError
from jaxstyle.io.animation import open_animation
from jaxstyle.io.atomic import check_name, check_output, name_limit, write_bytes
from jaxstyle.io.formats import ANIMATION_FORMATS
from jaxstyle.io.images import encode_image
from jaxstyle.io.video import ENCODERS, encode, find_ffmpeg

_ANIMATIONS = (".gif", ".webp")
# H.264 and VP9 have no larger frames.
_MAX_EDGE = 16384


def check_video(path: Path) -> None:
    """Raise `WriteError` if a video cannot be written to `path`; one without suffix is a folder."""
    check_name(path, name_limit(path.parent))
    suffix = path.suffix.lower()
    try:
        is_folder, exists = path.is_dir(), path.exists()
    except OSError as error:
        raise WriteError(f"cannot write {path}: {error.strerror or error}.") from error
    if is_folder or not suffix:
        if exists and not is_folder:
            raise WriteError(f"cannot write {path}: it is a file; frames need a folder.")
        if exists and not os.access(path, os.W_OK):
            raise WriteError(f"cannot write {path}: the folder is read-only.")
        return
    if suffix not in (*ENCODERS, *_ANIMATIONS):
        names = ", ".join((*ENCODERS, *_ANIMATIONS))
        raise WriteError(f"cannot write {path}: its name must end in {names}, or be a folder's.")
    if suffix in ENCODERS:
        try:
            find_ffmpeg()
        except (OSError, ImportError) as error:
            raise WriteError(
                f"cannot write {path} without ffmpeg; install it with "
                "`pip install 'jaxstyle[video]'`."
            ) from error
    check_output(path)


def write_frames(
    path: Path,
    frames: Iterable[UInt8[np.ndarray, "h w 3"]],
    shape: Sequence[int],
    rate: Fraction,
    *,
    scratch: Path,
    sound: Sequence[str] = (),
) -> None:
    """Write a video, by the suffix of its path; frames go to a folder as PNG files.

    Args:
      path: file or folder to write.
      frames: the frames.
      shape: their height and width.
      rate: frames per second.
      scratch: folder of the same file system for a file that is not complete.
      sound: options of ffmpeg that name an input with a sound track, see `io.video.encode`.

    Raises:
      WriteError: it cannot be written.
    """
    suffix = path.suffix.lower()
    try:
        if path.is_dir() or not suffix:
            path.mkdir(exist_ok=True)
            index = 0
            for index, frame in enumerate(frames, 1):
                image = frame.astype(np.float32) / 255
                write_bytes(path / f"{index:06}.png", encode_image(image, "PNG"))
            _remove_frames_after(path, index)
        elif suffix in _ANIMATIONS:
            _write_animation(path, frames, shape, rate)
        else:
            part = scratch / f"part{suffix}"
            size = (shape[1], shape[0])
            encode(part, (frame.tobytes() for frame in frames), size, rate, sound=sound)
            part.replace(path)
    except OSError as error:
        raise WriteError(f"cannot write {path}: {error.strerror or error}.") from error
    except struct.error as error:
        raise WriteError(f"cannot write {path}: it has more than 4 GiB of pixels.") from error


def _remove_frames_after(folder: Path, number: int) -> None:
    """Remove the frames of a longer video that was written to the folder before."""
    while (path := folder / f"{number + 1:06}.png").exists():
        path.unlink()
        number += 1


def _write_animation(
    path: Path, frames: Iterable[np.ndarray], shape: Sequence[int], rate: Fraction
) -> None:
    # GIF counts in hundredths of a second, and browsers show shorter frames for a tenth.
    unit = 10 if path.suffix.lower() == ".gif" else 1
    with open_animation(path, shape) as animation:
        for frame in frames:
            animation.append(frame.astype(np.float32) / 255)
        ends = [round(1000 * n / rate / unit) * unit for n in range(len(animation) + 1)]
        animation.write([max(2 * unit, b - a) for a, b in itertools.pairwise(ends)])


def max_rate(path: Path) -> Fraction:
    """Return the largest number of frames per second of a video with this suffix."""
    return Fraction(50 if path.suffix.lower() == ".gif" else 240)


def max_edge(path: Path) -> int:
    """Return the largest long edge of the frames of a video with this suffix."""
    suffix = path.suffix.lower()
    return ANIMATION_FORMATS[suffix].max_edge if suffix in _ANIMATIONS else _MAX_EDGE
