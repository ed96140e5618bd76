"""The study of layers: what each one holds, and what sets of them make of a photograph.

All pictures of a study are made by one program: layers that a picture does not use weigh nothing.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from jaxstyle.config import StyleConfig
from jaxstyle.loop.driver import TransferInputs, paint
from jaxstyle.loop.style_cache import StyleCache
from jaxstyle.metrics import Scores, score
from jaxstyle.presets import GATYS_STYLE_LAYERS
from jaxstyle.types import AnyArray, Params

CONTENT_LAYERS = ("relu1_2", "relu2_2", "relu3_2", "relu4_2", "relu5_2")
"""Layers whose content is reconstructed: those of Gatys et al. (2016), figure 1."""
STYLE_SETS = (
    ("relu1_1", "relu2_1"),
    ("relu2_1", "relu3_1"),
    ("relu3_1", "relu4_1"),
    ("relu4_1", "relu5_1"),
    GATYS_STYLE_LAYERS,
)
"""Sets of style layers to compare: fine to coarse, and the papers'."""


class Panel(NamedTuple):
    """A picture of a study: what it shows, how it is made, and whether it is to be scored."""

    label: str
    config: StyleConfig
    scored: bool


def reconstructions(config: StyleConfig) -> tuple[list[Panel], list[Panel]]:
    """The papers' first figure: content of single layers, style of the first one to five."""
    # Next to nothing of the Laplacian, not nothing: all panels are made by one program.
    own = {"tv_weight": 0, "laplacian_weight": min(config.laplacian_weight, 1e-12)}
    base = replace(config, init="noise", blend=(), **own)
    content = [
        Panel(name, replace(base, content_layers=(name,), content_weight=1, style_weight=0), False)
        for name in CONTENT_LAYERS
    ]
    prefixes = [GATYS_STYLE_LAYERS[:n] for n in range(1, len(GATYS_STYLE_LAYERS) + 1)]
    style = [
        Panel(
            prefix[0] if len(prefix) == 1 else f"{prefix[0]} to {prefix[-1]}",
            replace(base, style_layers=prefix, content_weight=0),
            False,
        )
        for prefix in prefixes
    ]
    return content, style


def sweep(
    config: StyleConfig, sets: Sequence[Mapping[str, float]], style_weights: Sequence[float]
) -> list[list[Panel]]:
    """A row for every set of style layers, a picture for every weight of the style."""
    return [
        [
            Panel(
                f"{_short(layers)}\nweight {weight:g}",
                replace(config, style_layers=layers, style_weight=weight),
                True,
            )
            for weight in style_weights
        ]
        for layers in sets
    ]


def render_panels(
    params: Params,
    content: Float[AnyArray, "h w 3"],
    style: Float[AnyArray, "_h _w 3"],
    panels: Sequence[Panel],
    *,
    at_once: int = 1,
) -> Iterator[tuple[np.ndarray, Scores | None]]:
    """Picture and scores of every panel, in order; of one that diverged there are no scores.

    Args:
      params: weights from `load_weights`.
      content: photograph; `config.size` of the panels says how large the pictures are.
      style: painting.
      panels: of `reconstructions` and `sweep`, made of one configuration.
      at_once: pictures in one program; the rest of the last batch are copies.
    """
    at_once = min(at_once, len(panels))
    configs = share_program([panel.config for panel in panels])
    paintings, scores = StyleCache(), jax.jit(score)
    for begin in range(0, len(panels), at_once):
        part = list(range(begin, min(begin + at_once, len(panels))))
        filled = [*part, *[part[-1]] * (at_once - len(part))]
        subjects = [TransferInputs(content, (style,), configs[i]) for i in filled]
        shape = content.shape[:2]
        result = paint(params, subjects, None, shape=shape, batched=True, paintings=paintings)
        for i, image in zip(part, np.asarray(result.image), strict=False):
            found = None
            if panels[i].scored and np.asarray(result.trace.finite)[i - begin, -1]:
                seen = jax.image.resize(content, image.shape, "cubic")
                found = scores(params, seen, style, image)
            yield image, found


def share_program(configs: Sequence[StyleConfig]) -> list[StyleConfig]:
    """The same configurations, each with the layers of all; those of others weigh 0."""
    # Weights are relative, so that those of the loss are as good; a family that is off has none.
    content = {name: 0.0 for config in configs for name in config.weights.content}
    style = {name: 0.0 for config in configs for name in config.weights.style}
    return [
        replace(
            config,
            content_layers=content | config.weights.content,
            style_layers=style | config.weights.style,
        )
        for config in configs
    ]


def _short(layers: Mapping[str, float]) -> str:
    names = (name.removeprefix("relu") for name in layers)
    return " ".join(
        name if weight == 1 else f"{name}={weight:g}"
        for name, weight in zip(names, layers.values(), strict=True)
    )
