"""Input files of jobs, read at the size of their group."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxstyle import pyramid
from jaxstyle.batch.jobs import Job
from jaxstyle.errors import ImageReadError
from jaxstyle.io import images
from jaxstyle.io.inputs import check_proportions, read_mask, read_style
from jaxstyle.loop.style_cache import FifoCache

_CACHED_STYLES = 16


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
    """

    index: int
    content: np.ndarray
    styles: tuple[np.ndarray, ...]
    shape: tuple[int, int]
    alpha: np.ndarray | None
    masks: np.ndarray | None
    start: np.ndarray | None


class Loader:
    """Reads the inputs of jobs, and caches style images. Safe to call from several threads.

    Args:
      jobs: all jobs of this process.
      exact: groups have the shape of their results; images are read as `stylize` reads them.
    """

    def __init__(self, jobs: Sequence[Job], *, exact: bool = False):
        self._jobs, self._exact = jobs, exact
        self._styles: FifoCache[np.ndarray] = FifoCache(_CACHED_STYLES)
        self._lock = threading.Lock()

    def __call__(self, index: int, group_shape: tuple[int, int]) -> JobInputs:
        """Read the inputs of a job for a group of the height and width `group_shape`.

        Raises:
          ImageReadError: a file cannot be read.
          ValueError: a mask or a start does not fit, or a style image is too small.
        """
        job = self._jobs[index]
        size = job.config.size if self._exact else None
        content = _read(job.content, lambda path: images.read_image(path, size, alpha=True))
        shape = pyramid.fit_shape(content.shape, job.config.size)
        content, alpha = content[..., :3], content[..., 3:]
        masks = [_read(path, lambda path: read_mask(path, shape)) for path in job.masks]
        masks = [images.resize(mask[..., None], group_shape)[..., 0] for mask in masks]
        start = None
        if job.start is not None:
            start = _read(job.start, images.read_image)
            check_proportions(job.start, start.shape, shape)
            start = start if self._exact else images.resize(start, group_shape)
        return JobInputs(
            index=index,
            content=images.resize(content, group_shape),
            styles=tuple(self._read_style(path, job, group_shape) for path in job.styles),
            shape=shape,
            alpha=images.resize(alpha, shape) if alpha.size else None,
            masks=np.stack(masks) if masks else None,
            start=start,
        )

    def _read_style(self, path: Path, job: Job, group_shape: tuple[int, int]) -> np.ndarray:
        # A style image is scaled by the long edge, which all shapes of a size share.
        config = job.config
        key = path, config.size, config.style_scale, pyramid.min_style_side(config)
        with self._lock:
            return self._styles.get(
                key, lambda: _read(path, lambda path: read_style(path, group_shape, config))
            )


def _read(path: Path, read: Callable[[Path], np.ndarray]) -> np.ndarray:
    try:
        return read(path)
    except OSError as error:
        # The file has vanished since the scan, or its folder cannot be read any more.
        raise ImageReadError(f"{path} cannot be read: {error.strerror or error}.") from error
