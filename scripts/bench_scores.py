"""What presets make of content weights, at equal work: scores of `jaxstyle.metrics` as a table.

    python scripts/bench_scores.py PHOTOGRAPHS PAINTINGS --size 128 -o scores.json

Every photograph of one folder in every style of another. Presets get as many steps as take the
work of `default`'s; scores read layers that no preset's loss reads, and are means over pairs.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np

import jaxstyle
from jaxstyle import PRESETS, metrics, pyramid

FACTORS = (0.25, 1.0, 4.0)
"""Times each preset's content weight."""


def at_equal_work(config, work):
    """The configuration with its steps scaled to work on as many pixels, of a square picture."""
    plan = pyramid.levels((1, 1), config)
    share = work / pyramid.work(plan)
    # A line search evaluates the loss at least once more.
    share /= 2 if config.line_search else 1
    return replace(config, steps=tuple(max(1, round(count * share)) for _, count in plan))


def main():
    parser = argparse.ArgumentParser(description="Scores over the content weight, at equal work.")
    parser.add_argument("contents", type=Path)
    parser.add_argument("styles", type=Path)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--presets", nargs="+", default=["default", "classic", "crowson"])
    parser.add_argument("-o", "--output", type=Path, help="scores of every pair, as JSON")
    args = parser.parse_args()
    params, rows = jaxstyle.load_weights(), []
    score = jax.jit(metrics.score)
    sized = [replace(PRESETS[name], size=args.size) for name in ("default", *args.presets)]
    work = pyramid.work(pyramid.levels((1, 1), sized[0]))
    print("| preset | content weight | content | structure | style | color |")
    print("|---|---|---|---|---|---|")
    for name, config in zip(args.presets, sized[1:], strict=True):
        for factor in FACTORS:
            weight = config.content_weight * factor
            equal = replace(at_equal_work(config, work), content_weight=weight)
            found = []
            for content_path in sorted(args.contents.iterdir()):
                content = jaxstyle.read_image(content_path, args.size)
                for style_path in sorted(args.styles.iterdir()):
                    style = jaxstyle.read_image(style_path, args.size)
                    image = jaxstyle.stylize(params, content, style, equal).image
                    scores = [float(value) for value in score(params, content, style, image)]
                    found.append(dict(zip(metrics.Scores._fields, scores, strict=True)))
            rows.append({"preset": name, "content_weight": weight, "scores": found})
            mean = {k: np.mean([row[k] for row in found]) for k in metrics.Scores._fields}
            cells = [f"{mean[k]:.2f}" for k in ("content", "structure", "style", "color")]
            print(f"| {name} | {weight:g} | {' | '.join(cells)} |", flush=True)
    if args.output is not None:
        args.output.write_text(json.dumps(rows))


if __name__ == "__main__":
    main()
