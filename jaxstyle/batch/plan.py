"""Groups of jobs that share a compiled program, and their batch sizes."""

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import jax

from jaxstyle import pyramid
from jaxstyle.analysis.cost import cpu_batch_size, measure_step
from jaxstyle.analysis.memory import fit_tile, max_batch_size, step_bytes, tile_work
from jaxstyle.batch.jobs import Job
from jaxstyle.config import StyleConfig
from jaxstyle.types import Params

MAX_DISTORTION = 0.05
"""Largest relative change of an image's aspect ratio by `snap`."""

# Coarse first: it leaves few shapes to compile. 32 is the stride after five poolings.
_GRIDS = (32, 16, 8, 4, 2)
# Largest number of copies that fill the last batch, as a fraction of the group.
_MAX_COPIES = 0.1
# For compilers that report no memory use; the run halves it when memory runs out.
_MAX_BATCH = 64


def snap(shape: Sequence[int], size: int) -> tuple[int, int]:
    """Return the height and width at which an image is stylized.

    The short edge is rounded to a multiple of 32, so that images of similar shapes share a
    program. If this changes the aspect ratio by more than `MAX_DISTORTION`, it is rounded to a
    multiple of 16, 8, 4, 2 or 1.

    Args:
      shape: height and width of the image; further entries are ignored.
      size: long edge of the result.

    Example:
      341 pixels would keep the aspect ratio; 352 is a multiple of 32:

      >>> from jaxstyle.batch.plan import snap
      >>> snap((2000, 3000), 512)
      (352, 512)
    """
    height, width = shape[:2]
    exact = size * min(height, width) / max(height, width)
    short = max(1, round(exact))
    for grid in _GRIDS:
        snapped = round(exact / grid) * grid
        if snapped and abs(snapped / exact - 1) <= MAX_DISTORTION:
            short = min(snapped, size)
            break
    return (short, size) if height < width else (size, short)


@dataclass(frozen=True)
class Group:
    """Jobs that share a shape and a program.

    Attributes:
      shape: height and width at which the images are stylized.
      config: configuration of the first job; the others have the same static fields, but for
        `tile`.
      jobs: indices of the jobs.
      batch: batch size, summed over all devices.
    """

    shape: tuple[int, int]
    config: StyleConfig
    jobs: tuple[int, ...]
    batch: int = 1

    @property
    def plan(self) -> list[tuple[tuple[int, int], int]]:
        """Shape and number of steps of each level; each level is one program."""
        return pyramid.levels(self.shape, self.config)

    @property
    def work(self) -> int:
        """Work of all jobs, in pixels times steps."""
        return pyramid.work(self.plan) * len(self.jobs)


def make_groups(
    jobs: Iterable[tuple[int, Job, tuple[int, int]]], *, exact: bool = False
) -> list[Group]:
    """Group jobs by shape and program.

    Args:
      jobs: index of each job, the job, and height and width of its content image.
      exact: stylize each image at the shape of its result, as `stylize` does.
    """
    shape_of = pyramid.fit_shape if exact else snap
    indices: dict[Hashable, list[int]] = {}
    first: dict[Hashable, tuple[tuple[int, int], StyleConfig]] = {}
    for index, job, content_shape in jobs:
        shape = shape_of(content_shape, job.config.size)
        program = tuple(job.config.static_key.items())
        key = (shape, program, len(job.styles), bool(job.masks), job.start is not None)
        indices.setdefault(key, []).append(index)
        first.setdefault(key, (shape, job.config))
    return [Group(*first[key], tuple(indices[key])) for key in indices]


def batch_size(count: int, limit: int) -> int:
    """Return the largest batch size whose last batch needs few copies.

    All batches of a group have the same size, so that they share a program. Copies of an image
    fill the last batch, at most a tenth of `count`; their results are discarded.

    Args:
      count: number of images.
      limit: largest batch size.

    Example:
      Batches of 5 would compute 15 images instead of 12:

      >>> from jaxstyle.batch.plan import batch_size
      >>> batch_size(12, limit=5)
      4
    """
    sizes = (math.ceil(count / batches) for batches in range(math.ceil(count / limit), count + 1))
    return next(s for s in sizes if math.ceil(count / s) * s - count <= _MAX_COPIES * count)


def size_batches(groups: Sequence[Group], params: Params, limit: int | None = None) -> list[Group]:
    """Return the groups with their batch sizes set.

    Batches are as large as memory allows; on a CPU they are small, because large batches are
    not faster there.

    Args:
      groups: groups from `make_groups`.
      params: weights from `load_weights`.
      limit: largest batch size per device; chosen by backend if `None`.
    """
    groups = [replace(group, config=fit_tile(group.shape, group.config)) for group in groups]
    if limit is not None:
        limits = [limit] * len(groups)
    elif jax.default_backend() == "cpu":
        limits = [cpu_batch_size(group.shape) for group in groups]
    else:
        limits = [min(_MAX_BATCH, max_batch_size(cost.bytes)) for cost in costs(groups, params)]
    devices = jax.local_device_count()
    # Sharding needs the same number of images on every device.
    sizes = [
        devices * batch_size(math.ceil(len(group.jobs) / devices), device_limit)
        for group, device_limit in zip(groups, limits, strict=True)
    ]
    return [replace(group, batch=size) for group, size in zip(groups, sizes, strict=True)]


class Cost(NamedTuple):
    """Cost of one image.

    Attributes:
      bytes: memory of a step, in bytes.
      seconds: time per step and pixel, in seconds.
    """

    bytes: int
    seconds: float


def costs(groups: Sequence[Group], params: Params) -> list[Cost]:
    """Estimate the cost of one image of each group.

    For each configuration a program is compiled and timed on an image of at most 128x128
    pixels. Its memory, from the compiler's analysis, is scaled by the number of pixels.

    Args:
      groups: groups from `make_groups`.
      params: weights from `load_weights`.
    """
    measured: dict[Hashable, tuple[float, float]] = {}
    estimates = []
    for group in groups:
        whole = replace(group.config, tile=0)
        key = tuple(whole.static_key.items())
        if key not in measured:
            side = min(whole.size, 128)
            bytes_, seconds = measure_step(params, whole, (side, side))
            measured[key] = bytes_ / side**2, seconds / side**2
        per_pixel, seconds = measured[key]
        bytes_ = int(per_pixel * math.prod(group.shape))
        if group.config.tile:
            bytes_ = step_bytes(group.shape, group.config)
            seconds *= tile_work(group.shape, group.config)
        estimates.append(Cost(bytes_, seconds))
    return estimates
