"""Score presets over the content weight, at equal work; print a Markdown table.

    python scripts/bench_scores.py CONTENTS STYLES --size 128 -o scores.json

Each content image is combined with each style image. The steps of each preset are scaled to the
work of `default`. The scores are from `jaxstyle.metrics`, on layers that no preset's loss uses;
the table has means over all pairs.
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
"""Factors on the content weight of each preset."""


def at_equal_work(config, work):
    """Return the configuration with its steps scaled to `work`, for a square image.

    Args:
      config: configuration to scale.
      work: pixels times steps, from `pyramid.work`.
    """
    plan = pyramid.levels((1, 1), config)
    factor = work / pyramid.work(plan)
    # A line search evaluates the loss at least twice per step.
    factor /= 2 if config.line_search else 1
    return replace(config, steps=tuple(max(1, round(count * factor)) for _, count in plan))


def main():
    parser = argparse.ArgumentParser(description="Score presets at equal work.")
    parser.add_argument("contents", type=Path, help="folder of content images")
    parser.add_argument("styles", type=Path, help="folder of style images")
    parser.add_argument("--size", type=int, default=128, help="long edge, in pixels")
    parser.add_argument("--presets", nargs="+", default=["default", "classic", "crowson"])
    parser.add_argument("-o", "--output", type=Path, help="write the scores of all pairs as JSON")
    args = parser.parse_args()
    params, rows = jaxstyle.load_weights(), []
    score, limited = jax.jit(metrics.score), jaxstyle.limit_filters(params)
    sized = [replace(PRESETS[name], size=args.size) for name in ("default", *args.presets)]
    work = pyramid.work(pyramid.levels((1, 1), sized[0]))
    print("| preset | content weight | content | structure | style | color |")
    print("|---|---|---|---|---|---|")
    for name, config in zip(args.presets, sized[1:], strict=True):
        for factor in FACTORS:
            weight = config.content_weight * factor
            equal = replace(at_equal_work(config, work), content_weight=weight)
            pair_scores = []
            for content_path in sorted(args.contents.iterdir()):
                content = jaxstyle.read_image(content_path, args.size)
                for style_path in sorted(args.styles.iterdir()):
                    style = jaxstyle.read_image(style_path, args.size)
                    image = jaxstyle.stylize(params, content, style, equal).image
                    scores = [float(value) for value in score(limited, content, style, image)]
                    pair_scores.append(dict(zip(metrics.Scores._fields, scores, strict=True)))
            rows.append({"preset": name, "content_weight": weight, "scores": pair_scores})
            mean = {k: np.mean([row[k] for row in pair_scores]) for k in metrics.Scores._fields}
            cells = [f"{mean[k]:.2f}" for k in ("content", "structure", "style", "color")]
            print(f"| {name} | {weight:g} | {' | '.join(cells)} |", flush=True)
    if args.output is not None:
        args.output.write_text(json.dumps(rows))


if __name__ == "__main__":
    main()
