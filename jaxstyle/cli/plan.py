"""`jaxstyle plan`: memory and time of runs, here or on an accelerator that is not there."""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass

import jax

from jaxstyle import pyramid
from jaxstyle.analysis.cost import estimate_cost, time_pixel_step
from jaxstyle.analysis.devices import DEVICES, check_device, describe_device
from jaxstyle.analysis.forecast import (
    CompiledStep,
    Forecast,
    forecast,
    measure_compiled,
    recorded_step,
)
from jaxstyle.analysis.memory import (
    available_bytes,
    check_memory,
    fit_tile,
    least_bytes,
    peak_process_bytes,
    tile_work,
)
from jaxstyle.cli.context import Options, RunContext
from jaxstyle.config import StyleConfig
from jaxstyle.errors import ExitCode, is_out_of_memory
from jaxstyle.reporting import Reporter
from jaxstyle.types import Params

# On a CPU, convolutions use packing buffers that the compiler's memory analysis leaves out.
_PACKING_FACTOR = 1.1
_MAX_FIRST_SIZE = 2048
# Number of images in the programs that are compiled for accelerators.
_BATCH = 8

Run = tuple[StyleConfig, tuple[int, int]]
"""A configuration, and height and width of its result."""


@dataclass(frozen=True, kw_only=True)
class PlanOptions(Options):
    """Options of `jaxstyle plan`.

    Attributes:
      device: name of an accelerator that need not be there, or `None` for this machine.
      price: price of one such device per hour.
    """

    device: str | None = None
    price: float | None = None


def plan(options: PlanOptions, runs: list[Run]) -> int:
    """Print the memory and time of runs.

    Raises:
      ValueError: the device is unknown or lacks the dtype, or the price is negative.
    """
    if options.device is None and options.price is not None:
        raise ValueError("`--price` needs `--device`; it is the price of one device per hour.")
    if options.price is not None and not 0 <= options.price < float("inf"):
        raise ValueError(f"`--price` is {options.price}; it must be a number of at least 0.")
    with options.reporter() as reporter:
        if options.device is None:
            _plan_here(options, runs, reporter)
        else:
            check_device(options.device, runs[0][0].dtype)
            _plan_device(options.device, options, runs, reporter)
    return ExitCode.OK


def _plan_here(options: PlanOptions, runs: list[Run], reporter: Reporter) -> None:
    params = RunContext.load(options).params
    # Compile once first, to measure the memory of a process that has run no step.
    config, shape = runs[0]
    first = dataclasses.replace(config, size=min(config.size, _MAX_FIRST_SIZE))
    estimate_cost(params, shape, first, 0.0)
    process_bytes = peak_process_bytes()
    pixel_seconds = time_pixel_step(params, config)
    device, free = jax.devices()[0].device_kind, available_bytes()
    header = f"{'result':>11} {'steps':>6} {'memory':>9} {'time':>8}"
    about = f"({device}, {free / 2**30:.1f} GiB free)"
    reporter.row(f"{header}   {about}", device=device, free_bytes=free)
    for config, (height, width) in runs:
        config = fit_tile((height, width), config)
        levels = pyramid.levels((height, width), config)
        work = (tile_work(size, config) * pyramid.work([(size, n)]) for size, n in levels)
        steps, seconds = _count(levels), pixel_seconds * sum(work)
        try:
            check_memory((height, width), config)
        except ValueError:
            # Far too large to compile.
            need, note = least_bytes((height, width), config), "too large"
        else:
            need = estimate_cost(params, (height, width), config, pixel_seconds).bytes
            need = int(process_bytes + _PACKING_FACTOR * need) if process_bytes else need
            note = f"in tiles of {config.tile}" if config.tile else ""
        reporter.row(
            f"{width:>6}x{height:<4} {steps:>6} {need / 2**30:>5.2f} GiB "
            f"{seconds / 60:>4.1f} min  {note}".rstrip(),
            width=width,
            height=height,
            steps=steps,
            bytes=need,
            seconds=seconds,
        )


def _plan_device(device: str, options: PlanOptions, runs: list[Run], reporter: Reporter) -> None:
    """Plan for an accelerator: compile for it if its compiler is installed."""
    try:
        describe_device(device)
    except ValueError:
        step = recorded_step(*runs[0], device)
        params, source = None, f"recorded with jax {step.jax} for {step.loss}"
    else:
        params = RunContext.load(options).params
        minutes = "minutes" if DEVICES[device].platform == "tpu" else "seconds"
        source = f"compiled with jax {jax.__version__}, which takes {minutes} per size"
    gib = DEVICES[device].memory / 2**30
    header = f"{'result':>11} {'steps':>6} {'memory':>9} {'at once':>8} {'time':>9}"
    header += f" {'price of 1000':>14}" if options.price is not None else ""
    about = f"({device}, {gib:.0f} GiB; predicted, {source})"
    reporter.row(f"{header}   {about}", device=device, source=source, predicted=True)
    for config, shape in runs:
        if params is None:
            step = recorded_step(config, shape, device)
        else:
            config = fit_tile(shape, config, DEVICES[device].memory)
            step = _compile(params, config, shape, device)
        nothing = Forecast(least_bytes(shape, config), 0, 0.0)
        need, at_once, seconds = forecast(step, config, shape) if step else nothing
        steps, (height, width) = _count(pyramid.levels(shape, config)), shape
        row = f"{width:>6}x{height:<4} {steps:>6} {need / 2**30:>5.2f} GiB"
        fields = {"width": width, "height": height, "steps": steps, "bytes": need}
        if not at_once:
            reporter.row(f"{row} {0:>8}  too large", **fields, images_at_once=0)
            continue
        fields |= {"images_at_once": at_once, "seconds": seconds}
        row += f" {at_once:>8} {seconds:>7.2f} s"
        if options.price is not None:
            fields["price_of_1000"] = 1000 * seconds / 3600 * options.price
            row += f" {fields['price_of_1000']:>14.3f}"
        reporter.row(row, **fields)


def _compile(
    params: Params, config: StyleConfig, shape: tuple[int, int], device: str
) -> CompiledStep | None:
    """Compile for as many images as fit, at most 8; `None` if not even one fits."""
    fitting = DEVICES[device].memory // max(1, least_bytes(shape, config))
    batch = min(1 if config.tile else _BATCH, fitting)
    while batch:
        try:
            return measure_compiled(params, config, shape, device, batch=batch)
        except Exception as error:
            # A TPU's compiler refuses what does not fit.
            if not is_out_of_memory(error):
                raise
            batch //= 2
    return None


def _count(levels: Iterable[tuple[tuple[int, int], int]]) -> int:
    return sum(steps for _, steps in levels)
