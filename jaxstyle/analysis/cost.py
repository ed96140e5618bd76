"""Estimates of the memory and time that a run needs, made before it starts.

Memory comes from the compiler's analysis of one step; time comes from timing a few steps on
a small image.
"""

import dataclasses
import math
import time
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxstyle import pyramid
from jaxstyle.analysis.memory import tree_bytes
from jaxstyle.config import StyleConfig
from jaxstyle.loop import programs
from jaxstyle.loop.placement import Placement
from jaxstyle.types import Params

# On a CPU, batching makes a step faster only for small images.
_CPU_BATCH_SIZE, _CPU_MAX_PIXELS = 4, 256**2
# Edge of the square image whose steps are timed. Smaller images take more time per pixel.
_TIMED_SIZE = 256


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
    peak_bytes = compiled_bytes(lowered.compile()) + tree_bytes(arguments)
    return CostEstimate(levels, peak_bytes, pixel_seconds * pyramid.work(levels))


def time_pixel_step(params: Params, config: StyleConfig) -> float:
    """Return the seconds per step and pixel, measured on an image of 256x256 pixels."""
    config = dataclasses.replace(config, tile=0)
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
      sharding: where the arrays would be: on a device of `describe_device`, or how images and
        their rows would be split over devices, see `Placement`.

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
        place = Placement(sharding, batch > 1)
        describe = partial(jax.tree.map, partial(_describe, lead=lead))
        params, count = place.replicate(jax.tree.map(_describe, (params, 1)))
        targets, hyperparams, state = map(describe, (targets, hyperparams, state))
        placed = place.put_targets(targets), place.put(hyperparams), place.put_images(state)
        arguments = params, *placed, count
    lowered = programs.run_steps.lower(
        *arguments, optimizer_spec=config.optimizer_spec, length=length, batched=batch > 1
    )
    return lowered, arguments


def _describe(leaf: Any, lead: tuple[int, ...] = ()) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((*lead, *np.shape(leaf)), jnp.result_type(leaf))


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


def cpu_batch_size(shape: tuple[int, int]) -> int:
    """Return the batch size that is fastest on a CPU; memory is not considered.

    Args:
      shape: height and width of the images.

    Example:
      >>> cpu_batch_size((128, 192)), cpu_batch_size((512, 512))
      (4, 1)
    """
    return _CPU_BATCH_SIZE if math.prod(shape) <= _CPU_MAX_PIXELS else 1
