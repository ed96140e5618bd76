"""The memory of a device, and what of it a run needs at least; tiles for what does not fit."""

import dataclasses
import math
import os
import sys
from functools import cache, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from jaxstyle.config import StyleConfig
from jaxstyle.loop import programs
from jaxstyle.losses import style_sums
from jaxstyle.options import BLOCKS, halo_of, layers_of, layers_up_to, split_term
from jaxstyle.pyramid import ROW_UNIT, round_rows
from jaxstyle.spec import OptimizerSpec
from jaxstyle.tiles import Axis, split_axis, stride_of

BATCH_MEMORY = 0.8
"""Share of the free memory that a step or a batch may fill, by the numbers of this module."""

# Memory of a step's features, in multiples of `least_bytes`.
_FEATURES_FACTOR = 2.1
# Kernels in other layouts, and the matrices of the statistics.
_MATRIX_BYTES = 2**27
# Sizes of tiles to choose from. Half the size takes about 1.3 times as long.
_TILES = (1024, 768, 512, 384, 256, 192, 128, 96, 80, 64, 48, 32, 16)


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

    A step needs at least this much, or as much for one tile. Nothing is compiled.

    Args:
      shape: height and width of the result.
      config: configuration of the run.

    Example:
      Two convolutions with 64 channels each:

      >>> from jaxstyle import StyleConfig
      >>> from jaxstyle.analysis.memory import least_bytes
      >>> config = StyleConfig(style_layers=("relu1_2",), content_layers=())
      >>> least_bytes((100, 100), config) == 100 * 100 * 2 * 64 * 4
      True
    """
    layers = layers_up_to((*config.spec.content_layers, *config.spec.style_layers))
    convolutions = (int(name[4]) - 1 for name in layers if name.startswith("conv"))
    area = math.prod(axis.window for axis in _split(shape, config))
    values = sum(area * BLOCKS[block][0] // 4**block for block in convolutions)
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
    least = least_bytes(shape, config) + (kept_bytes(shape, config) if config.tile else 0)
    total, free = total_bytes(), available_bytes()
    size = f"a result of {shape[1]}x{shape[0]} needs over {_gib(least)}"
    if least > 2 * total:
        raise ValueError(f"{size}, and there are {_gib(total)}; choose a smaller `--size`.")
    if least > free:
        return f"{size}, and {_gib(free)} are free; it may run out of memory."
    return ""


def kept_bytes(shape: tuple[int, int], config: StyleConfig) -> int:
    """Return the memory that a step needs besides the features of a tile, in bytes.

    These are the optimizer's state before a step, after it and in between, and the maps of layers
    that the losses need as a whole. The number is approximate, and nothing is compiled.

    Args:
      shape: height and width of the result.
      config: configuration of the run.
    """
    spec, area = config.spec, math.prod(shape)
    losses = {term: split_term(term)[0] or spec.style_loss for term in spec.style_layers}
    style = tuple(term for term, loss in losses.items() if style_sums(loss) is None)
    # Of a style layer, the map, its gradient, and what the loss makes of it.
    maps = [*layers_of(spec.content_layers), *(3 * layers_of(style))]
    values = sum(area * BLOCKS[int(layer[4]) - 1][0] // stride_of(layer) ** 2 for layer in maps)
    return _MATRIX_BYTES + 4 * int(area * _state_bytes(config.optimizer_spec)) + 4 * values


@cache
def _state_bytes(spec: OptimizerSpec) -> float:
    """Return the size of an optimizer's state, in bytes per pixel."""
    image, config = jax.ShapeDtypeStruct((64, 64, 3), jnp.float32), StyleConfig()
    init_state = partial(programs.init_state, optimizer_spec=spec, batched=False)
    state = jax.eval_shape(init_state, image, programs.Hyperparams.of(config))
    return tree_bytes(state) / 64**2


def step_bytes(shape: tuple[int, int], config: StyleConfig) -> int:
    """Estimate the memory of a step and its arguments, in bytes. Nothing is compiled.

    Args:
      shape: height and width of the result.
      config: configuration of the run.
    """
    return int(_FEATURES_FACTOR * least_bytes(shape, config)) + kept_bytes(shape, config)


def tile_work(shape: tuple[int, int], config: StyleConfig) -> float:
    """Return how many times as long a step takes as without tiles, approximately.

    Args:
      shape: height and width of the image.
      config: configuration of the run.

    Example:
      >>> from jaxstyle import StyleConfig
      >>> from jaxstyle.analysis.memory import tile_work
      >>> f"{tile_work((4096, 4096), StyleConfig(tile=512)):.2f}"
      '2.30'
    """
    rows, columns = _split(shape, config)
    seen = rows.window * len(rows.starts) * columns.window * len(columns.starts)
    # The windows overlap, and the features of all but a single one are computed again for the
    # gradient, which takes a third of a step.
    again = 4 / 3 if len(rows.starts) * len(columns.starts) > 1 else 1.0
    return again * seen / math.prod(shape)


def _split(shape: tuple[int, int], config: StyleConfig) -> tuple[Axis, Axis]:
    halo = halo_of((*config.spec.content_layers, *config.spec.style_layers))
    rows, columns = (split_axis(length, config.tile or 0, halo) for length in shape)
    return rows, columns


def count_row_devices(shape: tuple[int, int], config: StyleConfig) -> int:
    """Return over how many devices to split the rows of an image.

    Args:
      shape: height and width of the result.
      config: configuration of the run.

    Returns:
      The number of local devices if one is too small for the image, all together are not, and
      `config.tile` is open; else 1.
    """
    devices = jax.local_device_count()
    whole = dataclasses.replace(config, tile=0)
    need, free = step_bytes(shape, whole), BATCH_MEMORY * available_bytes()
    is_split = config.tile is None and devices > 1 and need > free >= need / devices
    is_even = round_rows(shape, devices)[0] % (ROW_UNIT * devices) == 0
    return devices if is_split and is_even else 1


def fit_tile(shape: tuple[int, int], config: StyleConfig, free: int | None = None) -> StyleConfig:
    """Choose the tiles of a configuration that leaves them open, by memory.

    Args:
      shape: height and width of the result.
      config: configuration of the run; unchanged if its `tile` is not `None`.
      free: free memory in bytes; that of the first device by default.

    Returns:
      The configuration with `tile` 0 if the whole image fits, else with the largest of a few sizes
      that fits, else with the smallest.
    """
    if config.tile is not None:
        return config
    free = available_bytes() if free is None else free
    sizes = [tile for tile in _TILES if config.least_tile <= tile < max(shape)]
    fitted = config
    for tile in (0, *sizes):
        fitted = dataclasses.replace(config, tile=tile)
        if step_bytes(shape, fitted) <= BATCH_MEMORY * free:
            break
    return fitted


def _gib(number: int) -> str:
    return f"{number / 2**30:,.1f} GiB"


def max_batch_size(picture_bytes: int) -> int:
    """Return how many images fit into `BATCH_MEMORY` of the device's free memory; at least 1.

    Args:
      picture_bytes: memory that one image needs, in bytes.
    """
    return max(1, int(BATCH_MEMORY * available_bytes() // max(picture_bytes, 1)))


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


def tree_bytes(tree: Any) -> int:
    """Return the size of all arrays of a pytree, in bytes."""
    leaves = [leaf for leaf in jax.tree.leaves(tree) if hasattr(leaf, "dtype")]
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in leaves)
