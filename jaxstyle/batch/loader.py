"""Input files of jobs, read at the size of their group."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from jaxstyle import pyramid
from jaxstyle.batch.done import Stamps
from jaxstyle.batch.jobs import Job
from jaxstyle.errors import ImageReadError
from jaxstyle.io import images
from jaxstyle.io.atomic import Stamp, file_stamp
from jaxstyle.io.inputs import read_mask, read_start, read_style
from jaxstyle.io.provenance import FileId, FileIds, InputIds
from jaxstyle.io.remote import FilePath, downloads
from jaxstyle.loop.style_cache import FifoCache

_CACHED_STYLES = 16
Value = TypeVar("Value")


@dataclass(frozen=True)
class JobInputs:
    """Input arrays of a job.

    Attributes:
      index: index of the job.
      content: content image, at the size of the group.
      styles: style images; the same array for all jobs that use the same file.
      shape: height and width of the result.
      alpha: transparency of the result, `[h, w, 1]`, or `None`.
      masks: masks at the size of the group, or `None`.
      start: image to start from, at the size of the group, or `None`.
      ids: names and hashes of the files.
      stamps: sizes and times of the files.
    """

    index: int
    content: np.ndarray
    styles: tuple[np.ndarray, ...]
    shape: tuple[int, int]
    alpha: np.ndarray | None
    masks: np.ndarray | None
    start: np.ndarray | None
    ids: InputIds
    stamps: Stamps


class Loader:
    """Reads the inputs of jobs, and caches style images. Safe to call from several threads.

    Args:
      jobs: all jobs of this process, by index.
    """

    def __init__(self, jobs: Mapping[int, Job] | Sequence[Job]):
        self._jobs = jobs
        self._styles: FifoCache[np.ndarray] = FifoCache(_CACHED_STYLES)
        self._file_ids = FileIds()
        self._lock = threading.Lock()

    def __call__(self, index: int, group_shape: tuple[int, int]) -> JobInputs:
        """Read the inputs of a job for a group of the height and width `group_shape`.

        Raises:
          ImageReadError: a file cannot be read.
          ValueError: a mask or a start does not fit, or a style image is too small.
        """
        with downloads():
            return self._load(index, group_shape)

    def _load(self, index: int, group_shape: tuple[int, int]) -> JobInputs:
        job = self._jobs[index]
        # Before they are read: a change from then on gives other times.
        stamps = {
            role: [_read(path, file_stamp) for path in paths]
            for role, paths in job.inputs.items()
            if paths
        }
        ids = {
            role: [self._identify(p, s) for p, s in zip(job.inputs[role], files, strict=True)]
            for role, files in stamps.items()
        }
        shape = pyramid.fit_shape(_read(job.content, images.read_shape), job.config.size)
        content = _read(job.content, lambda path: _read_content(path, group_shape))
        alpha = content[..., 3:]
        if alpha.size and shape != group_shape:
            alpha = _read(job.content, lambda path: _read_content(path, shape))[..., 3:]
        masks = [_read(path, lambda path: read_mask(path, shape)) for path in job.masks]
        masks = [images.resize(mask[..., None], group_shape)[..., 0] for mask in masks]
        start = None
        if job.start is not None:
            start = _read(job.start, lambda path: read_start(path, shape, group_shape))
        return JobInputs(
            index=index,
            content=content[..., :3],
            styles=tuple(self._read_style(path, job, group_shape) for path in job.styles),
            shape=shape,
            alpha=alpha if alpha.size else None,
            masks=np.stack(masks) if masks else None,
            start=start,
            ids=ids,
            stamps=stamps,
        )

    def _identify(self, path: FilePath, stamp: Stamp) -> FileId:
        return _read(path, lambda path: self._file_ids(path, stamp))

    def _read_style(self, path: FilePath, job: Job, group_shape: tuple[int, int]) -> np.ndarray:
        # A style image is scaled by the long edge, which all shapes of a size share.
        config = job.config
        key = path, config.size, config.style_scale, pyramid.min_style_side(config)
        with self._lock:
            return self._styles.get(
                key, lambda: _read(path, lambda path: read_style(path, group_shape, config))
            )


def _read_content(path: FilePath, shape: tuple[int, int]) -> np.ndarray:
    return images.read_image_as(path, lambda _: shape, alpha=True)


def _read(path: FilePath, read: Callable[[FilePath], Value]) -> Value:
    try:
        return read(path)
    except FileNotFoundError as error:
        # It has vanished since the scan.
        raise ImageReadError(f"{path} does not exist.") from error
    except OSError as error:
        raise ImageReadError(f"{path} cannot be read: {error.strerror or error}.") from error
