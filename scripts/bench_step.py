"""Time loss and gradient against PyTorch; print a Markdown table and JSON.

    pip install '.[bench]' && python scripts/bench_step.py
    python scripts/bench_step.py --sizes 512x512 --batch 8 --dtype bfloat16      # for a GPU

The objective is that of Gatys et al. (2016): features of relu4_2, Gram matrices of relu1_1 to
relu5_1, zero padding. Both frameworks use the same weights. After a warm-up they alternate in one
process, `--repeats` times with four steps each. The ratio is the median over the repeats.
Compilation is not timed. PyTorch processes a batch one image at a time.
"""

import argparse
import json
import os
import platform
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np
import torch
import torch_reference

import jaxstyle
from jaxstyle import StyleConfig
from jaxstyle.loop.programs import transform_weights
from jaxstyle.presets import GATYS_STYLE_LAYERS

# Steps per repeat: one compiled loop in jaxstyle, a Python loop in PyTorch.
STEPS = 4
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def make_torch_call(params, config, images, dtype):
    """Return a function that computes loss and gradient with PyTorch, image by image."""
    content, style, *starts = (
        torch.from_numpy(image).to(DEVICE, getattr(torch, dtype)) for image in images
    )
    objective = torch_reference.Objective(
        torch_reference.to_torch(params, content),
        content,
        style,
        config.weights.content,
        config.weights.style,
    )

    def call():
        results = []
        for _ in range(STEPS):
            for start in starts:
                x = start.detach().requires_grad_()
                loss = objective(x)
                loss.backward()
                results.append((loss, x.grad))
        if DEVICE == "cuda":
            torch.cuda.synchronize()
        return results[0][0].item(), results[0][1].float().cpu().numpy()

    return call


def make_jaxstyle_call(params, config, images, *, transformed):
    """Return a function that computes loss and gradient with jaxstyle, and its temporary bytes."""
    content, style, *starts = (jnp.asarray(image) for image in images)
    targets = jaxstyle.make_targets(params, content, [style], config)
    weights = transform_weights(params, spec=config.spec) if transformed else params

    def objective(params, x):
        return jaxstyle.total_loss(params, x, targets, config.weights)[0]

    batch = jnp.stack(starts)
    step = jax.vmap(jax.value_and_grad(objective, argnums=1), in_axes=(None, 0))

    def descend(params, batch):
        # A step of negligible size, so that XLA cannot skip any iteration.
        def body(_, loss_and_grad):
            return step(params, batch - 1e-20 * loss_and_grad[1])

        return jax.lax.fori_loop(0, STEPS, body, (jnp.zeros(len(starts)), 0 * batch))

    compiled = jax.jit(descend).lower(weights, batch).compile()

    def call():
        loss, grad = jax.block_until_ready(compiled(weights, batch))
        return float(loss[0]), np.asarray(grad[0])

    analysis = compiled.memory_analysis()
    return call, analysis.temp_size_in_bytes if analysis else None


def timed(call):
    """Return the seconds per step of a call."""
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) / STEPS


def error(grad, expected):
    """Return the relative error of a gradient, in the Euclidean norm."""
    return float(np.linalg.norm(grad - expected) / np.linalg.norm(expected))


def measure(shape, args, params):
    """Return times, ratios, errors and memory for one image size."""
    random = np.random.default_rng(0)
    images = [random.random((*shape, 3), np.float32) for _ in range(2 + args.batch)]
    config = StyleConfig(
        style_layers=dict.fromkeys(GATYS_STYLE_LAYERS, 1.0),
        style_loss="gram",
        padding="zeros",
        tv_weight=0,
        dtype="bfloat16" if args.dtype == "bfloat16" else "float32",
    )
    direct, direct_bytes = make_jaxstyle_call(params, config, images, transformed=False)
    fast, fast_bytes = make_jaxstyle_call(params, config, images, transformed=True)
    calls = {
        "torch": make_torch_call(params, config, images, config.dtype),
        "direct": direct,
        "jaxstyle": fast,
    }
    (_, torch_grad), (loss, grad), (fast_loss, fast_grad) = (call() for call in calls.values())
    for call in calls.values():
        call()
    times = {name: [] for name in calls}
    for _ in range(args.repeats):
        for name, call in calls.items():
            times[name].append(timed(call))
    ratios = [a / b for a, b in zip(times["jaxstyle"], times["torch"], strict=True)]
    return {
        "shape": shape,
        **{name: statistics.median(seconds) for name, seconds in times.items()},
        "ratio": statistics.median(ratios),
        "ratio_low": min(ratios),
        "ratio_high": max(ratios),
        "loss_error": abs(fast_loss - loss) / loss,
        # Near ties in max pooling are decided by rounding, in PyTorch too.
        "grad_error": error(fast_grad, grad),
        "torch_grad_error": error(torch_grad, grad),
        "direct_mib": direct_bytes and direct_bytes / 2**20,
        "jaxstyle_mib": fast_bytes and fast_bytes / 2**20,
    }


def main():
    """Measure all sizes and print the results."""
    parser = argparse.ArgumentParser(description="Time loss and gradient against PyTorch.")
    sizes = ["128x128", "224x320", "256x256", "512x512"]
    parser.add_argument("--sizes", nargs="+", default=sizes, help="HEIGHTxWIDTH, in pixels")
    parser.add_argument("--repeats", type=int, default=9, help="timed repeats of four steps")
    parser.add_argument("--batch", type=int, default=1, help="images per step")
    parser.add_argument("--dtype", choices=("float32", "tf32", "bfloat16"), default="float32")
    args = parser.parse_args()
    # On a GPU, float32 may mean TF32; here `--dtype float32` is full precision.
    precise = "highest" if args.dtype == "float32" else "default"
    jax.config.update("jax_default_matmul_precision", precise)
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = args.dtype == "tf32"
    params, rows = jaxstyle.load_weights(), []
    print(f"| {args.dtype}, batch of {args.batch} | PyTorch | direct | jaxstyle | ratio |")
    print("|---|---|---|---|---|")
    for size in args.sizes:
        row = measure(tuple(map(int, size.split("x"))), args, params)
        rows.append(row)
        seconds = " | ".join(f"{row[name]:.3f} s" for name in ("torch", "direct", "jaxstyle"))
        spread = f"{row['ratio']:.2f} ({row['ratio_low']:.2f} to {row['ratio_high']:.2f})"
        print(f"| {size} | {seconds} | {spread} |", flush=True)
    where = {
        "device": jax.devices()[0].device_kind,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "torch": torch.__version__,
    }
    print(json.dumps({"where": where, **vars(args), "rows": rows}))


if __name__ == "__main__":
    main()
