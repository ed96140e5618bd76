"""Masks of a video: an image for all frames, or a video or folder with one mask per frame."""

import itertools
from collections.abc import Generator, Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from jaxstyle.errors import ImageReadError
from jaxstyle.io.formats import READ_SUFFIXES
from jaxstyle.io.inputs import check_proportions, read_mask
from jaxstyle.video.clip import Clip, open_clip, read_frames
from jaxstyle.video.follow import Frame

MaskSource = np.ndarray | Clip


def open_mask(path: Path, shape: tuple[int, int]) -> MaskSource:
    """Read a mask that is an image, or open one that is a video or a folder of images.

    Args:
      path: file or folder.
      shape: height and width of the frames.

    Raises:
      ImageReadError: it cannot be read.
      ValueError: it has another aspect ratio than the frames, or an image is black everywhere.
    """
    suffix = path.suffix.lower()
    if suffix in READ_SUFFIXES and suffix != ".gif" and not path.is_dir():
        return np.round(255 * read_mask(path, shape)).astype(np.uint8)
    clip = open_clip(path)
    check_proportions(path, clip.shape, shape)
    return clip


def add_masks(
    frames: Iterable[UInt8[np.ndarray, "h w 3"]],
    masks: Sequence[MaskSource],
    shape: tuple[int, int],
    *,
    start: float,
    end: float | None,
    rate: Fraction,
) -> Generator[Frame, None, None]:
    """Yield frames with their masks, of which there is one per style image, or none at all.

    Args:
      frames: frames of a video.
      masks: results of `open_mask`.
      shape: height and width of the frames.
      start: seconds, as for `read_frames`.
      end: seconds, as for `read_frames`.
      rate: frames per second, as for `read_frames`.

    Raises:
      ImageReadError: a mask is damaged, or ends before the video.
    """
    streams = []
    for mask in masks:
        if isinstance(mask, Clip):
            images = read_frames(mask, shape, start=start, end=end, rate=rate)
            streams.append((mask.path, map(_brightness, images)))
        else:
            streams.append((None, itertools.repeat(mask)))
    for number, frame in enumerate(frames):
        found = []
        for path, stream in streams:
            mask = next(stream, None)
            if mask is None:
                raise ImageReadError(f"the mask {path} ends before frame {number} of the video.")
            found.append(mask)
        yield Frame(frame, np.stack(found) if found else None)


def _brightness(image: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "h w"]:
    return np.round(image.mean(axis=-1)).astype(np.uint8)
