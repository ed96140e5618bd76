"""Measure the device that is here in under eight minutes: steps, memory, images, bytes.

    pip install '.[cuda]' && python scripts/bench_device.py --output h100
    python scripts/bench_device.py --size 64 --batches 1 2 --repeats 3      # a trial on a CPU

Writes `OUTPUT.json`, `OUTPUT.md`, and the images to look at. PyTorch is measured too if it is
installed. Each part is a process of its own, so that its peak memory is its own; parts that the
time does not allow are listed as missing. Times are medians, without compiling; the spread is
from least to largest.
"""

import argparse
import hashlib
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

IMAGES = Path(__file__).parent.parent / "tests" / "images"
FIRST_BATCHES = (1, 8, 32)
# Steps in a timed call: their time is far above that of the call.
STEPS = 10
DETERMINISTIC = "--xla_gpu_deterministic_ops=true"


def report(**values):
    """Pass a row to the parent process."""
    print(json.dumps(values), flush=True)


def time_calls(call, repeats):
    """Return the median, least and largest seconds of a call, after one to warm up."""
    call()
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return statistics.median(times), min(times), max(times)


def measure_steps(args):
    """Time the default's steps for growing batches, and compare memory with the compiler's."""
    import jax

    import jaxstyle
    from jaxstyle.analysis import cost
    from jaxstyle.analysis.compiled import count_flops, predict_seconds
    from jaxstyle.analysis.devices import find_device
    from jaxstyle.analysis.forecast import recorded_step

    params, shape = jaxstyle.load_weights(), (args.size, args.size)
    config = jaxstyle.StyleConfig(size=args.size, min_size=args.size, dtype=args.dtype)
    device = find_device(jax.devices()[0].device_kind)
    for batch in args.batches:
        lowered, arguments = cost.lower_step(params, config, shape, batch=batch)
        began = time.perf_counter()
        compiled = lowered.compile()
        compile_seconds = time.perf_counter() - began
        arrays = cost.to_arrays(arguments[:-1])

        def call(compiled=compiled, arrays=arrays):
            state, _ = jax.block_until_ready(compiled(*arrays, STEPS))
            assert state.finite.all()

        seconds = [s / STEPS / batch for s in time_calls(call, args.repeats)]
        inputs = sum(getattr(leaf, "nbytes", 0) for leaf in jax.tree.leaves(arrays))
        predicted = None
        if device and shape == (512, 512):
            step = recorded_step(config, shape, device)
            program = step.cost._replace(bytes=step.bytes * batch // step.batch)
            flops = batch * count_flops(config, shape)
            predicted = predict_seconds(program, flops, device, args.dtype) / batch
        report(
            **{"dtype": args.dtype, "batch": batch, "seconds": seconds, "predicted": predicted},
            compile_seconds=compile_seconds,
            planned_bytes=cost.compiled_bytes(compiled) + inputs,
            peak_bytes=(jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use"),
        )


def measure_torch(args):
    """Time loss and gradient of the objective of Gatys et al. against PyTorch."""
    import bench_step
    import jax
    import numpy as np
    import torch
    import torch_reference

    import jaxstyle
    from jaxstyle.presets import GATYS_STYLE_LAYERS

    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    device = "cuda" if torch.cuda.is_available() else "cpu"
    params = jaxstyle.load_weights()
    config = jaxstyle.StyleConfig(
        **{"style_layers": dict.fromkeys(GATYS_STYLE_LAYERS, 1.0), "style_loss": "gram"},
        **{"padding": "zeros", "tv_weight": 0, "dtype": args.dtype},
    )
    for batch in [b for b in args.batches if b in (1, 8)] or [1]:
        random = np.random.default_rng(0)
        images = [random.random((args.size, args.size, 3), np.float32) for _ in range(2 + batch)]
        transformed = jax.default_backend() == "cpu"
        ours, _ = bench_step.make_jaxstyle_call(params, config, images, transformed=transformed)
        calls: dict[str, Callable[[], object]] = {"jaxstyle": ours}
        content, style, *starts = (
            torch.from_numpy(image).to(device, getattr(torch, args.dtype)) for image in images
        )
        weights = {
            name: (
                leaf.contiguous(memory_format=torch.channels_last) if leaf.ndim == 4 else leaf,
                b,
            )
            for name, (leaf, b) in torch_reference.to_torch(params, content).items()
        }
        objective = torch_reference.Objective(
            weights, content, style, config.weights.content, config.weights.style
        )
        start = torch.stack(starts)
        for name, function in (("eager", objective), ("compiled", torch.compile(objective))):

            def descend(function=function, start=start):
                for _ in range(bench_step.STEPS):
                    x = start.detach().requires_grad_()
                    function(x).backward()
                if device == "cuda":
                    torch.cuda.synchronize()

            calls[f"PyTorch, {name}"] = descend
        for name, call in calls.items():
            try:
                seconds = time_calls(call, args.repeats)
            except Exception as error:
                # torch.compile needs a compiler of C++ at run time.
                report(name=name, batch=batch, dtype=args.dtype, error=str(error)[:200])
                continue
            seconds = [s / bench_step.STEPS / batch for s in seconds]
            report(name=name, batch=batch, dtype=args.dtype, seconds=seconds)


def measure_images(args):
    """Time whole images of the default: one alone, and a batch, with and without compiling."""
    import jax
    import numpy as np

    import jaxstyle

    params = jaxstyle.load_weights()
    config = jaxstyle.StyleConfig(size=args.size, dtype=args.dtype)
    content, style = (
        jaxstyle.read_image(IMAGES / f"{name}.jpg", args.size)
        for name in ("astronaut", "cafe_terrace")
    )
    largest = max((b for b in args.batches if b <= 8), default=1)
    for batch in sorted({1, largest}):
        for run in ("first", "second", "third"):
            began = time.perf_counter()
            if batch == 1:
                result = jaxstyle.stylize(params, content, style, config)
            else:
                contents = np.stack([content] * batch)
                result = jaxstyle.stylize_batch(params, contents, style, config)
            jax.block_until_ready(result.image)
            seconds = (time.perf_counter() - began) / batch
            report(dtype=args.dtype, batch=batch, run=run, seconds=seconds)
            image = result.image if batch == 1 else result.image[0]
            jaxstyle.write_image(f"{args.output}_{args.dtype}_{batch}.png", image)


def measure_bytes(args):
    """Run the same image twice; report hashes of the pixels."""
    import numpy as np

    import jaxstyle

    params, size = jaxstyle.load_weights(), args.size // 2
    config = jaxstyle.StyleConfig(size=size, min_size=size, dtype=args.dtype)
    content, style = (
        jaxstyle.read_image(IMAGES / f"{name}.jpg", size) for name in ("astronaut", "cafe_terrace")
    )
    for _ in range(2):
        image = np.asarray(jaxstyle.stylize(params, content, style, config).image)
        digest = hashlib.sha256(image.tobytes()).hexdigest()[:12]
        report(deterministic=DETERMINISTIC in os.environ.get("XLA_FLAGS", ""), sha256=digest)


PARTS = {
    "steps": measure_steps,
    "torch": measure_torch,
    "images": measure_images,
    "bytes": measure_bytes,
}


def run_part(args, part, deadline, *, batches=None, dtype="float32", flags=""):
    """Run a part in a process of its own; return its rows, and why it ended early if it did."""
    left = deadline - time.monotonic()
    if left < 5:
        return [], f"{part} {dtype} {batches or ''}: no time left".strip()
    command = [sys.executable, __file__, "--part", part, "--dtype", dtype]
    command += ["--size", str(args.size), "--repeats", str(args.repeats), "--output", args.output]
    command += ["--batches", *map(str, batches or args.batches)]
    environment = {**os.environ, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    environment["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flags}".strip()
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    try:
        out, err = process.communicate(timeout=left)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        err += "no time left"
    rows = [json.loads(line) for line in out.splitlines() if line.startswith("{")]
    why = (err.strip().splitlines() or ["?"])[-1][:300]
    return rows, f"{part} {dtype} {batches or ''}: {why}" if process.returncode else None


def gib(number):
    """Format bytes."""
    return "" if number is None else f"{number / 2**30:.2f}"


def milliseconds(seconds):
    """Format a median, and its spread if it is known."""
    if seconds is None or isinstance(seconds, float):
        return "" if seconds is None else f"{1e3 * seconds:.2f}"
    median, least, largest = (1e3 * s for s in seconds)
    return f"{median:.2f} ({least:.2f} to {largest:.2f})"


def to_markdown(results):
    """Return the tables."""
    where, size = results["where"], results["size"]
    lines = [", ".join(f"{key} {value}" for key, value in where.items()), ""]

    def table(title, header, rows):
        lines.extend([f"{title}, {size}x{size}:", "", f"| {' | '.join(header)} |"])
        lines.append("|---" * len(header) + "|")
        lines.extend(f"| {' | '.join(map(str, row))} |" for row in rows)
        lines.append("")

    header = ("dtype", "batch", "ms per image", "predicted at least", "compiling, s")
    table(
        "Step of the default",
        (*header, "peak GiB", "planned GiB"),
        [
            (
                *(r["dtype"], r["batch"], milliseconds(r["seconds"]), milliseconds(r["predicted"])),
                *(f"{r['compile_seconds']:.0f}", gib(r["peak_bytes"]), gib(r["planned_bytes"])),
            )
            for r in sorted(results["steps"], key=lambda r: (r["dtype"], r["batch"]))
        ],
    )
    table(
        "Loss and gradient of Gatys et al.",
        ("dtype", "batch", "program", "ms per image"),
        [
            (r["dtype"], r["batch"], r["name"], r.get("error") or milliseconds(r["seconds"]))
            for r in results["torch"]
        ],
    )
    table(
        "Whole images of the default",
        ("dtype", "batch", "run", "seconds per image"),
        [(r["dtype"], r["batch"], r["run"], f"{r['seconds']:.2f}") for r in results["images"]],
    )
    table(
        "Runs of one image at half the size, two in each process",
        ("deterministic operations", "SHA-256 of the pixels"),
        [(r["deterministic"], r["sha256"]) for r in results["bytes"]],
    )
    lines.extend(f"Missing: {line}" for line in results["missing"])
    return "\n".join(lines) + "\n"


def find_device_here():
    """Return what is measured; in another process, which frees the device."""
    code = "import jax; d = jax.devices(); print(d[0].platform, len(d), 'x', d[0].device_kind)"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if process.returncode:
        sys.exit(f"JAX finds no device: {process.stderr.strip().splitlines()[-1]}")
    return process.stdout.strip().splitlines()[-1].split(" ", 1)


def main():
    """Measure all parts, or one if asked by the parent process."""
    parser = argparse.ArgumentParser(description="Measure the device that is here.")
    parser.add_argument("--size", type=int, default=512, help="edge of the images in pixels")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 2, 4, 8, 16, 32])
    parser.add_argument("--repeats", type=int, default=7, help="timed calls")
    parser.add_argument("--minutes", type=float, default=7.5, help="time for everything")
    parser.add_argument("--output", default="bench_device", help="name of the files written")
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--dtype", default="float32", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.part:
        PARTS[args.part](args)
        return
    began = time.monotonic()
    deadline = began + 60 * args.minutes
    kind, device = find_device_here()
    dtypes = ["float32"] if "T4" in device else ["float32", "bfloat16"]
    versions = {name: version(name) for name in ("jax", "jaxstyle")}
    where = {"device": device, "Python": platform.python_version(), **versions}
    results = {"where": where, "size": args.size, "missing": []}
    results |= {name: [] for name in PARTS}

    def measure(part, **options):
        rows, missing = run_part(args, part, deadline, **options)
        print(f"{time.monotonic() - began:4.0f} s  {part}: {missing or 'done'}", flush=True)
        results[part] += rows
        results["missing"] += [missing] if missing else []
        Path(f"{args.output}.json").write_text(json.dumps(results, indent=1) + "\n")
        Path(f"{args.output}.md").write_text(to_markdown(results))

    first = [b for b in args.batches if b in FIRST_BATCHES]
    others = [b for b in args.batches if b not in FIRST_BATCHES]
    for dtype in dtypes if first else []:
        measure("steps", dtype=dtype, batches=first)
    if find_spec("torch"):
        for dtype in dtypes:
            measure("torch", dtype=dtype)
    else:
        results["missing"].append("torch: not installed")
    for dtype in reversed(dtypes):
        measure("images", dtype=dtype)
    flags = [""] if kind == "cpu" else ["", "", DETERMINISTIC]
    for flag in flags:
        measure("bytes", flags=flag)
    for dtype in dtypes if others else []:
        measure("steps", dtype=dtype, batches=others)
    print(to_markdown(results))


if __name__ == "__main__":
    main()
