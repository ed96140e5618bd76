"""Score methods over pairs of content and style images; print a Markdown table, write sheets.

    python scripts/bench_quality.py CONTENTS STYLES --size 256 --judge alexnet.ckpt -o quality

A method is a preset, or `preview`, and may have options: `default:content_weight=4`, or
`crowson:work=default` for its steps scaled to the work of `default`. Each content image is combined
with each style image. `content` and `style` are from AlexNet (`alexnet_judge.py`) if `--judge` is
given, all other scores from `jaxstyle.metrics`, on layers that no preset's loss uses.

The folder `-o` gets every result, `scores.json`, and one sheet for each pair: content and style,
then the results under letters in a random order, so that one can choose without knowing the
method. `key.json` has the methods.
"""

import argparse
import json
import time
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from alexnet_judge import judge, load_judge
from PIL import Image, ImageDraw

import jaxstyle
from jaxstyle import PRESETS, StyleConfig, metrics, pyramid
from jaxstyle.config import parse_value

METHODS = ("default", "photographic", "painterly", "preview", "crowson:work=default", "crowson")
COLUMNS = ("content", "style", "structure", "color", "grain", "smooth_grain")
_CAPTION = 16


class Method(NamedTuple):
    """A way to make results: its name, and its configuration or `None` for `preview`."""

    name: str
    config: StyleConfig | None


def parse_method(text: str, size: int) -> Method:
    """Return the method of a text such as `crowson:work=default,seed=1`."""
    name, _, options = text.partition(":")
    if name == "preview":
        return Method(text, None)
    pairs = dict(option.split("=", 1) for option in options.split(",") if option)
    work = pairs.pop("work", None)
    config = replace(PRESETS[name], size=size)
    config = replace(config, **{key: parse_value(key, value) for key, value in pairs.items()})
    if work is not None:
        config = at_equal_work(config, replace(PRESETS[work], size=size))
    return Method(text, config)


def at_equal_work(config: StyleConfig, other: StyleConfig) -> StyleConfig:
    """Return a configuration with its steps scaled to the work of another one."""
    plan = pyramid.levels((1, 1), config)
    factor = pyramid.work(pyramid.levels((1, 1), other)) / pyramid.work(plan)
    # A line search evaluates the loss at least twice per step.
    factor /= 2 if config.line_search else 1
    return replace(config, steps=tuple(max(1, round(count * factor)) for _, count in plan))


def stylize(params: Any, content: Any, style: Any, method: Method, size: int) -> np.ndarray:
    """Return the result of a method."""
    if method.config is None:
        return np.asarray(jaxstyle.preview(params, content, style, StyleConfig(size=size)))
    result = jaxstyle.stylize(params, content, style, method.config, callback=lambda _: None)
    return np.asarray(result.image)


def write_sheet(path: Path, images: dict[str, np.ndarray]) -> None:
    """Write images side by side in rows of three, with their captions."""
    height, width = np.max([image.shape[:2] for image in images.values()], axis=0)
    rows = -(-len(images) // 3)
    sheet = Image.new("RGB", (3 * (width + 4), rows * (height + _CAPTION)), "white")
    draw = ImageDraw.Draw(sheet)
    for i, (caption, image) in enumerate(images.items()):
        x, y = i % 3 * (width + 4), i // 3 * (height + _CAPTION)
        draw.text((x + 2, y + 2), caption, fill="black")
        pixels = np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)
        sheet.paste(Image.fromarray(pixels), (x, y + _CAPTION))
    sheet.save(path)


def score_pair(
    params: Any, alexnet: Any, paths: tuple[Path, Path], methods: Sequence[Method], args: Any
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Make and score the results of one pair; write them and their sheet.

    Returns:
      The scores of each method, and the methods by their letters on the sheet.
    """
    content, style = (jaxstyle.read_image(path, args.size) for path in paths)
    name = "_".join(path.stem for path in paths)
    limited, score = jaxstyle.limit_filters(params), jax.jit(metrics.score)
    rows, results = [], {}
    for method in methods:
        began = time.perf_counter()
        image = stylize(params, content, style, method, args.size)
        seconds = time.perf_counter() - began
        scores = score(limited, content, style, image)._asdict()
        if alexnet is not None:
            scores |= judge(alexnet, content, style, jnp.asarray(image))._asdict()
        values = {key: float(value) for key, value in scores.items()}
        rows.append({"pair": name, "method": method.name, "seconds": seconds, **values})
        results[method.name] = image
        jaxstyle.write_image(args.output / f"{name}_{method.name.replace(':', '_')}.png", image)
        print(json.dumps(rows[-1]), flush=True)
    order = np.random.default_rng(zlib.crc32(name.encode())).permutation(len(methods))
    letters = {chr(ord("A") + i): methods[j].name for i, j in enumerate(order)}
    shown = {letter: results[method] for letter, method in letters.items()}
    write_sheet(args.output / f"sheet_{name}.png", {"content": content, "style": style, **shown})
    return rows, letters


def main():
    parser = argparse.ArgumentParser(description="Score methods, also without their names.")
    parser.add_argument("contents", type=Path, help="folder of content images")
    parser.add_argument("styles", type=Path, help="folder of style images")
    parser.add_argument("--size", type=int, default=256, help="long edge, in pixels")
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--pairs", type=int, help="only this many pairs, evenly spread")
    parser.add_argument("--judge", type=Path, help="weights of AlexNet")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder for the results")
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    methods = [parse_method(text, args.size) for text in args.methods]
    pairs = [(c, s) for c in sorted(args.contents.iterdir()) for s in sorted(args.styles.iterdir())]
    if args.pairs is not None:
        pairs = [pairs[i] for i in np.linspace(0, len(pairs) - 1, args.pairs).round().astype(int)]
    params = jaxstyle.load_weights(decoder=True)
    alexnet = None if args.judge is None else load_judge(args.judge)
    rows, key = [], {}
    for paths in pairs:
        own, letters = score_pair(params, alexnet, paths, methods, args)
        rows += own
        key[own[0]["pair"]] = letters
    (args.output / "scores.json").write_text(json.dumps(rows, indent=1))
    (args.output / "key.json").write_text(json.dumps(key, indent=1))
    print(f"| method | {' | '.join(COLUMNS)} | seconds |\n{'|---' * (len(COLUMNS) + 2)}|")
    for method in methods:
        own = [row for row in rows if row["method"] == method.name]
        means = [f"{np.mean([row[column] for row in own]):.3f}" for column in COLUMNS]
        seconds = np.median([row["seconds"] for row in own])
        print(f"| `{method.name}` | {' | '.join(means)} | {seconds:.1f} |")


if __name__ == "__main__":
    main()
