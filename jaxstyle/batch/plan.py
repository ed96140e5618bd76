"""How a batch is grouped: jobs that one compiled program can do, and how many at once."""

import math
import os
import time
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jaxstyle import programs, pyramid
from jaxstyle.batch.jobs import Job
from jaxstyle.config import StyleConfig
from jaxstyle.vgg19 import Params

MAX_DISTORTION = 0.05
"""Largest change of a picture's proportions while it is worked on."""

# Multiples that sides are snapped to, if the distortion allows: 32 is the size of a pixel
# behind five poolings, and what leaves few shapes.
_GRIDS = (32, 16, 8, 4, 2)
# Part of a batch that may be copies, made to fill it up to the group's one size.
_PADDING = 0.1
# On an accelerator, with memory for more, larger batches gain nothing measurable.
_LARGEST = 64


def snap(
    shape: Sequence[int], size: int, max_distortion: float = MAX_DISTORTION
) -> tuple[int, int]:
    """Height and width at which a picture of the shape `shape` is worked on.

    The long edge is `size`. The short edge is a multiple of the largest of 32, 16, 8, 4 and
    2 that changes the proportions by no more than `max_distortion`, else exact.
    """
    height, width = shape[:2]
    exact = size * min(height, width) / max(height, width)
    short = max(1, round(exact))
    for grid in _GRIDS:
        snapped = round(exact / grid) * grid
        if snapped and abs(snapped / exact - 1) <= max_distortion:
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
      bytes: memory that one picture takes in the loop, as the compiler says.
    """

    shape: tuple[int, int]
    config: StyleConfig
    jobs: tuple[int, ...]
    batch: int = 1
    bytes: int = 0

    @property
    def work(self) -> int:
        """Pixels times steps of one picture."""
        levels = pyramid.levels(self.shape, self.config)
        return sum(height * width * steps for (height, width), steps in levels)

    @property
    def compilations(self) -> int:
        """Programs of the descent: one per level."""
        return len(pyramid.levels(self.shape, self.config))


def make_groups(jobs: Iterable[tuple[int, Job, tuple[int, int]]]) -> list[Group]:
    """Jobs, given with index and size of their photograph, by shape and program."""
    groups: dict[Hashable, list[int]] = {}
    seen: dict[Hashable, tuple[tuple[int, int], StyleConfig]] = {}
    for index, job, size in jobs:
        shape = snap(size, job.config.size)
        program = tuple(job.config.program.items())
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


def size_batches(
    groups: Sequence[Group], params: Params, limit: int | None = None
) -> tuple[list[Group], float]:
    """Groups with their batch sizes, and seconds per pixel and step.

    One small program per configuration is compiled and timed. The compiler's own analysis
    of its memory, per pixel, says how many pictures fit into the device's memory.

    Args:
      groups: from `make_groups`.
      params: weights from `load_weights`.
      limit: pictures at once on a device to use instead, where the group is large enough.
    """
    measured: dict[Hashable, tuple[float, float]] = {}
    sized, seconds = [], 0.0
    for group in groups:
        key = tuple(group.config.program.items())
        if key not in measured:
            measured[key] = _measure(params, group.config)
        per_pixel, seconds = measured[key]
        need = int(per_pixel * math.prod(group.shape))
        fits = max(1, int(0.8 * memory_bytes() // max(need, 1)))
        most = limit or (1 if jax.default_backend() == "cpu" else min(fits, _LARGEST))
        # Every device takes as many as the others.
        devices = jax.local_device_count()
        each = batch_size(math.ceil(len(group.jobs) / devices), most)
        sized.append(replace(group, batch=devices * each, bytes=need))
    return sized, seconds


def _measure(params: Params, config: StyleConfig) -> tuple[float, float]:
    """Bytes per pixel, and seconds per pixel and step, of a small gray picture."""
    side = min(config.size, 128)
    spec, method = config.spec, config.method
    image = jnp.full((side, side, 3), 0.5)
    seen = programs.style(params, image, spec=spec, shape=(side, side))
    content = image if spec.content_layers else None
    blend = jnp.ones(1)
    targets = programs.targets(params, content, (seen,), blend, None, spec=spec, shape=(side, side))
    rates = programs.Rates.of(config)
    state = programs.first_state(image, rates, method=method, batched=False)
    trees = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], (targets, rates, state))
    one = programs.advance.lower(params, *trees, 1, method=method, length=32, batched=True)
    compiled = one.compile()
    analysis, times = compiled.memory_analysis(), []
    for _ in range(3):
        began = time.perf_counter()
        jax.block_until_ready(compiled(params, *trees, 1))
        times.append(time.perf_counter() - began)
    # Some backends have no such analysis.
    bytes_ = analysis.temp_size_in_bytes + analysis.output_size_in_bytes if analysis else 0
    return bytes_ / side**2, float(np.median(times)) / side**2


def memory_bytes() -> int:
    """Memory that a device's part of a batch may use: its own, or what the machine leaves."""
    stats = jax.devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    free = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for name, factor, word in (
        ("/proc/meminfo", 1024, "MemAvailable:"),
        ("/sys/fs/cgroup/memory.max", 1, ""),
    ):
        try:
            lines = Path(name).read_text().splitlines()
            (line,) = (line for line in lines if line.startswith(word))
            free.append(factor * int(line.removeprefix(word).split()[0]))
        except (OSError, ValueError, IndexError):
            continue  # Another system, or no limit.
    return min(free)
