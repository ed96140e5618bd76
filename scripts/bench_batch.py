"""Measure the time and memory of batches; print a Markdown table and JSON.

    python scripts/bench_batch.py photographs     # 24 content images of 6 shapes, 2 style images
    python scripts/bench_batch.py sizes           # batch sizes 1, 4 and 8

Each method runs in its own process and starts with an empty compilation cache.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jax
from PIL import Image

IMAGES = Path(__file__).parent.parent / "tests" / "images"
SHAPES = ((480, 480), (480, 360), (360, 480), (480, 320), (320, 480), (480, 270))

LOOP = """
import sys
from pathlib import Path
from jaxstyle import StyleConfig, load_weights, read_image, stylize, write_image
folder, size, steps = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
params, config = load_weights(), StyleConfig(size=size, steps=(steps,))
for content in sorted((folder / "photos").iterdir()):
    for style in sorted((folder / "styles").iterdir()):
        image = stylize(params, read_image(content, size), read_image(style, size), config).image
        write_image(folder / f"loop_{content.stem}_{style.stem}.png", image)
"""
THROUGHPUT = """
import resource, statistics, sys, time
import jax, numpy as np
from jaxstyle import StyleConfig, load_weights, read_image, stylize_batch
content, style, size, n, steps = *sys.argv[1:3], *map(int, sys.argv[3:])
config = StyleConfig(size=size, min_size=size, steps=(steps,))
params, times = load_weights(), []
contents = np.stack([read_image(content, size)] * n)
style = read_image(style, size)
for _ in range(4):
    began = time.perf_counter()
    jax.block_until_ready(stylize_batch(params, contents, style, config).image)
    times.append((time.perf_counter() - began) / n / steps)
warm = times[1:]
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
print(statistics.median(warm), min(warm), max(warm), peak)
"""


def run(command, folder, name):
    """Run a command with its own compilation cache; return its seconds and its stdout."""
    env = {**os.environ, "XDG_CACHE_HOME": str(folder / f"cache_{name}")}
    began = time.perf_counter()
    process = subprocess.run(command, env=env, check=True, capture_output=True, text=True)
    return time.perf_counter() - began, process.stdout


def photographs(folder, args):
    """Time `jaxstyle batch`, a Python loop over `stylize`, and one command per result."""
    (folder / "photos").mkdir()
    (folder / "styles").mkdir()
    sources = [
        Image.open(IMAGES / f"{n}.jpg") for n in ("coffee", "chelsea", "astronaut", "coffee")
    ]
    for i, shape in enumerate(SHAPES):
        for j, source in enumerate(sources):
            box = (10 * j, 5 * j, 10 * j + shape[0] // 2, 5 * j + shape[1] // 2)
            source.convert("RGB").crop(box).resize(shape).save(folder / "photos" / f"p{i}{j}.png")
    for name in ("cafe_terrace", "langlois_bridge"):
        Image.open(IMAGES / f"{name}.jpg").save(folder / "styles" / f"{name}.png")
    cli = [sys.executable, "-m", "jaxstyle.cli"]
    options = ["--size", str(args.size), "--steps", str(args.steps)]
    inputs = [str(folder / "photos"), str(folder / "styles")]
    command = [*cli, "batch", *inputs, "-o", str(folder / "out"), *options]
    batch, events = run([*command, "--log-format", "json"], folder, "batch")
    plan = json.loads(events.splitlines()[0])
    script = [sys.executable, "-c", LOOP, str(folder), str(args.size), str(args.steps)]
    loop, _ = run(script, folder, "loop")
    single = 0.0
    for content in sorted((folder / "photos").iterdir()):
        for style in sorted((folder / "styles").iterdir()):
            pair = [str(content), str(style), "-o", str(folder / "single.png")]
            single += run([*cli, "stylize", *pair, *options], folder, "single")[0]
    rows = [
        ("`jaxstyle batch`", batch),
        ("a Python loop over `stylize`", loop),
        ("48 × `jaxstyle stylize`", single),
    ]
    print(f"| 24 content x 2 style images, {args.size} px, {args.steps} steps | seconds | ratio |")
    print("|---|---|---|")
    for name, seconds in rows:
        print(f"| {name} | {seconds:.0f} | {seconds / batch:.2f} |")
    groups = len(plan["groups"])
    return {"batch": batch, "loop": loop, "single": single, "groups": groups}


def sizes(folder, args):
    """Measure the seconds per image and step, and the peak memory, of each batch size."""
    print(f"| batch size, {args.size} px | seconds per image and step | range | peak GiB |")
    print("|---|---|---|---|")
    results = {}
    pair = [str(IMAGES / "coffee.jpg"), str(IMAGES / "cafe_terrace.jpg")]
    for n in (1, 4, 8):
        script = [sys.executable, "-c", THROUGHPUT, *pair, str(args.size), str(n), str(args.steps)]
        median, low, high, peak = map(float, run(script, folder, f"size{n}")[1].split())
        print(f"| {n} | {median:.3f} | {low:.3f} to {high:.3f} | {peak:.2f} |", flush=True)
        results[n] = {"seconds": median, "low": low, "high": high, "peak_gib": peak}
    return results


def main():
    """Run one benchmark and print its results."""
    parser = argparse.ArgumentParser(description="Measure the time and memory of batches.")
    parser.add_argument(
        "what",
        choices=("photographs", "sizes"),
        help="photographs: a batch against single runs; sizes: batch sizes 1, 4 and 8",
    )
    parser.add_argument("--size", type=int, default=128, help="long edge, in pixels")
    parser.add_argument("--steps", type=int, default=20, help="steps per result")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = globals()[args.what](Path(folder), args)
    device = jax.devices()[0].device_kind
    where = {"device": device, "cores": os.cpu_count(), "jax": jax.__version__}
    where["python"] = platform.python_version()
    print(json.dumps({"where": where, **vars(args), **results}))


if __name__ == "__main__":
    main()
