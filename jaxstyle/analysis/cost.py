"""Estimates of the memory and time that a run needs, made before it starts.

Memory comes from the compiler's analysis of one step; time comes from timing a few steps on
a small image.
"""

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
from jaxstyle.options import BLOCKS, layers_up_to
from jaxstyle.types import Params

# On a CPU, batching makes a step faster only for small images.
_CPU_BATCH_SIZE, _CPU_MAX_PIXELS = 4, 256**2
# Edge of the square image whose steps are timed. Smaller images take more time per pixel.
_TIMED_SIZE = 256


BATCH_MEMORY = 0.8
"""Share of the free memory that a batch may fill, by the compiler's numbers."""


class CostEstimate(NamedTuple):
    """Memory and time that one result needs.

    Attributes:
      levels: size (height, width) and number of steps of each level, coarse to fine.
      bytes: peak memory of the compiled step and its arguments, in bytes. The memory of the
        process itself is not included; see `peak_process_bytes`.
      seconds: time of all steps. Compilation and file access are not included.
    """

    levels: list[tuple[tuple[int, int], int]]
    bytes: int
    seconds: float


def estimate_cost(
    params: Params, shape: tuple[int, int], config: StyleConfig, pixel_seconds: float
) -> CostEstimate:
    """Estimate the memory and time that one result needs.

    The step of the last level is compiled but not run; its memory is taken from the
    compiler's analysis.

    Args:
      params: weights from `load_weights`.
      shape: height and width of the content image; only their ratio is used.
      config: configuration of the run.
      pixel_seconds: seconds per step and pixel, from `time_pixel_step`.

    Raises:
      ValueError: the result is too small for its layers.
    """
    levels = pyramid.levels(shape, config)
    lowered, arguments = lower_step(params, config, levels[-1][0])
    peak_bytes = compiled_bytes(lowered.compile()) + _tree_bytes(arguments)
    return CostEstimate(levels, peak_bytes, pixel_seconds * pyramid.work(levels))


def time_pixel_step(params: Params, config: StyleConfig) -> float:
    """Return the seconds per step and pixel, measured on an image of 256x256 pixels."""
    _, seconds = measure_step(params, config, (_TIMED_SIZE, _TIMED_SIZE))
    return seconds / _TIMED_SIZE**2


def lower_step(
    params: Params,
    config: StyleConfig,
    shape: tuple[int, int],
    *,
    length: int = 32,
    batch: int = 1,
    sharding: jax.sharding.Sharding | None = None,
) -> tuple[jax.stages.Lowered, tuple[Any, ...]]:
    """Lower the program of a chunk of steps for one style image without masks.

    No array is computed.

    Args:
      params: weights from `load_weights`.
      config: configuration of the run.
      shape: height and width of the level.
      length: largest number of steps in the chunk.
      batch: number of images.
      sharding: where the arrays would be, e.g. on a device of `describe_device`.

    Returns:
      The lowered program and its arguments, with a `jax.ShapeDtypeStruct` for each array.
    """
    spec, hyperparams = config.spec, programs.Hyperparams.of(config)
    image = jax.ShapeDtypeStruct((*shape, 3), jnp.float32)
    content = image if spec.content_layers or spec.laplacian else None
    compute_style = partial(programs.compute_style_statistics, spec=spec, shape=shape)
    build_targets = partial(programs.build_targets, masks=None, spec=spec, shape=shape)
    params = jax.eval_shape(partial(programs.transform_weights, spec=spec), params)
    styles = (jax.eval_shape(compute_style, params, image),)
    targets = jax.eval_shape(build_targets, params, content, styles, jnp.ones(1))
    init_state = partial(programs.init_state, optimizer_spec=config.optimizer_spec, batched=False)
    state = jax.eval_shape(init_state, image, hyperparams)
    arguments = params, targets, hyperparams, state, 1
    if batch > 1 or sharding is not None:
        lead = (batch,) if batch > 1 else ()
        at = partial(_describe, sharding=sharding)
        images = jax.tree.map(partial(at, lead=lead), (targets, hyperparams, state))
        arguments = jax.tree.map(at, params), *images, at(1)
    lowered = programs.run_steps.lower(
        *arguments, optimizer_spec=config.optimizer_spec, length=length, batched=batch > 1
    )
    return lowered, arguments


def _describe(
    leaf: Any, lead: tuple[int, ...] = (), sharding: jax.sharding.Sharding | None = None
) -> jax.ShapeDtypeStruct:
    shape, dtype = (*lead, *np.shape(leaf)), jnp.result_type(leaf)
    return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)


def to_arrays(tree: Any) -> Any:
    """Replace each `jax.ShapeDtypeStruct` by an array whose loss is finite: zeros, or `True`."""

    def to_array(leaf: Any) -> Any:
        if isinstance(leaf, jax.ShapeDtypeStruct):
            return jnp.full(leaf.shape, leaf.dtype == bool, leaf.dtype)
        return leaf

    return jax.tree.map(to_array, tree)


