"""Allowed values of string options: layer names, pooling, padding, forms of losses.

This module does not import JAX, so that the command line can list and check the values
without loading it.
"""

from collections.abc import Collection, Iterable
from difflib import get_close_matches
from typing import Any, Literal, get_args

Pooling = Literal["max", "average", "scaled_average"]
Padding = Literal["zeros", "reflect", "edge", "edge_first"]
DType = Literal["float32", "bfloat16", "float64"]
Precision = Literal["default", "high", "highest"]
ContentNorm = Literal["mean", "gatys"]
GramNorm = Literal["mean", "gatys"]
ContentLoss = Literal["features", "self_similarity"]
StyleLoss = Literal[
    "gram", "wasserstein", "mean_std", "sliced", "histogram", "nearest", "transport"
]
STYLE_LOSSES: list[str] = list(get_args(StyleLoss))
"""Names of all style losses, with those that `losses.register_style_loss` adds."""
TVForm = Literal["nine_point", "squared"]
WhichConv = Literal["auto", "direct", "winograd"]
ColorMode = Literal["style", "luminance", "match"]
Init = Literal["content", "adain", "noise", "statistics", "gray"]
Optimizer = Literal["pyramid_adam", "adam", "lbfgs"]
Carry = Literal["detail", "picture", "moments"]
Pairing = Literal["cross", "each"]
LogFormat = Literal["text", "json"]
Platform = Literal["cpu", "gpu", "tpu"]
Engine = Literal["local", "ray"]

NAME_TEMPLATE = "{content}_{style}.png"
"""Default file name of a batch result; see `jaxstyle.batch.names.output_name`."""

BLOCKS = ((64, 2), (128, 2), (256, 4), (512, 4), (512, 4))
"""Number of channels and of convolutions in each of VGG19's five blocks."""


def _layer_names() -> tuple[str, ...]:
    names = []
    for block, (_, convs) in enumerate(BLOCKS, start=1):
        for i in range(1, convs + 1):
            names += [f"conv{block}_{i}", f"relu{block}_{i}"]
        names.append(f"pool{block}")
    return tuple(names)


LAYERS: tuple[str, ...] = _layer_names()
"""Names of all layers, from shallow to deep: `conv1_1`, `relu1_1`, ..., `pool5`."""


def suggest(name: Any, names: Iterable[str], otherwise: str) -> str:
    """Return the end of a message about an unknown name: the nearest valid one, if there is one.

    A name that begins like the unknown one is nearer than any other.

    Args:
      name: the unknown name.
      names: valid names.
      otherwise: what to return if no valid name is near.

    Example:
      >>> suggest("relu4-2", LAYERS, "choose a layer.")
      "did you mean 'relu4_2'?"
      >>> suggest("paint", ["batch", "score"], "it must be batch or score.")
      'it must be batch or score.'
    """
    if not isinstance(name, str) or len(name) < 2:
        return otherwise
    names = list(names)
    begun = [known for known in names if known.startswith(name)]
    nearest = begun or get_close_matches(name, names, n=1)
    return f"did you mean {nearest[0]!r}?" if nearest else otherwise


def check_layers(layers: Iterable[str]) -> None:
    """Raise unless every name in `layers` is a layer of VGG19.

    Raises:
      TypeError: `layers` is a single string.
      ValueError: a name is not a layer; the message suggests the nearest one.
    """
    if isinstance(layers, str):
        raise TypeError(
            f"`layers` is {layers!r}; it must be a tuple of names, such as ({layers!r},)."
        )
    for name in layers:
        if name not in LAYERS:
            hint = suggest(name, LAYERS, f"valid layers are {', '.join(LAYERS)}.")
            raise ValueError(f"unknown layer {name!r}; {hint}")


def split_term(term: str) -> tuple[str, str]:
    """Split a term of the loss into loss and layer; the loss is empty if the term names none.

    Example:
      >>> split_term("sliced:relu3_1")
      ('sliced', 'relu3_1')
      >>> split_term("relu4_2")
      ('', 'relu4_2')
    """
    loss, _, layer = term.rpartition(":")
    return loss, layer


def layers_of(terms: Iterable[str]) -> tuple[str, ...]:
    """Return the layers that the terms read, without repetition."""
    return tuple(dict.fromkeys(split_term(term)[1] for term in terms))


def layers_up_to(terms: Iterable[str]) -> tuple[str, ...]:
    """Return all layers of the network up to the deepest that the terms read.

    Example:
      >>> layers_up_to(["relu1_1", "sliced:relu1_2"])
      ('conv1_1', 'relu1_1', 'conv1_2', 'relu1_2')
    """
    deepest = max((LAYERS.index(name) for name in layers_of(terms)), default=-1)
    return LAYERS[: deepest + 1]


TILE_UNIT = 16
"""Tiles begin at multiples of the stride of the deepest layer, in pixels."""


def halo_of(terms: Iterable[str]) -> int:
    """Return how many pixels beyond its own the deepest layer of the terms depends on.

    Example:
      >>> halo_of(["relu1_1"]), halo_of(["sliced:relu5_1"])
      (1, 70)
    """
    convolutions = (name for name in layers_up_to(terms) if name.startswith("conv"))
    return sum(2 ** (int(name[4]) - 1) for name in convolutions)


def check_option(name: str, value: Any, options: Any) -> None:
    """Raise `ValueError` unless `value` is one of `options`, a `Literal` type.

    Args:
      name: argument name for the message.
      value: value to check.
      options: `Literal` type that lists the allowed values.
    """
    check_one_of(name, value, get_args(options))


def check_one_of(name: str, value: Any, options: Collection[str]) -> None:
    """Raise `ValueError` unless `value` is one of `options`; the message suggests the nearest."""
    if value not in options:
        hint = suggest(value, options, f"it must be one of {', '.join(options)}.")
        raise ValueError(f"`{name}` is {value!r}; {hint}")


def min_side(layers: Iterable[str], padding: Padding = "zeros") -> int:
    """Return the smallest image side, in pixels, that all the layers accept.

    Args:
      layers: names of layers, or terms of the loss.
      padding: border padding of the convolutions.

    Example:
      >>> min_side(["relu1_1", "sliced:relu4_1"])
      8
      >>> min_side(["relu4_1"], padding="reflect")
      16
    """
    # Block b follows b - 1 poolings and needs one pixel there. Its own pooling needs two,
    # and so does reflection, which repeats a neighbor of the border pixel.
    return max(
        (
            2 ** (int(name[4]) - 1) * (2 if padding == "reflect" or name.startswith("pool") else 1)
            for name in layers_of(layers)
        ),
        default=1,
    )
