"""Memory and time of runs on accelerators that are not there.

The numbers of a step come from a program compiled for the device, or from a table of such
programs that is part of the package. Times are predictions from published peaks.
"""

import json
import math
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax

from jaxstyle import pyramid
from jaxstyle.analysis.compiled import (
    ProgramCost,
    compile_step,
    count_flops,
    predict_seconds,
    read_cost,
)
from jaxstyle.analysis.devices import DEVICES, check_device
from jaxstyle.analysis.memory import BATCH_MEMORY
from jaxstyle.config import StyleConfig
from jaxstyle.options import layers_up_to
from jaxstyle.types import Params
from jaxstyle.vgg19 import PARAM_SHAPES

TABLE = Path(__file__).with_name("compiled_steps.json")
"""The recorded table, written by `scripts/bench_compiled.py`."""

# JAX takes three quarters of a GPU's memory, and all of a TPU's.
_ALLOCATED = {"cuda": 0.75, "tpu": 1.0}


class CompiledStep(NamedTuple):
    """A step compiled for a device.

    Attributes:
      device: name from `devices.DEVICES`.
      loss: `StyleConfig.style_loss`.
      height: height of the level in pixels.
      width: width of the level in pixels.
      batch: number of images.
      dtype: dtype of the features.
      temporaries: memory for intermediate results, in bytes.
      arguments: memory of weights, targets and state, in bytes.
      kernels: see `compiled.ProgramCost`.
      bytes: see `compiled.ProgramCost`.
      large_copies: see `compiled.ProgramCost`.
      collectives: see `compiled.ProgramCost`.
      compile_seconds: time that compiling took.
      jax: version of JAX.
    """

    device: str
    loss: str
    height: int
    width: int
    batch: int
    dtype: str
    temporaries: int
    arguments: int
    kernels: int
    bytes: int
    large_copies: int
    collectives: int
    compile_seconds: float
    jax: str

    @property
    def cost(self) -> ProgramCost:
        """What the step does."""
        return ProgramCost(self.kernels, self.bytes, self.large_copies, self.collectives)


class Forecast(NamedTuple):
    """What a run needs on a device.

    Attributes:
      bytes: memory of the run for one image.
      images_at_once: number of images that a batch computes together; 0 if not even one fits.
      seconds: predicted time of all steps, per image, in batches of that size. It is a lower
        bound: compiling, transfers and files are not included.
    """

    bytes: int
    images_at_once: int
    seconds: float


def measure_compiled(
    params: Params, config: StyleConfig, shape: tuple[int, int], device: str, *, batch: int
) -> CompiledStep:
    """Compile a step and read what it costs; arguments and errors are those of `compile_step`."""
    began = time.perf_counter()
    compiled = compile_step(params, config, shape, device, batch=batch)
    seconds = time.perf_counter() - began
    cost = read_cost(compiled.as_text() or "")
    memory: Any = compiled.memory_analysis()
    return CompiledStep(
        *(device, config.style_loss, *shape, batch, config.dtype),
        *(memory.temp_size_in_bytes, memory.argument_size_in_bytes),
        *cost,
        compile_seconds=round(seconds, 1),
        jax=jax.__version__,
    )


def recorded_step(config: StyleConfig, shape: tuple[int, int], device: str) -> CompiledStep:
    """Return the step of the table that is nearest to a run in size, with the most images.

    Args:
      config: configuration of the run. Of its losses, only `style_loss` is looked up; one that
        is not in the table is taken for `wasserstein`.
      shape: height and width of the level.
      device: a name from `DEVICES`.

    Raises:
      ValueError: If the device is unknown or lacks the dtype, or if the table has no step for it.
    """
    check_device(device, config.dtype)
    steps = [s for s in read_table() if (s.device, s.dtype) == (device, config.dtype)]
    loss = config.style_loss if any(s.loss == config.style_loss for s in steps) else "wasserstein"
    steps = [s for s in steps if s.loss == loss]
    if not steps:
        raise ValueError(
            f"no step was recorded for {device} and {config.dtype}; "
            f"pip install 'jaxstyle[{DEVICES[device].platform}]' compiles one."
        )

    def distance(step: CompiledStep) -> tuple[float, int]:
        ratio = math.prod(shape) / (step.height * step.width)
        return abs(math.log(ratio)), -step.batch

    return min(steps, key=distance)


def read_table(path: Path = TABLE) -> list[CompiledStep]:
    """Read a table of steps from a JSON file."""
    return [CompiledStep(**row) for row in json.loads(path.read_text())]


def forecast(step: CompiledStep, config: StyleConfig, shape: tuple[int, int]) -> Forecast:
    """Forecast a run from a compiled step, which may have another size or number of images.

    Memory and traffic grow with the number of pixels; the number of kernels stays the same.

    Args:
      step: a step from `measure_compiled` or `recorded_step`.
      config: configuration of the run.
      shape: height and width of the result.
    """
    device, weights_bytes = DEVICES[step.device], _weights_bytes(config)
    per_pixel = 1 / (step.batch * step.height * step.width)
    pixel_bytes = per_pixel * (step.temporaries + max(step.arguments - weights_bytes, 0))
    image_bytes = pixel_bytes * math.prod(shape)
    usable = BATCH_MEMORY * _ALLOCATED[device.platform] * device.memory - weights_bytes
    at_once = max(0, int(usable // image_bytes))
    batch, seconds = max(1, at_once), 0.0
    for size, steps in pyramid.levels(shape, config):
        pixels = batch * math.prod(size)
        cost = step.cost._replace(bytes=int(pixels * per_pixel * step.bytes))
        flops = batch * count_flops(config, size)
        step_seconds = predict_seconds(cost, flops, step.device, config.dtype, config.precision)
        seconds += steps * step_seconds / batch
    return Forecast(int(weights_bytes + image_bytes), at_once, seconds)


def _weights_bytes(config: StyleConfig) -> int:
    """Return the memory of the weights up to the deepest layer, which all images share."""
    layers = layers_up_to((*config.spec.content_layers, *config.spec.style_layers))
    used = (PARAM_SHAPES[name] for name in layers if name in PARAM_SHAPES)
    return 4 * sum(math.prod(shape) for shapes in used for shape in shapes.values())
