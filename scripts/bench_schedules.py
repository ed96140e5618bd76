"""Compare schedules on the objective of the preset `crowson`; print a Markdown table and JSON.

    python scripts/bench_schedules.py --size 256 -o curves.json --plot curves.png

All schedules minimize the same losses with the same weights. Along the last level of each, the
loss of the current image is recorded with the work so far, in steps at full size, and the seconds.
Each schedule stops when it reaches the final loss of style-transfer-pytorch's schedule; the table
shows after how much work.
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
"""Fields of `StyleConfig` that define the objective."""


def schedules(size):
    """Return configurations with the same objective, by the name of their schedule."""
    crowson = replace(PRESETS["crowson"], size=size)
    objective = {name: getattr(crowson, name) for name in LOSS}
    default = replace(PRESETS["default"], size=size, **objective)
    # Enough steps at the last level for most schedules to reach the goal.
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
    """Run a schedule until its loss is at most `goal`.

    Returns:
      (work, seconds, loss) after each chunk of steps of the last level.
    """
    plan = pyramid.levels(content.shape[:2], config)
    shape = plan[-1][0]
    size = pyramid.style_shape(style.shape[:2], shape, config)
    resized_content, resized_style = (
        pyramid.resize(jax.numpy.asarray(image), image_shape)
        for image, image_shape in ((content, shape), (style, size))
    )
    targets = jaxstyle.make_targets(params, resized_content, [resized_style], config)
    loss = jax.jit(partial(jaxstyle.total_loss, params))
    # Time spent in the callback is not counted.
    points, callback_seconds, began = [], 0.0, time.perf_counter()

    def record(progress):
        nonlocal callback_seconds
        entered = time.perf_counter()
        if progress.level == progress.levels - 1:
            work = pyramid.work(plan, progress.step) / (shape[0] * shape[1])
            value = float(loss(progress.image, targets, config.weights)[0])
            points.append((work, entered - began - callback_seconds, value))
        callback_seconds += time.perf_counter() - entered
        return bool(points) and points[-1][2] <= goal

    jaxstyle.stylize(params, content, style, config, callback=record)
    return points


def reached(points, goal):
    """Return the first work and seconds at which the loss is at most `goal`, or `None`."""
    return next(((work, seconds) for work, seconds, loss in points if loss <= goal), None)


def draw(curves, path):
    """Plot the loss over the work, one panel per pair, and write the plot to `path`."""
    from matplotlib import pyplot  # From the extra `bench`.

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
    parser = argparse.ArgumentParser(description="Compare schedules on one objective.")
    parser.add_argument("--size", type=int, default=256, help="long edge, in pixels")
    parser.add_argument("--pairs", type=int, default=len(PAIRS), help="number of pairs, of four")
    parser.add_argument("--schedules", type=int, help="number of schedules, of five")
    parser.add_argument("-o", "--output", type=Path, help="write the curves as JSON")
    parser.add_argument("--plot", type=Path, help="write the curves as a plot")
    args = parser.parse_args()
    params = jaxstyle.load_weights(decoder=True)
    all_curves, rows = {}, []
    for names in PAIRS[: args.pairs]:
        content = jaxstyle.read_image(IMAGES / f"{names[0]}.jpg", args.size)
        style = jaxstyle.read_image(IMAGES / f"{names[1]}.jpg")
        curves, goal = {}, 0.0
        for name, config in list(schedules(args.size).items())[: args.schedules]:
            curves[name] = curve(params, content, style, config, goal)
            goal = curves["crowson"][-1][2]
            at_goal = reached(curves[name], goal)
            share = "" if at_goal is None else f"{at_goal[0] / curves['crowson'][-1][0]:.2f}"
            steps = "never" if at_goal is None else f"{at_goal[0]:.0f}"
            last = curves[name][-1]
            cells = [" + ".join(names), name, f"{last[2]:.4f} after {last[0]:.0f}", steps, share]
            rows.append("| " + " | ".join(cells) + " |")
            print(rows[-1], flush=True)
        all_curves[" + ".join(names)] = curves
    environment = {
        "python": platform.python_version(),
        "jax": jax.__version__,
        "cores": os.cpu_count(),
        "device": jax.devices()[0].device_kind,
    }
    print("\n| pair | schedule | final loss | steps to crowson's final loss | share |")
    print("|---|---|---|---|---|", *rows, sep="\n")
    print(json.dumps(environment))
    if args.output is not None:
        args.output.write_text(json.dumps({"environment": environment, "curves": all_curves}))
    if args.plot is not None:
        draw(all_curves, args.plot)


if __name__ == "__main__":
    main()
