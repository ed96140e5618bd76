"""How a batch is grouped: jobs that one compiled program can do, and how many at once."""

import math
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import jax

from jaxstyle import pyramid
from jaxstyle.analysis.cost import cpu_batch_size, max_batch_size, measure_step
from jaxstyle.batch.jobs import Job
from jaxstyle.config import StyleConfig
from jaxstyle.types import Params

MAX_DISTORTION = 0.05
"""Largest change of a picture's proportions while it is worked on."""

# Multiples that sides are snapped to, if the distortion allows: 32 is the size of a pixel
# behind five poolings, and what leaves few shapes.
_GRIDS = (32, 16, 8, 4, 2)
# Part of a batch that may be copies, made to fill it up to the group's one size.
_PADDING = 0.1
# Where the compiler does not tell a program's memory; halved when memory runs out.
_LARGEST = 64


def snap(shape: Sequence[int], size: int) -> tuple[int, int]:
    """Height and width at which a picture of the shape `shape` is worked on.

    The long edge is `size`. The short edge is a multiple of the largest of 32, 16, 8, 4 and
    2 that changes the proportions by no more than `MAX_DISTORTION`, else exact.
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
    """Jobs of one shape and one program.

    Attributes:
      shape: height and width of the work.
      config: a configuration of the group; the others differ in numbers alone.
      jobs: indices of the jobs.
      batch: number of pictures at once, on all devices together.
    """

    shape: tuple[int, int]
    config: StyleConfig
    jobs: tuple[int, ...]
    batch: int = 1

    @property
    def plan(self) -> list[tuple[tuple[int, int], int]]:
        """Sizes and steps of its levels, with one program each."""
        return pyramid.levels(self.shape, self.config)

    @property
    def work(self) -> int:
        """Pixels times steps of all its pictures."""
        return pyramid.work(self.plan) * len(self.jobs)


def make_groups(jobs: Iterable[tuple[int, Job, tuple[int, int]]]) -> list[Group]:
    """Jobs, given with index and size of their photograph, by shape and program."""
    groups: dict[Hashable, list[int]] = {}
    seen: dict[Hashable, tuple[tuple[int, int], StyleConfig]] = {}
    for index, job, size in jobs:
        shape = snap(size, job.config.size)
        program = tuple(job.config.static_key.items())
        key = (shape, program, len(job.styles), bool(job.masks), job.start is not None)
        groups.setdefault(key, []).append(index)
        seen.setdefault(key, (shape, job.config))
    return [Group(*seen[key], tuple(found)) for key, found in groups.items()]


def batch_size(count: int, limit: int) -> int:
    """Largest batch of at most `limit` with which few of `count` pictures are worked on twice.

    All batches of a group have one size, so that they share a program; the last is
    filled with copies.
    """
    sizes = (math.ceil(count / batches) for batches in range(math.ceil(count / limit), count + 1))
    return next(s for s in sizes if math.ceil(count / s) * s - count <= _PADDING * count)


def size_batches(groups: Sequence[Group], params: Params, limit: int | None = None) -> list[Group]:
    """Groups with their batch sizes: on a CPU a few small pictures, else as many as find room.

    Args:
      groups: from `make_groups`.
      params: weights from `load_weights`.
      limit: pictures at once on a device to use instead, where the group is large enough.
    """
    if limit is not None:
        room = [limit] * len(groups)
    elif jax.default_backend() == "cpu":
        room = [cpu_batch_size(group.shape) for group in groups]
    else:
        room = [min(_LARGEST, max_batch_size(cost.bytes)) for cost in costs(groups, params)]
    devices = jax.local_device_count()
    # Every device takes as many as the others.
    sizes = [
        devices * batch_size(math.ceil(len(group.jobs) / devices), most)
        for group, most in zip(groups, room, strict=True)
    ]
    return [replace(group, batch=size) for group, size in zip(groups, sizes, strict=True)]


class Cost(NamedTuple):
    """What one picture takes: bytes of memory in the loop, and seconds of a step per pixel."""

    bytes: int
    seconds: float


def costs(groups: Sequence[Group], params: Params) -> list[Cost]:
    """Cost of a picture of each group.

    One small program per configuration is compiled and timed; the compiler's own analysis
    of its memory is scaled by pixels.
    """
    measured: dict[Hashable, tuple[float, float]] = {}
    found = []
    for group in groups:
        key = tuple(group.config.static_key.items())
        if key not in measured:
            side = min(group.config.size, 128)
            bytes_, seconds = measure_step(params, group.config, (side, side))
            measured[key] = bytes_ / side**2, seconds / side**2
        per_pixel, seconds = measured[key]
        found.append(Cost(int(per_pixel * math.prod(group.shape)), seconds))
    return found
