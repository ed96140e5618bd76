"""A configuration taken apart: numbers that programs take, and what shapes the programs."""

from dataclasses import dataclass
from typing import NamedTuple

from jaxstyle.options import (
    Carry,
    ContentNorm,
    DType,
    GramNorm,
    Optimizer,
    Padding,
    Pooling,
    StyleLoss,
    TVForm,
    WhichConv,
)


class Weights(NamedTuple):
    """Coefficient of every term of the loss: a pytree of numbers, traced, never static."""

    content: dict[str, float]
    style: dict[str, float]
    tv: float
    laplacian: float = 0.0


@dataclass(frozen=True)
class LossSpec:
    """What shapes the loss's program, as opposed to its numbers; hashable.

    `content_layers` and `style_layers` are terms, such as `relu4_2` or `sliced:relu3_1`.
    """

    content_layers: tuple[str, ...]
    style_layers: tuple[str, ...]
    pooling: Pooling
    padding: Padding
    dtype: DType
    content_norm: ContentNorm
    style_loss: StyleLoss
    gram_norm: GramNorm
    tv_form: TVForm
    laplacian: bool
    conv: WhichConv


@dataclass(frozen=True)
class Method:
    """What shapes the descent's program; hashable."""

    optimizer: Optimizer
    line_search: bool
    clamp: bool
    carry: Carry