def measure_step(params: Params, config: StyleConfig, shape: tuple[int, int]) -> tuple[int, float]:
    """Measure one step on a black image.

    Returns:
      Memory of the compiled step in bytes, and the median time of three steps in seconds.
    """
    lowered, arguments = lower_step(params, config, shape)
    compiled, times = lowered.compile(), []
    arguments = to_arrays(arguments)
    for _ in range(4):
        began = time.perf_counter()
        jax.block_until_ready(compiled(*arguments))
        times.append(time.perf_counter() - began)
    return compiled_bytes(compiled), float(np.median(times[1:]))


def compiled_bytes(compiled: jax.stages.Compiled) -> int:
    """Return the memory of a program's outputs and temporaries, in bytes.

    The number is from the compiler's analysis; it is 0 where the backend offers none.
    """
    analysis: Any = compiled.memory_analysis()
    return analysis.temp_size_in_bytes + analysis.output_size_in_bytes if analysis else 0


def available_bytes() -> int:
    """Return the free memory of the first device, in bytes.

    For a device without memory statistics, such as a CPU, this is the free memory of the
    machine or of its control group, whichever is smaller.
    """
    stats = jax.local_devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"] - stats.get("bytes_in_use", 0)
    return min(total_bytes(), _read_bytes("/proc/meminfo", "MemAvailable:") or sys.maxsize)


def total_bytes() -> int:
    """Return the memory of the first device, in bytes; of the machine if the device shares it.

    It is `sys.maxsize` where the system does not tell.
    """
    stats = jax.local_devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return stats["bytes_limit"]
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError):
        return sys.maxsize  # Windows
    return min(total, _read_bytes("/sys/fs/cgroup/memory.max") or total)


def least_bytes(shape: tuple[int, int], config: StyleConfig) -> int:
    """Return the memory that the features up to the deepest layer take, in bytes.

    A step needs at least this much. Nothing is compiled.

    Args:
      shape: height and width of the result.
      config: configuration of the run.

    Example:
      Two convolutions with 64 channels each:

      >>> from jaxstyle import StyleConfig
      >>> from jaxstyle.analysis.cost import least_bytes
      >>> config = StyleConfig(style_layers=("relu1_2",), content_layers=())
      >>> least_bytes((100, 100), config) == 100 * 100 * 2 * 64 * 4
      True
    """
    layers = layers_up_to((*config.spec.content_layers, *config.spec.style_layers))
    convolutions = (int(name[4]) - 1 for name in layers if name.startswith("conv"))
    values = sum(math.prod(shape) * BLOCKS[block][0] // 4**block for block in convolutions)
    return values * jnp.dtype(config.dtype).itemsize


def check_memory(shape: tuple[int, int], config: StyleConfig) -> str:
    """Check that a run can fit into memory, before anything is read or compiled.

    Args:
      shape: height and width of the result.
      config: configuration of the run.

    Returns:
      A warning if the run probably does not fit, else nothing.

    Raises:
      ValueError: the features alone take more than twice the memory of the device.
    """
    least = least_bytes(shape, config)
    total, free = total_bytes(), available_bytes()
    size = f"a result of {shape[1]}x{shape[0]} needs over {_gib(least)}"
    if least > 2 * total:
        raise ValueError(f"{size}, and there are {_gib(total)}; choose a smaller `--size`.")
    if least > free:
        return f"{size}, and {_gib(free)} are free; it may run out of memory."
    return ""


def _gib(number: int) -> str:
    return f"{number / 2**30:,.1f} GiB"


def max_batch_size(picture_bytes: int) -> int:
    """Return how many images fit into `BATCH_MEMORY` of the device's free memory; at least 1.

    Args:
      picture_bytes: memory that one image needs, in bytes.
    """
    return max(1, int(BATCH_MEMORY * available_bytes() // max(picture_bytes, 1)))


def cpu_batch_size(shape: tuple[int, int]) -> int:
    """Return the batch size that is fastest on a CPU; memory is not considered.

    Args:
      shape: height and width of the images.

    Example:
      >>> cpu_batch_size((128, 192)), cpu_batch_size((512, 512))
      (4, 1)
    """
    return _CPU_BATCH_SIZE if math.prod(shape) <= _CPU_MAX_PIXELS else 1


def peak_process_bytes() -> int:
    """Return the peak memory of this process so far, in bytes.

    The result is 0 on GPUs and TPUs, whose programs use device memory, and on Windows.
    """
    if jax.default_backend() != "cpu" or sys.platform == "win32":
        return 0
    # On Linux `ru_maxrss` includes the peak of the parent process; VmHWM does not.
    if peak_bytes := _read_bytes("/proc/self/status", "VmHWM:"):
        return peak_bytes
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def _read_bytes(path: str, word: str = "") -> int | None:
    """Return the number of bytes on the line of a system file that starts with `word`.

    Returns `None` if the file or the line is missing, or if the line holds no number.
    """
    try:
        (line,) = (s for s in Path(path).read_text().splitlines() if s.startswith(word))
        number, *unit = line.removeprefix(word).split()
        return int(number) * (1024 if unit else 1)
    except (OSError, ValueError):
        return None  # Not Linux, or no limit is set.


def _tree_bytes(tree: Any) -> int:
    """Return the size of all arrays of a pytree, in bytes."""
    leaves = [leaf for leaf in jax.tree.leaves(tree) if hasattr(leaf, "dtype")]
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in leaves)
