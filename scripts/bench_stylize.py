"""Whole pictures, from start to file: jaxstyle against a PyTorch loop, as Markdown and JSON.

    pip install '.[bench]' && python scripts/bench_stylize.py

Both do the same steps: coarse to fine, Adam, Gatys' objective (relu4_2, Gram matrices of
relu1_1 to relu5_1), pixels kept in [0, 1]. jaxstyle runs twice: with nothing
compiled before, and with the programs of the first run on the disk; and once without
Winograd's kernels, which takes less memory.
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
    """The loop in PyTorch."""
    import torch
    import torch.nn.functional as F  # noqa: N812
    import torch_reference

    config = StyleConfig(
        size=size, steps=steps, style_layers=dict.fromkeys(GATYS_STYLE_LAYERS, 1.0)
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
    picture = content
    for shape, count in pyramid.levels(content.shape[:2], config):
        near = tuple(round(n * shape[0] / content.shape[0]) for n in style.shape[:2])
        objective = torch_reference.Objective(
            weights,
            resize(content, shape),
            resize(style, near),
            config.weights.content,
            config.weights.style,
        )
        start = resize(picture, shape)
        noise = torch.randn(start.shape, generator=generator, device=device)
        x = (start + config.noise * noise).clamp(0, 1).requires_grad_()
        optimizer = torch.optim.Adam([x], config.learning_rate)
        for _ in range(count):
            optimizer.zero_grad()
            objective(x).backward()
            optimizer.step()
            with torch.no_grad():
                x.clamp_(0, 1)
        picture = x.detach()
    jaxstyle.write_image(output, picture.cpu().numpy())


def run(command, cache):
    """Seconds and peak memory in MiB of a process."""
    began = time.perf_counter()
    process = os.posix_spawn(command[0], command, {**os.environ, "XDG_CACHE_HOME": str(cache)})
    _, status, usage = os.wait4(process, 0)
    if status:
        raise SystemExit(f"failed: {' '.join(command)}")
    return time.perf_counter() - began, usage.ru_maxrss / 2**10


def main():
    """Time all and print them."""
    parser = argparse.ArgumentParser(description="Whole pictures against PyTorch.")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--steps", default=",".join(map(str, StyleConfig().steps)))
    parser.add_argument("--torch", metavar="OUTPUT", help="paint with PyTorch, untimed")
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
        print("| a picture, from start to file | seconds | ratio | peak MiB |\n|---|---|---|---|")
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
