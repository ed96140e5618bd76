"""Layer studies: reconstructions from single layers, and results of several sets of style layers.

All panels of a study share one compiled program: layers that a panel does not use have weight 0.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from jaxstyle.config import StyleConfig
from jaxstyle.loop.driver import TransferInputs, run_transfer
from jaxstyle.loop.style_cache import StyleCache
from jaxstyle.metrics import Scores, score
from jaxstyle.presets import GATYS_STYLE_LAYERS
from jaxstyle.types import AnyArray, Params
from jaxstyle.vgg19 import limit_filters

CONTENT_LAYERS = ("relu1_2", "relu2_2", "relu3_2", "relu4_2", "relu5_2")
"""Content layers to reconstruct from: those of Gatys et al. (2016), figure 1."""
STYLE_SETS = (
    ("relu1_1", "relu2_1"),
    ("relu2_1", "relu3_1"),
    ("relu3_1", "relu4_1"),
    ("relu4_1", "relu5_1"),
    GATYS_STYLE_LAYERS,
)
"""Sets of style layers to compare, fine to coarse; the last is that of Gatys et al. (2016)."""


class Panel(NamedTuple):
    """One image of a study.

    Attributes:
      label: caption, without scores.
      config: configuration of the run that makes the image.
      scored: whether `render_panels` computes scores for it.
    """

    label: str
    config: StyleConfig
    scored: bool


def reconstructions(config: StyleConfig) -> tuple[list[Panel], list[Panel]]:
    """Return the panels of Gatys et al. (2016), figure 1: reconstructions from white noise.

    Args:
      config: configuration that the panels are derived from.

    Returns:
      Content reconstructions from each of `CONTENT_LAYERS`, and style reconstructions from
      the first one to five of `GATYS_STYLE_LAYERS`.

    Example:
      >>> from jaxstyle import StyleConfig
      >>> content, style = reconstructions(StyleConfig())
      >>> [panel.label for panel in content]
      ['relu1_2', 'relu2_2', 'relu3_2', 'relu4_2', 'relu5_2']
      >>> style[1].label
      'relu1_1 to relu2_1'
    """
    # A weight of 0 would remove the Laplacian from the program, which all panels share.
    overrides = {"tv_weight": 0, "laplacian_weight": min(config.laplacian_weight, 1e-12)}
    base = replace(config, init="noise", blend=(), **overrides)
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
    """Return one row of panels per set of style layers, with one panel per style weight.

    Args:
      config: configuration that the panels are derived from.
      sets: style layers with their relative weights.
      style_weights: values of `StyleConfig.style_weight`.

    Example:
      >>> from jaxstyle import StyleConfig
      >>> rows = sweep(StyleConfig(), [{"relu1_1": 4, "relu2_1": 1}], (5, 20))
      >>> [panel.config.style_weight for panel in rows[0]]
      [5.0, 20.0]
    """
    return [
        [
            Panel(
                f"{_layers_label(layers)}\nweight {weight:g}",
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
    batch_size: int = 1,
) -> Iterator[tuple[np.ndarray, Scores | None]]:
    """Yield the image and the scores of each panel, in order.

    The scores are `None` for a panel that diverged or is not to be scored.

    Args:
      params: weights from `load_weights`.
      content: content image. The size of the results is that of the panels' `config.size`.
      style: style image.
      panels: panels from `reconstructions` and `sweep`, all derived from one configuration.
      batch_size: batch size. The last batch is filled up with copies of its last panel.
    """
    batch_size = min(batch_size, len(panels))
    configs = share_program([panel.config for panel in panels])
    style_cache, score_image = StyleCache(), jax.jit(score)
    scored_params = limit_filters(params)
    for begin in range(0, len(panels), batch_size):
        indices = list(range(begin, min(begin + batch_size, len(panels))))
        padded = [*indices, *[indices[-1]] * (batch_size - len(indices))]
        inputs = [TransferInputs(content, (style,), configs[i]) for i in padded]
        shape = content.shape[:2]
        result = run_transfer(
            params, inputs, None, shape=shape, batched=True, style_cache=style_cache
        )
        for i, image in zip(indices, np.asarray(result.image), strict=False):
            scores = None
            if panels[i].scored and np.asarray(result.trace.finite)[i - begin, -1]:
                resized = jax.image.resize(content, image.shape, "cubic")
                scores = score_image(scored_params, resized, style, image)
            yield image, scores


def share_program(configs: Sequence[StyleConfig]) -> list[StyleConfig]:
    """Give all configurations the same layers, so that they share one compiled program.

    Each configuration gets the layers of all others with weight 0; its loss is unchanged.

    Example:
      >>> from jaxstyle import StyleConfig
      >>> configs = [StyleConfig(style_layers=name) for name in ("relu1_1", "relu2_1")]
      >>> share_program(configs)[0].style_layers
      (('relu1_1', 10.0), ('relu2_1', 0.0))
    """
    # Layer weights are relative, so the loss's own coefficients can be given as weights.
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


def _layers_label(layers: Mapping[str, float]) -> str:
    """Return the layers in short form, such as `1_1=4 2_1`."""
    names = (name.removeprefix("relu") for name in layers)
    return " ".join(
        name if weight == 1 else f"{name}={weight:g}"
        for name, weight in zip(names, layers.values(), strict=True)
    )
