"""What a step costs on accelerators, compiled for them without having one.

    pip install '.[tpu]' && python scripts/bench_compiled.py --devices v5e v6e
    pip install '.[cuda]' && python scripts/bench_compiled.py --devices h100 a100 t4

The two compilers need an environment each. Prints a Markdown table and writes the same numbers as
JSON. A TPU's program takes two to three minutes on two cores, a GPU's ten seconds. The times in
the table are predictions from published peaks, not measurements.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax

import jaxstyle
from jaxstyle.analysis.compiled import compile_step, count_flops, predict_seconds, read_cost
from jaxstyle.analysis.devices import DEVICES, GPU_FLAGS

COLUMNS = (
    *("device", "loss", "size", "batch", "dtype", "temporaries_gib", "arguments_gib"),
    *("kernels", "gb_per_image", "large_copies", "collectives"),
    *("predicted_ms_per_image", "compile_seconds"),
)


def measure(device: str, loss: str, size: int, batch: int, dtype: str) -> dict[str, object]:
    """Compile one program; return a row of the table."""
    config = jaxstyle.StyleConfig(size=size, style_loss=loss, dtype=dtype)  # pyright: ignore[reportArgumentType]
    began = time.perf_counter()
    compiled = compile_step(jaxstyle.load_weights(), config, (size, size), device, batch=batch)
    seconds = time.perf_counter() - began
    cost = read_cost(compiled.as_text() or "")
    memory: Any = compiled.memory_analysis()
    flops = batch * count_flops(config, (size, size))
    predicted = predict_seconds(cost, flops, device, dtype) / batch
    return dict(
        zip(
            COLUMNS,
            (
                *(device, loss, size, batch, dtype),
                round(memory.temp_size_in_bytes / 2**30, 2),
                round(memory.argument_size_in_bytes / 2**30, 2),
                cost.kernels,
                round(cost.bytes / batch / 1e9, 2),
                cost.large_copies,
                cost.collectives,
                round(1e3 * predicted, 2),
                round(seconds),
            ),
            strict=True,
        )
    )


def main() -> None:
    """Compile all combinations of the arguments."""
    parser = argparse.ArgumentParser(description="Compile a step for accelerators.")
    parser.add_argument("--devices", nargs="+", default=["v5e"], choices=DEVICES)
    parser.add_argument("--losses", nargs="+", default=["wasserstein", "gram", "mean_std"])
    parser.add_argument("--sizes", nargs="+", type=int, default=[512, 1024])
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 8, 32])
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--json", type=Path, default=Path("compiled.json"))
    args = parser.parse_args()
    if any(DEVICES[device].platform == "cuda" for device in args.devices):
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {GPU_FLAGS}"
    print(f"jax {jax.__version__}, Python {sys.version.split()[0]}\n")
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    rows = []
    for device in args.devices:
        dtypes = [dtype for dtype in args.dtypes if dtype in DEVICES[device].flops]
        for loss in args.losses:
            for size in args.sizes:
                for batch in args.batches:
                    for dtype in dtypes:
                        rows.append(measure(device, loss, size, batch, dtype))
                        print(f"| {' | '.join(map(str, rows[-1].values()))} |", flush=True)
                        args.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
