"""Loss and gradient of Gatys' objective: jaxstyle against PyTorch, as Markdown and JSON.

    pip install '.[bench]' && python scripts/bench_step.py
    python scripts/bench_step.py --sizes 512x512 --batch 8 --dtype bfloat16      # for a GPU

relu4_2 and the Gram matrices of relu1_1 to relu5_1, the same weights, zeros around the maps.
Both take turns in one process, four steps at a time as in a descent, `--repeats` times after
warming up; a ratio is the median of the turns' ratios. Compiling is not in it. PyTorch takes a
batch one by one.
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

# At a time: jaxstyle's in one compiled loop, PyTorch's one after the other.
STEPS = 4
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def of_torch(params, config, images, dtype):
    """A call that computes loss and gradient with PyTorch, of a batch one by one."""
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
        found = []
        for _ in range(STEPS):
            for start in starts:
                x = start.detach().requires_grad_()
                loss = objective(x)
                loss.backward()
                found.append((loss, x.grad))
        if DEVICE == "cuda":
            torch.cuda.synchronize()
        return found[0][0].item(), found[0][1].float().cpu().numpy()

    return call


def of_jaxstyle(params, config, images, *, transformed):
    """A call that computes loss and gradient with jaxstyle, and its temporary bytes."""
    content, style, *starts = (jnp.asarray(image) for image in images)
    targets = jaxstyle.make_targets(params, content, [style], config)
    used = transform_weights(params, spec=config.spec) if transformed else params

    def objective(params, x):
        return jaxstyle.total_loss(params, x, targets, config.weights)[0]

    batch = jnp.stack(starts)
    step = jax.vmap(jax.value_and_grad(objective, argnums=1), in_axes=(None, 0))

    def descend(params, batch):
        # A step too small to be seen, so that every one has to be computed.
        def body(_, found):
            return step(params, batch - 1e-20 * found[1])

        return jax.lax.fori_loop(0, STEPS, body, (jnp.zeros(len(starts)), 0 * batch))

    compiled = jax.jit(descend).lower(used, batch).compile()

    def call():
        loss, grad = jax.block_until_ready(compiled(used, batch))
        return float(loss[0]), np.asarray(grad[0])

    analysis = compiled.memory_analysis()
    return call, analysis.temp_size_in_bytes if analysis else None


def timed(call):
    """Seconds that a step of a call takes."""
    began = time.perf_counter()
    call()
    return (time.perf_counter() - began) / STEPS


def error(grad, expected):
    """Relative error of a gradient."""
    return float(np.linalg.norm(grad - expected) / np.linalg.norm(expected))


def measure(shape, args, params):
    """Times, ratios, errors and memory of one size."""
    random = np.random.default_rng(0)
    images = [random.random((*shape, 3), np.float32) for _ in range(2 + args.batch)]
    config = StyleConfig(
        style_layers=dict.fromkeys(GATYS_STYLE_LAYERS, 1.0),
        style_loss="gram",
        padding="zeros",
        tv_weight=0,
        dtype="bfloat16" if args.dtype == "bfloat16" else "float32",
    )
    direct, direct_bytes = of_jaxstyle(params, config, images, transformed=False)
    fast, fast_bytes = of_jaxstyle(params, config, images, transformed=True)
    calls = {
        "torch": of_torch(params, config, images, config.dtype),
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
        **{name: statistics.median(found) for name, found in times.items()},
        "ratio": statistics.median(ratios),
        "ratio_low": min(ratios),
        "ratio_high": max(ratios),
        "loss_error": abs(fast_loss - loss) / loss,
        # Where two values of a pooling all but tie, rounding chooses, also PyTorch's.
        "grad_error": error(fast_grad, grad),
        "torch_grad_error": error(torch_grad, grad),
        "direct_mib": direct_bytes and direct_bytes / 2**20,
        "jaxstyle_mib": fast_bytes and fast_bytes / 2**20,
    }


def main():
    """Measure all sizes and print them."""
    parser = argparse.ArgumentParser(description="Loss and gradient against PyTorch.")
    parser.add_argument("--sizes", nargs="+", default=["128x128", "224x320", "256x256", "512x512"])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--dtype", choices=("float32", "tf32", "bfloat16"), default="float32")
    args = parser.parse_args()
    # What "float32" means on a GPU is a choice: here it is float32, and TF32 has its own name.
    precise = "highest" if args.dtype == "float32" else "default"
    jax.config.update("jax_default_matmul_precision", precise)
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = args.dtype == "tf32"
    params, rows = jaxstyle.load_weights(), []
    print(f"| {args.dtype}, {args.batch} at once | PyTorch | direct | jaxstyle | ratio |")
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
