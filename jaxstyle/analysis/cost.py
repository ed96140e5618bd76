"""What a picture will take, before it is made: memory and time of a step of its descent."""

import math
import os
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxstyle import pyramid
from jaxstyle.config import StyleConfig
from jaxstyle.loop import programs
from jaxstyle.types import Params

# Pictures at once on a CPU, of up to so many pixels each: a step of each then takes 17 % less time
# than alone at 128x85, 5 % less at 256x171.
_CPU_TOGETHER, _CPU_PIXELS = 4, 256**2
# Edge of the square picture whose steps are timed. Smaller ones take longer for a pixel.
_TIMED = 256


class CostEstimate(NamedTuple):
    """What a picture takes.

    Attributes:
      levels: sizes (height, width) and steps.
      bytes: peak memory of a step's program, with its arguments; see `peak_process_bytes`.
      seconds: time of all steps, without compiling, reading and writing.
    """

    levels: list[tuple[tuple[int, int], int]]
    bytes: int
    seconds: float


def estimate_cost(
    params: Params, shape: tuple[int, int], config: StyleConfig, pixel_seconds: float
) -> CostEstimate:
    """What a picture of the proportions `shape` takes.

    The last level's program is compiled, not run: its memory is what the compiler says.

    Args:
      params: weights from `load_weights`.
      shape: height and width, in proportion.
      config: all options.
      pixel_seconds: from `time_pixel_step`.

    Raises:
      ValueError: the picture is too small for its layers.
    """
    levels = pyramid.levels(shape, config)
    lowered, arguments = lower_step(params, config, levels[-1][0])
    needed = compiled_bytes(lowered.compile()) + _size(arguments)
    return CostEstimate(levels, needed, pixel_seconds * pyramid.work(levels))


def time_pixel_step(params: Params, config: StyleConfig) -> float:
    """Seconds of a step for each pixel, of a small picture."""
    return measure_step(params, config, (_TIMED, _TIMED))[1] / _TIMED**2


def lower_step(
    params: Params, config: StyleConfig, shape: tuple[int, int], *, length: int = 32
) -> tuple[jax.stages.Lowered, tuple[Any, ...]]:
    """Program of a chunk of at most `length` steps at the size `shape`, and its arguments' shapes.

    Nothing is computed. The picture has one style, and no masks.
    """
    spec, method, rates = config.spec, config.optimizer_spec, programs.Hyperparams.of(config)
    image = jax.ShapeDtypeStruct((*shape, 3), jnp.float32)
    content = image if spec.content_layers or spec.laplacian else None
    seen = partial(programs.compute_style, spec=spec, shape=shape)
    measured = partial(programs.build_targets, masks=None, spec=spec, shape=shape)
    params = jax.eval_shape(partial(programs.transform_weights, spec=spec), params)
    styles = (jax.eval_shape(seen, params, image),)
    targets = jax.eval_shape(measured, params, content, styles, jnp.ones(1))
    first = partial(programs.init_state, method=method, batched=False)
    state = jax.eval_shape(first, image, rates)
    arguments = params, targets, rates, state, 1
    lowered = programs.run_steps.lower(*arguments, method=method, length=length, batched=False)
    return lowered, arguments


def measure_step(params: Params, config: StyleConfig, shape: tuple[int, int]) -> tuple[int, float]:
    """Bytes, and median seconds of three steps, at the size `shape`, of a black picture."""
    lowered, arguments = lower_step(params, config, shape)
    compiled, times = lowered.compile(), []
    arguments = jax.tree.map(_filled, arguments)
    for _ in range(4):
        began = time.perf_counter()
        jax.block_until_ready(compiled(*arguments))
        times.append(time.perf_counter() - began)
    return compiled_bytes(compiled), float(np.median(times[1:]))


def compiled_bytes(compiled: jax.stages.Compiled) -> int:
    """Memory of a program beside its arguments, by the compiler's analysis; 0 where it has none."""
    analysis: Any = compiled.memory_analysis()
    return analysis.temp_size_in_bytes + analysis.output_size_in_bytes if analysis else 0


def available_bytes() -> int:
    """Memory that a device still has for programs: its own, or what the machine leaves."""
    stats = jax.local_devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = _read_bytes("/proc/meminfo", "MemAvailable:"), _read_bytes("/sys/fs/cgroup/memory.max")
    return min([free, *(limit for limit in limits if limit is not None)])


def max_batch_size(picture_bytes: int) -> int:
    """How many pictures that each take so much find room in the device's memory; at least one."""
    return max(1, int(0.8 * available_bytes() // max(picture_bytes, 1)))


def cpu_batch_size(shape: tuple[int, int]) -> int:
    """How many pictures of a height and width a CPU takes at once, whatever room it has."""
    return _CPU_TOGETHER if math.prod(shape) <= _CPU_PIXELS else 1


def peak_process_bytes() -> int:
    """Most memory this process has had so far, where it shares the programs': on a CPU."""
    if jax.default_backend() != "cpu" or sys.platform == "win32":
        return 0
    # `ru_maxrss` begins with what the process that started this one had.
    if own := _read_bytes("/proc/self/status", "VmHWM:"):
        return own
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def _read_bytes(path: str, word: str = "") -> int | None:
    """Bytes on the line of a system's file that starts with `word`; `None` without one."""
    try:
        (line,) = (s for s in Path(path).read_text().splitlines() if s.startswith(word))
        number, *unit = line.removeprefix(word).split()
        return int(number) * (1024 if unit else 1)
    except (OSError, ValueError):
        return None  # Another system, or no limit.


def _size(tree: Any) -> int:
    leaves = [leaf for leaf in jax.tree.leaves(tree) if hasattr(leaf, "dtype")]
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in leaves)


def _filled(leaf: Any) -> Any:
    """An array for a placeholder; of zeros, whose loss is finite. What is none stays."""
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return jnp.full(leaf.shape, leaf.dtype == bool, leaf.dtype)
    return leaf
