"""Masks of a video: an image for all frames, or a video or folder with one mask per frame."""

import itertools
import os
import sys
from collections.abc import Generator, Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from jaxstyle.errors import ImageReadError
from jaxstyle.io.formats import READ_SUFFIXES
from jaxstyle.io.inputs import check_proportions, read_mask
from jaxstyle.video.clip import Clip, open_clip, read_frames, shown_images
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
    # Unlike `Path.is_dir`, this does not raise for a name that is too long.
    is_folder = os.path.isdir(path)  # noqa: PTH112
    if suffix in READ_SUFFIXES and suffix != ".gif" and not is_folder:
        return _to_bytes(read_mask(path, shape))
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
        if isinstance(mask, np.ndarray):
            streams.append((None, itertools.repeat(mask)))
        elif mask.images:
            streams.append((mask.path, _read_images(mask, shape, start, end, rate)))
        else:
            images = read_frames(mask, shape, start=start, end=end, rate=rate)
            streams.append((mask.path, (_to_bytes(x.mean(axis=-1) / 255) for x in _held(images))))
    for number, frame in enumerate(frames, 1):
        found = []
        for path, stream in streams:
            mask = next(stream, None)
            if mask is None:
                raise ImageReadError(f"the mask {path} ends before frame {number} of the video.")
            found.append(mask)
        yield Frame(frame, np.stack(found) if found else None)


def _held(images: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """Repeat the only image for ever, the last of several once: durations are rounded."""
    last, count = None, 0
    for last in images:
        yield last
        count += 1
    if last is not None:
        yield from itertools.repeat(last, 1 if count > 1 else sys.maxsize)


def _read_images(
    clip: Clip, shape: tuple[int, int], start: float, end: float | None, rate: Fraction
) -> Iterator[np.ndarray]:
    for path in shown_images(clip, start, end, rate):
        yield _to_bytes(read_mask(path, shape, may_be_black=True))


def _to_bytes(mask: np.ndarray) -> UInt8[np.ndarray, "h w"]:
    return np.round(255 * mask).astype(np.uint8)
