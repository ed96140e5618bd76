"""Errors of the products of TPUs and GPUs, emulated on a CPU; prints a Markdown table.

    python scripts/bench_precision.py --size 256

Convolutions in float32 are replaced by sums of products of rounded operands, with sums in
float32, as the devices compute them: one, three or six passes of bfloat16 on TPUs, TF32 on
GPUs. Forward and backward, with the borders as accelerators pad them. All errors are relative,
in the Euclidean norm, to float32; the last column compares whole runs.
"""

import argparse
import contextlib
from dataclasses import replace
from pathlib import Path
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

import jaxstyle
from jaxstyle import StyleConfig
from jaxstyle.ops import conv

IMAGES = Path(__file__).parent.parent / "tests" / "images"
PAIRS = [("coffee", "cafe_terrace"), ("chelsea", "langlois_bridge"), ("astronaut", "cafe_terrace")]
LAYERS = ("relu1_1", "relu3_1", "relu5_1")
# Bits of the mantissa, and which of the parts of two operands are multiplied.
PASSES = {
    "TF32 (GPU, `default` and `high`)": (10, [(0, 0)]),
    "bfloat16, 1 pass (TPU, `default`)": (7, [(0, 0)]),
    "bfloat16, 3 passes (TPU, `high`)": (7, [(0, 0), (0, 1), (1, 0)]),
    "bfloat16, 6 passes (TPU, `highest`)": (7, [(0, 0), (0, 1), (1, 0), (1, 1), (0, 2), (2, 0)]),
}
correlate = conv._correlate


def split(x, bits):
    """Split an array into three parts of few bits each, whose sum it nearly is."""
    parts = []
    for _ in range(3):
        parts.append(jax.lax.reduce_precision(x, 8, bits))
        x = x - parts[-1]
    return parts


@contextlib.contextmanager
def emulated(bits, products):
    """Compute all convolutions as sums of products of rounded operands."""

    def rounded(x, kernel, zeros, form):
        parts, kernels = split(x, bits), split(kernel, bits)
        return sum(correlate(parts[i], kernels[j], zeros, form) for i, j in products)

    with mock.patch.object(conv, "_correlate", rounded):
        jax.clear_caches()
        yield
    jax.clear_caches()


def compute(params, content, style, config, *, seed=0):
    """Return features, loss and gradient at a noisy photograph, and the image of a run."""
    noise = np.random.default_rng(0).normal(0, 0.1, content.shape).astype(np.float32)
    image = np.clip(content + noise, 0, 1)
    limited = jaxstyle.limit_filters(params)

    @jax.jit
    def evaluate(image):
        def loss(image):
            return jaxstyle.total_loss(limited, image, targets, config.weights)[0]

        targets = jaxstyle.make_targets(limited, content, [style], config)
        features = jaxstyle.features(limited, image, LAYERS, dtype=jnp.dtype(config.dtype))
        return features, *jax.value_and_grad(loss)(image)

    features, loss, gradient = evaluate(image)
    result = jaxstyle.stylize(params, content, style, replace(config, seed=seed))
    return {
        **{name: np.asarray(features[name], np.float64) for name in LAYERS},
        **{"loss": float(loss), "gradient": np.asarray(gradient)},
        "result": np.asarray(result.image),
    }


def compare(results, expected):
    """Return a row of the table: the largest errors of all pairs, and the least correlation."""

    def error(a, b):
        return float(np.linalg.norm(a - b) / np.linalg.norm(b))

    pairs = list(zip(results, expected, strict=True))
    names = (*LAYERS, "loss", "gradient")
    errors = [f"{max(error(a[name], b[name]) for a, b in pairs):.0e}" for name in names]
    correlations = [np.corrcoef(a["result"].ravel(), b["result"].ravel())[0, 1] for a, b in pairs]
    return " | ".join([*errors, f"{min(correlations):.3f}"])


def main():
    """Measure all precisions and print the table."""
    parser = argparse.ArgumentParser(description="Emulate the products of TPUs and GPUs.")
    parser.add_argument("--size", type=int, default=256, help="edge of the images in pixels")
    args = parser.parse_args()
    params = jaxstyle.load_weights()
    config = StyleConfig(size=args.size, conv="direct")
    images = [
        [jaxstyle.read_image(IMAGES / f"{name}.jpg", args.size) for name in pair] for pair in PAIRS
    ]

    def measure(config, **options):
        return [compute(params, content, style, config, **options) for content, style in images]

    expected = measure(config)
    columns = ("products", *LAYERS, "loss", "gradient", "correlation of results")
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    for name, (bits, products) in PASSES.items():
        with emulated(bits, products):
            print(f"| {name} | {compare(measure(config), expected)} |", flush=True)
    rounded = measure(replace(config, dtype="bfloat16"))
    print(f"| `--dtype bfloat16` | {compare(rounded, expected)} |", flush=True)
    print(f"| float32, another seed | {compare(measure(config, seed=1), expected)} |")


if __name__ == "__main__":
    main()
