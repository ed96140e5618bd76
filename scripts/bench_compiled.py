"""What a step costs on accelerators, compiled for them without having one.

    pip install '.[tpu]' && python scripts/bench_compiled.py --devices v5e v6e
    pip install '.[cuda]' && python scripts/bench_compiled.py --devices h100 a100 t4

The two compilers need an environment each. Prints a Markdown table and adds the steps to the table
of the package, which `jaxstyle plan --device` reads. A TPU's program takes two to four minutes on
two cores, a GPU's ten seconds. The times in the table are predictions from published peaks, not
measurements.
"""

import argparse
import json
import os
import sys
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax

import jaxstyle
from jaxstyle.analysis.compiled import count_flops, predict_seconds
from jaxstyle.analysis.devices import DEVICES
from jaxstyle.analysis.forecast import TABLE, CompiledStep, measure_compiled, read_table
from jaxstyle.errors import is_out_of_memory

COLUMNS = (
    *("device", "loss", "size", "batch", "dtype", "temporaries, GiB", "arguments, GiB"),
    *("kernels", "GB/image", "large copies", "collectives", "predicted ms/image", "compiling, s"),
)


def describe(step: CompiledStep) -> str:
    """Return a row of the Markdown table."""
    flops = step.batch * count_flops(jaxstyle.StyleConfig(), (step.height, step.width))
    seconds = predict_seconds(step.cost, flops, step.device, step.dtype) / step.batch
    cells = (
        *(step.device, step.loss, step.height, step.batch, step.dtype),
        *(f"{step.temporaries / 2**30:.2f}", f"{step.arguments / 2**30:.2f}", step.kernels),
        *(f"{step.bytes / step.batch / 1e9:.2f}", step.large_copies, step.collectives),
        *(f"{1e3 * seconds:.2f}", f"{step.compile_seconds:.0f}"),
    )
    return f"| {' | '.join(map(str, cells))} |"


def main() -> None:
    """Compile all combinations of the arguments."""
    parser = argparse.ArgumentParser(description="Compile a step for accelerators.")
    parser.add_argument("--devices", nargs="+", default=["v5e"], choices=DEVICES)
    parser.add_argument("--losses", nargs="+", default=["wasserstein", "gram", "mean_std"])
    parser.add_argument("--sizes", nargs="+", type=int, default=[512, 1024])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8, 32])
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--json", type=Path, default=TABLE, help="table to add the steps to")
    args = parser.parse_args()
    print(f"jax {jax.__version__}, Python {sys.version.split()[0]}\n")
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    params = jaxstyle.load_weights()
    combinations = (
        (device, loss, size, batch, dtype)
        for device in args.devices
        for loss in args.losses
        for size in args.sizes
        for batch in args.batches
        for dtype in args.dtypes
        if dtype in DEVICES[device].flops
    )
    for device, loss, size, batch, dtype in combinations:
        config = jaxstyle.StyleConfig(size=size, style_loss=loss, dtype=dtype)
        try:
            step = measure_compiled(params, config, (size, size), device, batch=batch)
        except Exception as error:
            # A TPU's compiler refuses what does not fit.
            if not is_out_of_memory(error):
                raise
            print(f"{device} {loss} {size} {batch} {dtype}: {str(error).splitlines()[0][:200]}")
            continue
        print(describe(step), flush=True)
        known = read_table(args.json) if args.json.exists() else []
        steps = sorted([step, *(other for other in known if other[:6] != step[:6])])
        rows = [json.dumps(step._asdict()) for step in steps]
        args.json.write_text("[\n" + ",\n".join(rows) + "\n]\n")


if __name__ == "__main__":
    main()
