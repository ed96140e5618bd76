"""Time whole images, from start to file, against a PyTorch loop; print a Markdown table and JSON.

    pip install '.[bench]' && python scripts/bench_stylize.py

Both run the same steps: coarse to fine, Adam, the objective of Gatys et al. (relu4_2, Gram
matrices of relu1_1 to relu5_1), pixels clamped to [0, 1]. jaxstyle runs three times: with an
empty compilation cache, with the programs of the first run cached, and with `--conv direct`
(no Winograd kernels), which needs less memory.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

import jaxstyle
from jaxstyle import StyleConfig, pyramid
from jaxstyle.presets import GATYS_STYLE_LAYERS

IMAGES = Path(__file__).parent.parent / "tests" / "images"
CONTENT, STYLE = IMAGES / "astronaut.jpg", IMAGES / "cafe_terrace.jpg"
OPTIONS = ("--style-loss", "gram", "--padding", "zeros", "--tv-weight", "0", "--carry", "picture")
OPTIONS += ("--optimizer", "adam", "--style-layers", ",".join(GATYS_STYLE_LAYERS))


def paint_with_torch(output, size, steps):
    """Run the same loop in PyTorch and write the result."""
    import torch
    import torch.nn.functional as F  # noqa: N812
    import torch_reference

    config = StyleConfig(
        size=size, steps=steps, style_layers=dict.fromkeys(GATYS_STYLE_LAYERS, 1.0), filter_limit=0
    )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    content, style = (
        torch.from_numpy(jaxstyle.read_image(path, size)).to(device) for path in (CONTENT, STYLE)
    )
    weights = torch_reference.to_torch(jaxstyle.load_weights(), content)

    def resize(image, shape):
        image = image.permute(2, 0, 1)[None]
        image = F.interpolate(image, shape, mode="bicubic", antialias=True)
        return image[0].permute(1, 2, 0).contiguous()

    generator = torch.Generator(device).manual_seed(0)
    result = content
    for shape, count in pyramid.levels(content.shape[:2], config):
        style_shape = tuple(round(n * shape[0] / content.shape[0]) for n in style.shape[:2])
        objective = torch_reference.Objective(
            weights,
            resize(content, shape),
            resize(style, style_shape),
            config.weights.content,
            config.weights.style,
        )
        start = resize(result, shape)
        noise = torch.randn(start.shape, generator=generator, device=device)
        x = (start + config.noise * noise).clamp(0, 1).requires_grad_()
        optimizer = torch.optim.Adam([x], config.learning_rate)
        for _ in range(count):
            optimizer.zero_grad()
            objective(x).backward()
            optimizer.step()
            with torch.no_grad():
                x.clamp_(0, 1)
        result = x.detach()
    jaxstyle.write_image(output, result.cpu().numpy())


def run(command, cache):
    """Run a command; return its seconds and its peak memory in MiB."""
    began = time.perf_counter()
    process = os.posix_spawn(command[0], command, {**os.environ, "XDG_CACHE_HOME": str(cache)})
    _, status, usage = os.wait4(process, 0)
    if status:
        raise SystemExit(f"failed: {' '.join(command)}")
    return time.perf_counter() - began, usage.ru_maxrss / 2**10


def main():
    """Time all runs and print the results."""
    parser = argparse.ArgumentParser(description="Time whole images against PyTorch.")
    parser.add_argument("--size", type=int, default=512, help="long edge, in pixels")
    steps = ",".join(map(str, StyleConfig().steps))
    parser.add_argument("--steps", default=steps, help="steps per level, coarse to fine")
    parser.add_argument("--torch", metavar="OUTPUT", help="only run PyTorch, without timing")
    args = parser.parse_args()
    if args.torch:
        paint_with_torch(args.torch, args.size, tuple(map(int, args.steps.split(","))))
        return
    size = ["--size", str(args.size), "--steps", args.steps]
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        cli = [sys.executable, "-m", "jaxstyle.cli", "stylize", str(CONTENT), str(STYLE)]
        cli += ["-o", str(out / "jaxstyle.png"), *size, *OPTIONS, "--quiet"]
        torch = [sys.executable, __file__, *size, "--torch", str(out / "torch.png")]
        print("| one image, from start to file | seconds | ratio | peak MiB |\n|---|---|---|---|")
        for name, command in (
            ("PyTorch", torch),
            ("jaxstyle, first run", cli),
            ("jaxstyle, second run", cli),
            ("jaxstyle --conv direct, first run", [*cli, "--conv", "direct"]),
        ):
            seconds, mib = rows[name] = run(command, out / "cache")
            print(f"| {name} | {seconds:.1f} | {seconds / rows['PyTorch'][0]:.2f} | {mib:.0f} |")
            sys.stdout.flush()
    where = {"cores": os.cpu_count(), "python": platform.python_version()}
    print(json.dumps({"where": where, "size": args.size, "steps": args.steps, "rows": rows}))


if __name__ == "__main__":
    main()
