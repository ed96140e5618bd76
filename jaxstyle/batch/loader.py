"""Reading what a job needs, at the sizes at which its group works."""

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

# StyleCache kept in memory; a batch mostly has few.
_KEPT = 16


@dataclass(frozen=True)
class Picture:
    """A job's inputs in memory.

    Attributes:
      index: of the job.
      content: at the shape of its group.
      styles: the paintings; the same array for every job of the same file.
      shape: height and width of the result.
      alpha: transparency to return with it.
      masks: at the shape of the group.
      start: at the shape of the group.
    """

    index: int
    content: np.ndarray
    styles: tuple[np.ndarray, ...]
    shape: tuple[int, int]
    alpha: np.ndarray | None
    masks: np.ndarray | None
    start: np.ndarray | None


class Loader:
    """Reads jobs, and keeps paintings; callable from several threads."""

    def __init__(self, jobs: Sequence[Job]):
        self._jobs = jobs
        self._styles: dict[tuple[Path, int, float, int], np.ndarray] = {}
        self._lock = threading.Lock()

    def __call__(self, index: int, work: tuple[int, int]) -> Picture:
        """The inputs of a job, to be worked on at the height and width `work`.

        Raises:
          ImageReadError: a file cannot be read.
          ValueError: a mask or start does not fit, or a painting is too small.
        """
        job = self._jobs[index]
        content = _read(job.content, lambda path: images.read_image(path, alpha=True))
        shape = pyramid.fit_shape(content.shape, job.config.size)
        content, alpha = content[..., :3], content[..., 3:]
        masks = [_read(path, lambda path: read_mask(path, shape)) for path in job.masks]
        masks = [images.resize(mask[..., None], work)[..., 0] for mask in masks]
        start = None
        if job.start is not None:
            start = _read(job.start, images.read_image)
            check_proportions(job.start, start.shape, shape)
            start = images.resize(start, work)
        return Picture(
            index=index,
            content=images.resize(content, work),
            styles=tuple(self._style(path, job, work) for path in job.styles),
            shape=shape,
            alpha=images.resize(alpha, shape) if alpha.size else None,
            masks=np.stack(masks) if masks else None,
            start=start,
        )

    def _style(self, path: Path, job: Job, work: tuple[int, int]) -> np.ndarray:
        # All its shapes have one long edge, which is what a painting is scaled to.
        config = job.config
        key = path, config.size, config.style_scale, pyramid.min_style_side(config)
        with self._lock:
            if key not in self._styles:
                style = _read(path, lambda path: read_style(path, work, config))
                while len(self._styles) >= _KEPT:
                    self._styles.pop(next(iter(self._styles)))
                self._styles[key] = style
            return self._styles[key]


def _read(path: Path, read: Callable[[Path], np.ndarray]) -> np.ndarray:
    try:
        return read(path)
    except OSError as error:
        # The file vanished, or its folder was closed to us.
        raise ImageReadError(f"{path} cannot be read: {error.strerror or error}.") from error
