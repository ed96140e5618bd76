"""How a batch is grouped: jobs that one compiled program can do, and how many at once."""

import math
import os
import time
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

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
      batch: number of pictures at once.
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
    for size in range(min(count, limit), 1, -1):
        if -(-count // size) * size - count <= _PADDING * count:
            return size
    return 1


def size_batches(
    groups: Sequence[Group], params: Params, limit: int | None = None
) -> tuple[list[Group], float]:
    """Groups with their batch sizes, and seconds per pixel and step.

    One small program per configuration is compiled and timed. The compiler's own analysis
    of its memory, per pixel, says how many pictures fit into the device's memory.

    Args:
      groups: from `make_groups`.
      params: weights from `load_weights`.
      limit: batch size to use instead, where the group is large enough.
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
        sized.append(replace(group, batch=batch_size(len(group.jobs), most), bytes=need))
    return sized, seconds


def _measure(params: Params, config: StyleConfig) -> tuple[float, float]:
    """Bytes per pixel, and seconds per pixel and step, of a small picture."""
    side = min(config.size, 128)
    args, keywords = abstract_advance(params, config, (side, side))
    compiled = programs.advance.lower(*args, **keywords).compile()
    analysis = compiled.memory_analysis()
    # Some backends have no such analysis.
    bytes_ = analysis.temp_size_in_bytes + analysis.output_size_in_bytes if analysis else 0
    params_, *rest = args
    concrete = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), rest)
    times = []
    for _ in range(3):
        began = time.perf_counter()
        jax.block_until_ready(compiled(params_, *concrete))
        times.append(time.perf_counter() - began)
    return bytes_ / side**2, float(np.median(times)) / side**2


def abstract_advance(
    params: Params, config: StyleConfig, shape: tuple[int, int], batch: int = 1
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments of `programs.advance` for a batch of pictures, with shapes instead of arrays."""
    image = jax.ShapeDtypeStruct((*shape, 3), jnp.float32)
    blend = jax.ShapeDtypeStruct((1,), jnp.float32)
    spec, method = config.spec, config.method
    gram = jax.eval_shape(partial(programs.style, spec=spec, shape=shape), params, image)
    targets = jax.eval_shape(
        partial(programs.targets, spec=spec, shape=shape), params, image, (gram,), blend, None
    )
    rates = jax.tree.map(
        jnp.asarray, programs.Rates(config.weights, config.learning_rate, config.average)
    )
    first = partial(programs.first_state, method=method, batched=False)
    state = jax.eval_shape(first, image, rates)
    lead = lambda leaf: jax.ShapeDtypeStruct((batch, *leaf.shape), leaf.dtype)  # noqa: E731
    targets, rates, state = (jax.tree.map(lead, tree) for tree in (targets, rates, state))
    steps = jax.ShapeDtypeStruct((), jnp.int32)
    return (params, targets, rates, state, steps), {"method": method, "length": 32, "batched": True}


def memory_bytes() -> int:
    """Memory that a batch may use: the device's, or what the machine and its limits leave."""
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
