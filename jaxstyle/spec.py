"""What the compiled loop needs of a configuration: coefficients, and static options.

This module does not import JAX.
"""

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
    Precision,
    TVForm,
    WhichConv,
)


class Weights(NamedTuple):
    """Coefficients of the terms of the loss: a pytree of numbers, which may be traced.

    Attributes:
      content: coefficient of each content term.
      style: coefficient of each style term.
      tv: coefficient of the total variation.
      laplacian: coefficient of the matting Laplacian.
    """

    content: dict[str, float]
    style: dict[str, float]
    tv: float
    laplacian: float = 0.0


@dataclass(frozen=True)
class LossSpec:
    """Static options of the loss: hashable, and part of the key of a compiled program.

    `content_layers` and `style_layers` are terms, such as `relu4_2` or `sliced:relu3_1`.
    `conv` and `filter_limit` are applied to the weights before the loop, not by `total_loss`.
    `tile` is the largest side of a tile in pixels, or 0 to see whole images.
    """

    content_layers: tuple[str, ...]
    style_layers: tuple[str, ...]
    pooling: Pooling
    padding: Padding
    dtype: DType
    precision: Precision
    content_norm: ContentNorm
    style_loss: str
    gram_norm: GramNorm
    tv_form: TVForm
    laplacian: bool
    conv: WhichConv
    filter_limit: float
    tile: int


@dataclass(frozen=True)
class OptimizerSpec:
    """Static options of the optimization: hashable, and part of the key of a compiled program."""

    optimizer: Optimizer
    line_search: bool
    clamp: bool
    carry: Carry
