"""Every default, once: the configuration of a run.

This module imports nothing heavy, so that the command line can print its help
without loading JAX.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, get_args, get_origin

from jaxstyle.options import (
    Carry,
    ColorMode,
    ContentLoss,
    ContentNorm,
    DType,
    GramNorm,
    Init,
    Optimizer,
    Padding,
    Pooling,
    StyleLoss,
    TVForm,
    WhichConv,
    check_layers,
    check_option,
    layers_of,
    split_term,
)

Layers = Mapping[str, float] | Iterable[str] | Iterable[tuple[str, float]]


def _option(default: Any, help: str, **metadata: Any) -> Any:
    return field(default=default, metadata={"help": help, **metadata})


def _pairs(layers: Layers) -> tuple[tuple[str, float], ...]:
    layers = (layers,) if isinstance(layers, str) else layers
    items = layers.items() if isinstance(layers, Mapping) else layers
    pairs = [(item, 1.0) if isinstance(item, str) else item for item in items]
    return tuple((str(name), float(weight)) for name, weight in pairs)


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
class OptimizerSpec:
    """What shapes the descent's program; hashable."""

    optimizer: Optimizer
    line_search: bool
    clamp: bool
    carry: Carry


@dataclass(frozen=True)
class StyleConfig:
    """How to stylize: immutable and hashable, so that it can be a static argument of `jax.jit`.

    Layers may be given as names, as a mapping from names to weights, or as pairs;
    they are kept as pairs. A name with another loss before it, such as `nearest:relu3_1`, is
    a term of its own, so that a layer may have several. The weights of one family are
    relative: they are scaled to sum to 1, so that `content_weight` and `style_weight` keep
    their meaning when layers come or go.

    Raises:
      ValueError: a field is outside its range; the message names field, value and range.
    """

    size: int = _option(512, "long edge of the picture, in pixels", low=16)
    min_size: int = _option(
        # With a third level of 128 pixels, Adam on pixels and 13 % less work losses at 512 px were
        # 5.92, 2.75 and 3.60, without it 5.77, 2.57 and 3.51.
        256,
        "smallest long edge to start from: `size` is divided by `scale_factor` down to no less",
        low=16,
    )
    scale_factor: float = _option(2.0, "ratio of neighboring sizes, coarse to fine", above=1)
    steps: tuple[int, ...] = _option(
        # With 80 and 60 losses at 512 px were 2 and 4 % lower than with these (5.05 for 5.16 with
        # coffee, 1.99 for 2.07 with chelsea), for a third more work.
        (60, 45),
        "steps at each size, coarse to fine; the last number repeats",
        low=1,
    )
    content_layers: Layers = _option(
        (("relu4_2", 1.0),),
        "layers that hold the photograph; self_similarity:LAYER compares their places' likeness",
    )
    style_layers: Layers = _option(
        # Fine layers move most pixels for their loss and are met first; the deepest, alone as
        # strong as the others together, would bend the photograph's shapes.
        (("relu1_1", 4.0), ("relu2_1", 4.0), ("relu3_1", 2.0), ("relu4_1", 1.0), ("relu5_1", 0.2)),
        "layers that hold the style; LOSS:LAYER compares one by another loss than --style-loss",
    )
    content_weight: float = _option(1.0, "α, coefficient of the content loss", low=0)
    style_weight: float = _option(12.0, "β, coefficient of the style loss", low=0)
    laplacian_weight: float = _option(
        0.0,
        "coefficient of the matting Laplacian, which keeps photographs photographic: colors change "
        "alike in small windows; try 1000",
        low=0,
    )
    tv_weight: float = _option(80.0, "γ, coefficient of the total variation", low=0)
    blend: tuple[float, ...] = _option(
        (), "relative weight of each of several styles; empty for equal ones", low=0
    )
    style_scale: float = _option(
        1.0, "long edge of the style relative to the picture: below 1, finer strokes", above=0
    )
    color: ColorMode = _option(
        "style",
        "colors of the result: the style's; the content's, by painting in luminance only; or "
        "the content's, by matching the style's color statistics to it first",
    )
    init: Init = _option(
        "content",
        "where to start: the photograph, a first guess in one pass (AdaIN), white noise, noise "
        "with the style's colors, mid-gray",
    )
    noise: float = _option(
        # A picture enlarged is smooth, and texture grows where some is already: a few spots would
        # be driven to splinters before the rest has any. Of 0.1, grain was left in smooth parts.
        0.04,
        "deviation of the noise added to the photograph and to every enlarged picture, so that "
        "texture grows everywhere at once",
        low=0,
    )
    seed: int = _option(0, "seed of the noise", low=0, high=2**32 - 1)
    optimizer: Optimizer = _option(
        # At 256 px 40 steps were worth 100 of Adam on pixels: losses 3.49 and 3.48 of chelsea.
        "pyramid_adam",
        "method of descent: Adam without momentum on a pyramid of the picture, its iterates "
        "averaged as it goes; Adam on pixels, which wants --learning-rate 0.02 --average 0.8; "
        "L-BFGS",
    )
    learning_rate: float = _option(
        # At 256 px 60 steps ended at losses of 6.26 and 3.34 (coffee, chelsea), with 0.03 at 6.26
        # and 3.40, with 0.04 at 6.29 and 3.49.
        0.02,
        "step size of Adam, in units of the image's [0, 1]; L-BFGS has its own",
        above=0,
    )
    line_search: bool = _option(False, "L-BFGS: search the step's length instead of fixing it")
    average: float = _option(
        0.0,
        "decay of an average over the steps' pictures that becomes the result; 0 for the last "
        "picture, which for pyramid_adam is an average already",
        low=0,
    )
    carry: Carry = _option(
        "detail",
        "what goes from one size to the next: the picture, with detail of the photograph where it "
        "started from it; the picture alone; the picture and Adam's moments",
    )
    clamp: bool = _option(True, "keep pixels in [0, 1] after every step")
    pooling: Pooling = _option("max", "how VGG halves its maps")
    padding: Padding = _option(
        # Zeros are an edge that every layer sees: the optimizer paints a frame along it.
        "edge",
        "how VGG fills borders",
    )
    dtype: DType = _option("float32", "dtype of the features")
    content_norm: ContentNorm = _option("mean", "content loss as a mean or as Gatys' sum")
    style_loss: StyleLoss = _option(
        # Gram matrices mix mean and spread: a few strong spots make up for a pale picture.
        "wasserstein",
        "what of the style is matched: Gram matrices; mean and covariance; mean and deviation; "
        "distributions along directions, or of channels; nearest features; a relaxed transport",
    )
    gram_norm: GramNorm = _option("mean", "Gram loss as a mean or with Gatys' quarter")
    tv_form: TVForm = _option("nine_point", "total variation's neighbors")
    conv: WhichConv = _option(
        "auto",
        "how convolutions of float32 are computed: Winograd's on CPUs where it is faster, in no "
        "layer, or in every one but the first",
    )

    def __post_init__(self):
        for name, losses in (("content_layers", ContentLoss), ("style_layers", StyleLoss)):
            pairs = _pairs(getattr(self, name))
            object.__setattr__(self, name, pairs)
            names = [term for term, _ in pairs]
            check_layers(layers_of(names))
            for loss in filter(None, (split_term(term)[0] for term in names)):
                check_option(f"the loss of a term of {name}", loss, losses)
            if len(set(names)) < len(names):
                raise ValueError(f"`{name}` names a layer twice: {', '.join(names)}.")
            if any(not 0 <= weight < math.inf for _, weight in pairs):
                raise ValueError(f"`{name}` has a weight below 0 or not finite: {dict(pairs)}.")
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            if f.type in (int, float):
                value = _number(f, f.type, value)
            elif get_origin(f.type) is tuple:
                items = value if isinstance(value, Iterable) else (value,)
                value = tuple(_number(f, get_args(f.type)[0], item) for item in items)
            object.__setattr__(self, f.name, value)
            _check(f, value)
        if not self.steps:
            raise ValueError("`steps` is empty; give at least one number.")
        if self.carry == "moments" and self.optimizer != "adam":
            raise ValueError(f"`carry` is 'moments'; {self.optimizer} has none, only adam.")
        if self.average >= 1:
            raise ValueError(f"`average` is {self.average}; it must be below 1.")

    @property
    def weights(self) -> Weights:
        """The loss's coefficients, for `total_loss`."""
        return Weights(
            content=_scaled(self.content_layers, self.content_weight),
            style=_scaled(self.style_layers, self.style_weight),
            tv=self.tv_weight,
            laplacian=self.laplacian_weight,
        )

    @property
    def spec(self) -> LossSpec:
        """The part of the configuration that shapes the loss's program."""
        return LossSpec(
            content_layers=tuple(self.weights.content),
            style_layers=tuple(self.weights.style),
            pooling=self.pooling,
            padding=self.padding,
            dtype=self.dtype,
            content_norm=self.content_norm,
            style_loss=self.style_loss,
            gram_norm=self.gram_norm,
            tv_form=self.tv_form,
            laplacian=self.laplacian_weight > 0,
            conv=self.conv,
        )

    @property
    def optimizer_spec(self) -> OptimizerSpec:
        """The part of the configuration that shapes the descent's program."""
        return OptimizerSpec(self.optimizer, self.line_search, self.clamp, self.carry)

    @property
    def static_key(self) -> dict[str, Any]:
        """What pictures must have in common to be made by one compiled program."""
        names = ("size", "min_size", "scale_factor", "steps", "color")
        return {
            **{name: getattr(self, name) for name in names},
            **dataclasses.asdict(self.spec),
            **dataclasses.asdict(self.optimizer_spec),
        }


