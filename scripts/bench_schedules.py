"""How soon schedules reach an objective: that of the preset `crowson`, as Markdown and JSON.

    python scripts/bench_schedules.py --size 256 -o curves.json --plot curves.png

Every schedule descends the same losses with the same weights. Of each the loss of the picture so
far is noted along its last level, with the work until then, in steps at the full size, and the
seconds. The table says when each has reached what style-transfer-pytorch's schedule ends at, which
is where it is stopped.
"""

import argparse
import json
import os
import platform
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import jax

import jaxstyle
from jaxstyle import PRESETS, pyramid

IMAGES = Path(__file__).parent.parent / "tests" / "images"
PAIRS = (
    ("coffee", "cafe_terrace"),
    ("chelsea", "langlois_bridge"),
    ("astronaut", "cafe_terrace"),
    ("coffee", "langlois_bridge"),
)
LOSS = ("style_layers", "content_layers", "content_weight", "style_weight", "tv_weight", "padding")
"""Fields of the objective."""


def schedules(size):
    """Configurations of one objective, by the name of their schedule."""
    crowson = replace(PRESETS["crowson"], size=size)
    objective = {name: getattr(crowson, name) for name in LOSS}
    default = replace(PRESETS["default"], size=size, **objective)
    # With steps to spare at the last level, to see when each is there.
    coarse = len(pyramid.levels((1, 1), default)) - 1
    long = replace(default, steps=(*default.steps[:coarse], 400))
    return {
        "crowson": crowson,
        "default": long,
        "default, on pixels": replace(long, optimizer="adam", learning_rate=0.05, average=0.97),
        "default, from AdaIN": replace(long, init="adain"),
        "default, L-BFGS": replace(long, optimizer="lbfgs"),
    }


def curve(params, content, style, config, goal):
    """Work, seconds and loss of the picture so far, along the last level down to `goal`."""
    plan = pyramid.levels(content.shape[:2], config)
    shape = plan[-1][0]
    size = pyramid.style_shape(style.shape[:2], shape, config)
    seen, painting = (
        pyramid.resize(jax.numpy.asarray(image), at)
        for image, at in ((content, shape), (style, size))
    )
    targets = jaxstyle.make_targets(params, seen, [painting], config)
    loss = jax.jit(partial(jaxstyle.total_loss, params))
    points, asked, began = [], 0.0, time.perf_counter()

    def note(progress):
        nonlocal asked
        paused = time.perf_counter()
        if progress.level == progress.levels - 1:
            done = pyramid.work(plan, progress.step) / (shape[0] * shape[1])
            value = float(loss(progress.image, targets, config.weights)[0])
            points.append((done, paused - began - asked, value))
        asked += time.perf_counter() - paused
        return bool(points) and points[-1][2] <= goal

    jaxstyle.stylize(params, content, style, config, callback=note)
    return points


def reached(points, goal):
    """First work and seconds at which the loss is no higher than `goal`."""
    return next(((work, seconds) for work, seconds, loss in points if loss <= goal), None)


def draw(curves, path):
    """Loss over work of every pair's schedules, as a picture."""
    from matplotlib import pyplot  # Of the extra `bench`.

    figure, panels = pyplot.subplots(1, len(curves), figsize=(5 * len(curves), 4), squeeze=False)
    for panel, (pair, schedules) in zip(panels[0], curves.items(), strict=True):
        for name, points in schedules.items():
            work, _, loss = zip(*points, strict=True)
            panel.plot(work, loss, label=name)
        goal = schedules["crowson"][-1][2]
        panel.axhline(goal, color="gray", linewidth=0.5)
        panel.set(title=pair, xlabel="steps at full size", ylabel="loss", yscale="log")
        panel.set_ylim(0.95 * goal, 4 * goal)
        panel.legend()
    figure.tight_layout()
    figure.savefig(path, dpi=100)


def main():
    parser = argparse.ArgumentParser(description="How soon schedules reach an objective.")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--pairs", type=int, default=len(PAIRS), help="how many pairs to paint")
    parser.add_argument("--schedules", type=int, help="how many of the schedules, of five")
    parser.add_argument("-o", "--output", type=Path, help="curves, as JSON")
    parser.add_argument("--plot", type=Path, help="curves, as a picture")
    args = parser.parse_args()
    params = jaxstyle.load_weights(decoder=True)
    found, rows = {}, []
    for names in PAIRS[: args.pairs]:
        content = jaxstyle.read_image(IMAGES / f"{names[0]}.jpg", args.size)
        style = jaxstyle.read_image(IMAGES / f"{names[1]}.jpg")
        curves, goal = {}, 0.0
        for name, config in list(schedules(args.size).items())[: args.schedules]:
            curves[name] = curve(params, content, style, config, goal)
            goal = curves["crowson"][-1][2]
            there = reached(curves[name], goal)
            share = "" if there is None else f"{there[0] / curves['crowson'][-1][0]:.2f}"
            ends = "never" if there is None else f"{there[0]:.0f}"
            last = curves[name][-1]
            cells = [" + ".join(names), name, f"{last[2]:.4f} after {last[0]:.0f}", ends, share]
            rows.append("| " + " | ".join(cells) + " |")
            print(rows[-1], flush=True)
        found[" + ".join(names)] = curves
    environment = {
        "python": platform.python_version(),
        "jax": jax.__version__,
        "cores": os.cpu_count(),
        "device": jax.devices()[0].device_kind,
    }
    print("\n| pair | schedule | loss at the end | steps to crowson's end | share |")
    print("|---|---|---|---|---|", *rows, sep="\n")
    print(json.dumps(environment))
    if args.output is not None:
        args.output.write_text(json.dumps({"environment": environment, "curves": found}))
    if args.plot is not None:
        draw(found, args.plot)


if __name__ == "__main__":
    main()
