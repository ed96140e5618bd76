"""What a compiled step costs on an accelerator, read from the compiler's text.

Nothing is run: XLA compiles for the devices of `analysis.devices` without having them.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import jax
import numpy as np

from jaxstyle.analysis.cost import lower_step
from jaxstyle.analysis.devices import COMPILER_OPTIONS, DEVICES, check_device, describe_device
from jaxstyle.config import StyleConfig
from jaxstyle.options import BLOCKS, Precision, layers_up_to
from jaxstyle.types import Params

_HEADER = re.compile(r"^(ENTRY )?%?([\w.\-]+) .*\{\s*$")
_INSTRUCTION = re.compile(r"\s+(?:ROOT )?%([\w.\-]+) = (.*?) ([a-z\-]+)\((.*)")
_ARRAY = re.compile(r"(pred|bf16|[fsu]\d+)\[([\d,]*)\](?:\{([^}]*)\})?")
_NOT_RUN = {
    *("tuple", "get-tuple-element", "bitcast", "parameter", "constant", "after-all"),
    *("copy-done", "async-done", "slice-done", "partition-id"),
}
_COLLECTIVES = ("all-reduce", "all-gather", "all-to-all", "collective-permute", "reduce-scatter")
_LARGE_COPY = 1 << 20


class ProgramCost(NamedTuple):
    """What one step of a compiled program does.

    Attributes:
      kernels: number of operations that the device starts: fusions, library calls, copies;
        operations inside loops count once for each round.
      bytes: bytes moved between the device's memory and its chip. Fusions are assumed to read
        their operands once, or the slices that they use. Buffers in a TPU's on-chip memory do
        not count; the padding of tiles does.
      large_copies: number of copies and transposes of more than 1 MiB.
      collectives: number of operations among devices.
    """

    kernels: int
    bytes: int
    large_copies: int
    collectives: int


def compile_step(
    params: Params,
    config: StyleConfig,
    shape: tuple[int, int],
    device: str,
    *,
    batch: int = 1,
) -> jax.stages.Compiled:
    """Compile the program of a chunk of steps for a device that need not be there.

    Args:
      params: weights from `load_weights`.
      config: configuration of the run.
      shape: height and width of the level.
      device: a name from `DEVICES`.
      batch: number of images.

    Raises:
      ValueError: If the device is unknown, its compiler is missing, or it lacks the dtype.
    """
    check_device(device, config.dtype)
    # Winograd's convolutions are for CPUs.
    config = replace(config, conv="direct")
    sharding = jax.sharding.SingleDeviceSharding(describe_device(device))
    lowered, _ = lower_step(params, config, shape, batch=batch, sharding=sharding)
    return lowered.compile(compiler_options=COMPILER_OPTIONS[DEVICES[device].platform])


def read_cost(text: str) -> ProgramCost:
    """Read the cost of one step from the text of a compiled program.

    The step is the body of the outermost loop whose number of rounds is not known; without such
    a loop, the whole program.

    Args:
      text: `compiled.as_text()`.

    Example:
      >>> from jaxstyle.analysis.compiled import read_cost
      >>> text = '''
      ... ENTRY %main (a: f32[256,256]) -> f32[256,256] {
      ...   %a = f32[256,256]{1,0} parameter(0)
      ...   ROOT %b = f32[256,256]{1,0} copy(%a)
      ... }'''
      >>> read_cost(text)
      ProgramCost(kernels=1, bytes=524288, large_copies=0, collectives=0)
    """
    computations, entry = _split(text)
    types = {
        match[1]: match[2]
        for lines in computations.values()
        for line in lines
        if (match := _INSTRUCTION.match(line))
    }
    loops = [
        line for line in computations[entry] if " while(" in line and "known_trip_count" not in line
    ]
    step = _attribute(loops[-1], "body") if loops else entry
    kernels = moved = large_copies = collectives = 0
    for rounds, line in _walk(computations, step):
        match = _INSTRUCTION.match(line)
        assert match is not None
        _, result, operation, rest = match.groups()
        kernels += rounds
        if operation.endswith("-start"):
            # Between memory and chip: what arrives counts, once.
            number = min((_array_bytes(a) for a in _ARRAY.findall(result)[:2]), default=0)
        else:
            operands = _operands(rest)
            called = re.search(r"calls=%?([\w.\-]+)", line)
            sliced = _sliced_parameters(computations[called[1]]) if called else {}
            read = {o: _bytes(types.get(o, "")) for o in operands}
            read |= {o: min(read[o], sliced[i]) for i, o in enumerate(operands) if i in sliced}
            number = _bytes(result) + sum(read.values())
        moved += rounds * number
        is_copy = operation in ("copy", "transpose") or "transpose_fusion" in line.split("=")[0]
        large_copies += rounds * (is_copy and number > 2 * _LARGE_COPY)
        collectives += rounds * operation.startswith(_COLLECTIVES)
    return ProgramCost(kernels, moved, large_copies, collectives)


def count_flops(config: StyleConfig, shape: tuple[int, int]) -> int:
    """Return the floating-point operations of the convolutions in a step, for one image.

    Forward and for the image's gradient; a multiplication and an addition are two.

    Args:
      config: configuration of the run.
      shape: height and width of the level.
    """
    inputs, total = 3, 0
    for name in layers_up_to((*config.spec.content_layers, *config.spec.style_layers)):
        if name.startswith("conv"):
            block = int(name[4]) - 1
            outputs = BLOCKS[block][0]
            total += 2 * 2 * 9 * inputs * outputs * (math.prod(shape) // 4**block)
            inputs = outputs
    return total


def predict_seconds(
    cost: ProgramCost,
    flops: float,
    device: str,
    dtype: str,
    precision: Precision = "default",
) -> float:
    """Predict the seconds of a step by a roofline: a lower bound, never a measurement.

    The larger of computing at the published peak and moving the bytes at the published
    bandwidth, but at least the time to launch all kernels.

    Args:
      cost: result of `read_cost`.
      flops: operations of the step, for all images.
      device: a name from `DEVICES`.
      dtype: dtype of the features.
      precision: precision of the convolutions.
    """
    peaks = DEVICES[device]
    slowdown = peaks.slowdown.get(precision, 1.0) if dtype == "float32" else 1.0
    computing, moving = slowdown * flops / peaks.flops[dtype], cost.bytes / peaks.bandwidth
    return max(computing, moving, cost.kernels * peaks.launch_seconds)


def _split(text: str) -> tuple[dict[str, list[str]], str]:
    """Split a program into its computations; return them and the name of the first to run."""
    computations: dict[str, list[str]] = {}
    lines, entry = [], ""
    for line in text.splitlines():
        if (match := _HEADER.match(line)) and not line.startswith(" "):
            lines = computations.setdefault(match[2], [])
            entry = match[2] if match[1] else entry
        elif line.startswith("}"):
            lines = []
        else:
            lines.append(line)
    return computations, entry


def _walk(computations: dict[str, list[str]], name: str) -> Iterator[tuple[int, str]]:
    """Yield what a computation runs, with the number of rounds."""
    for line in computations[name]:
        match = _INSTRUCTION.match(line)
        if match is None or match[3] in _NOT_RUN:
            continue
        if match[3] == "while":
            count = re.search(r'known_trip_count":\{"n":"(\d+)"', line)
            for rounds, inner in _walk(computations, _attribute(line, "body")):
                yield rounds * int(count[1] if count else 1), inner
        elif match[3] in ("call", "conditional"):
            for called in re.findall(r"(?:to_apply|calls)=%?([\w.\-]+)", line):
                yield from _walk(computations, called)
        else:
            yield 1, line


def _operands(rest: str) -> list[str]:
    """Return the names of operands, from what follows the opening parenthesis."""
    return re.findall(r"%([\w.\-]+)", rest.split("), ")[0])


def _sliced_parameters(lines: list[str]) -> dict[int, int]:
    """Return the bytes read of each parameter of a fusion that reads only slices of it."""
    users: dict[str, list[tuple[str, int]]] = {}
    numbers = {}
    for match in filter(None, map(_INSTRUCTION.match, lines)):
        name, result, operation, rest = match.groups()
        if operation == "parameter":
            numbers[name] = int(rest.split(")")[0])
        for operand in _operands(rest):
            users.setdefault(operand, []).append((operation, _bytes(result)))
    return {
        number: sum(size for _, size in users[name])
        for name, number in numbers.items()
        if name in users and all(operation == "slice" for operation, _ in users[name])
    }


def _attribute(line: str, name: str) -> str:
    match = re.search(rf"{name}=%?([\w.\-]+)", line)
    assert match is not None, line
    return match[1]


def _bytes(types: str) -> int:
    """Return the bytes of all arrays in a type that are in the device's memory."""
    return sum(_array_bytes(a) for a in _ARRAY.findall(types) if not re.search(r"S\(\d", a[2]))


def _array_bytes(array: tuple[str, str, str]) -> int:
    """Return the bytes of an array, with its last axes padded to the tile of its layout."""
    dtype, sizes, layout = array
    shape = [int(size) for size in sizes.split(",") if size]
    bits = int(re.sub(r"\D", "", dtype) or 8)
    tile = re.search(r"T\(([\d,]+)\)", layout)
    order = [int(axis) for axis in layout.split(":")[0].split(",") if axis.isdigit()]
    if tile and len(order) == len(shape):
        shape = [shape[axis] for axis in reversed(order)]
        sides = [int(side) for side in tile[1].split(",")][-len(shape) :] if shape else []
        for i, side in enumerate(reversed(sides), start=1):
            shape[-i] = -(-shape[-i] // side) * side
    return int(np.prod(shape, dtype=np.int64)) * bits // 8
