"""The words that arguments may take: layers, ways of pooling and padding, forms of losses.

Free of JAX, so that the command line can check and list them before loading it.
"""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, Literal, get_args

Pooling = Literal["max", "average", "scaled_average"]
Padding = Literal["zeros", "reflect", "edge", "edge_first"]
DType = Literal["float32", "bfloat16"]
ContentNorm = Literal["mean", "gatys"]
GramNorm = Literal["mean", "gatys"]
ContentLoss = Literal["features", "self_similarity"]
StyleLoss = Literal[
    "gram", "wasserstein", "mean_std", "sliced", "histogram", "nearest", "transport"
]
TVForm = Literal["nine_point", "squared"]
WhichConv = Literal["auto", "direct", "winograd"]
ColorMode = Literal["style", "luminance", "match"]
Init = Literal["content", "adain", "noise", "statistics", "gray"]
Optimizer = Literal["pyramid_adam", "adam", "lbfgs"]
Carry = Literal["detail", "picture", "moments"]
Pairing = Literal["cross", "each"]
LogFormat = Literal["text", "json"]

NAME_TEMPLATE = "{content}_{style}.png"
"""Default name of a batch's pictures; see `jaxstyle.batch.jobs.output_name`."""

BLOCKS = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))
"""Channels and number of convolutions of VGG19's five blocks."""


def _layer_names() -> tuple[str, ...]:
    names = []
    for block, (_, convs) in enumerate(BLOCKS, start=1):
        for i in range(1, convs + 1):
            names += [f"conv{block}_{i}", f"relu{block}_{i}"]
        names.append(f"pool{block}")
    return tuple(names)


LAYERS: tuple[str, ...] = _layer_names()
"""Every layer's name, shallow to deep: `conv1_1`, `relu1_1`, ..., `pool5`."""


def check_layers(layers: Iterable[str]) -> None:
    """Raise `ValueError` for a name that is not a layer, `TypeError` for a bare string."""
    if isinstance(layers, str):
        raise TypeError(f"layers are {layers!r}; give a tuple of names, such as ({layers!r},).")
    for name in layers:
        if name not in LAYERS:
            near = get_close_matches(name, LAYERS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"layers are {', '.join(LAYERS)}."
            raise ValueError(f"unknown layer {name!r}; {hint}")


def split_term(term: str) -> tuple[str, str]:
    """Loss, or an empty word for the usual one, and layer of a term such as `sliced:relu3_1`."""
    loss, _, layer = term.rpartition(":")
    return loss, layer


def layers_of(terms: Iterable[str]) -> tuple[str, ...]:
    """Layers that terms read, each once."""
    return tuple(dict.fromkeys(split_term(term)[1] for term in terms))


def check_option(name: str, value: Any, options: Any) -> None:
    """Raise `ValueError` unless `value` is one of the words of the `Literal` `options`."""
    if value not in get_args(options):
        raise ValueError(
            f"`{name}` is {value!r}; it must be one of {', '.join(get_args(options))}."
        )


def min_side(layers: Iterable[str], padding: Padding = "zeros") -> int:
    """Smallest image side, in pixels, at which every one of `layers`, or terms, has a pixel."""
    # Block b lies behind b - 1 poolings. Its own pooling needs two pixels, and so does
    # a reflection: a pixel alone has none beside it.
    return max(
        (
            2 ** (int(name[4]) - 1) * (2 if padding == "reflect" or name.startswith("pool") else 1)
            for name in layers_of(layers)
        ),
        default=1,
    )