def _scaled(layers: Layers, coefficient: float) -> dict[str, float]:
    weights = dict(_pairs(layers))
    total = sum(weights.values()) or 1.0
    return {name: coefficient * weight / total for name, weight in weights.items()}


def _number(f: dataclasses.Field, kind: type, value: Any) -> Any:
    try:
        number = kind(value)
    except OverflowError:
        raise ValueError(f"`{f.name}` is {value}; it must be finite.") from None
    if number != value and value == value:  # NaN differs from itself; its range says no.
        raise ValueError(f"`{f.name}` is {value}; it must be a whole number.")
    return number


def _check(f: dataclasses.Field, value: Any) -> None:
    if f.type is bool and not isinstance(value, bool):
        raise ValueError(f"`{f.name}` is {value!r}; it must be true or false.")
    if get_origin(f.type) is Literal:
        check_option(f.name, value, f.type)
    for number in value if isinstance(value, tuple) else (value,):
        if "low" in f.metadata and not number >= f.metadata["low"]:
            raise ValueError(f"`{f.name}` is {number}; it must be at least {f.metadata['low']}.")
        if "above" in f.metadata and not number > f.metadata["above"]:
            raise ValueError(f"`{f.name}` is {number}; it must be above {f.metadata['above']}.")
        if "high" in f.metadata and not number <= f.metadata["high"]:
            raise ValueError(f"`{f.name}` is {number}; it must be at most {f.metadata['high']}.")
        if number == math.inf:
            raise ValueError(f"`{f.name}` is {number}; it must be finite.")


def parse_value(name: str, text: str) -> Any:
    """Value of the field `name` written as text, as a flag or a table's cell holds it.

    Tuples are comma-separated; layers are `relu1_1,relu2_1` or `relu1_1=4,relu2_1=1`.

    Raises:
      ValueError: the text is not of the field's type.
    """
    kind: Any = {f.name: f.type for f in dataclasses.fields(StyleConfig)}[name]
    items = [item.strip() for item in text.split(",") if item.strip()]
    try:
        if kind is Layers:
            split = [item.partition("=") for item in items]
            return tuple((layer.strip(), float(w) if eq else 1.0) for layer, eq, w in split)
        if kind is bool:
            return {"true": True, "yes": True, "false": False, "no": False}[text.lower()]
        if get_origin(kind) is Literal:
            return text
        if get_origin(kind) is tuple:
            return tuple(get_args(kind)[0](item) for item in items)
        return kind(text)
    except (ValueError, KeyError):
        wanted = {int: "a whole number", float: "a number", bool: "yes or no"}
        raise ValueError(
            f"`{name}` is {text!r}; it must be {wanted.get(kind, 'a list such as its default')}."
        ) from None
