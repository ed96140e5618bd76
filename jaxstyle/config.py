"""Configuration of a run: every option, its default and its help text.

This module does not import JAX, so that the command line can print its help
without loading it.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args, get_origin

from jaxstyle.options import (
    STYLE_LOSSES,
    TILE_UNIT,
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
    Precision,
    StyleLoss,
    TVForm,
    WhichConv,
    check_layers,
    check_one_of,
    check_option,
    halo_of,
    layers_of,
    split_term,
    suggest,
)
from jaxstyle.spec import LossSpec, OptimizerSpec, Weights

Layers = Mapping[str, float] | Iterable[str] | Iterable[tuple[str, float]]
"""Layers or terms: a mapping from names to weights, names, or pairs of name and weight."""


TileSize = int | None
"""Size of tiles; 0 for whole images, `None` for either."""

# Norm of the largest filter of conv4_1, in multiples of the median.
_ADAIN_FILTER_LIMIT = 5.5


def _option(
    default: Any, help: str, *, expert: bool = False, traceable: bool = False, **limits: Any
) -> Any:
    """Declare a field of `StyleConfig`.

    Args:
      default: default value.
      help: help text of the flag.
      expert: whether most users never need the option.
      traceable: whether its numbers may be traced by JAX. Traced numbers are not checked.
      limits: range of the numbers: `low` and `high` inclusive, `above` exclusive.
    """
    metadata = {"help": help, "expert": expert, "traceable": traceable, **limits}
    return field(default=default, metadata=metadata)


def is_traced(value: Any) -> bool:
    """Return whether a value is traced by a transformation of JAX; does not import JAX."""
    return any(base.__name__ == "Tracer" for base in type(value).__mro__)


@dataclass(frozen=True)
class StyleConfig:
    """Options of a run: immutable and hashable, so that they can be a static argument of `jax.jit`.

    Layers may be given as names, as a mapping from names to weights, or as pairs; they are
    stored as pairs. A name may have a loss as prefix, such as `nearest:relu3_1`; one layer can
    have several such terms. The weights of the content terms, and those of the style terms,
    are scaled to sum to 1. `content_weight` and `style_weight` therefore keep their meaning
    when layers are added or removed.

    Weights, `blend`, `noise`, `learning_rate` and `average` may be numbers traced by JAX: a
    function that calls `stylize` with `replace(config, style_weight=weight)` goes through
    `jax.vmap` and `jax.grad`.

    Example:
      >>> import dataclasses
      >>> from jaxstyle import StyleConfig
      >>> config = StyleConfig(style_layers={"relu1_1": 3, "relu2_1": 1}, style_weight=8)
      >>> config.weights.style
      {'relu1_1': 6.0, 'relu2_1': 2.0}
      >>> dataclasses.replace(config, style_weight=16).weights.style
      {'relu1_1': 12.0, 'relu2_1': 4.0}

    Raises:
      ValueError: a field is outside its range; the message names field, value and range.
    """

    size: int = _option(512, "size of the longer side of the result, in pixels", low=16)
    min_size: int = _option(
        # A third, coarser level gave higher losses.
        256,
        "smallest size to start from (longer side), in pixels; each later level is larger by the "
        "factor --scale-factor",
        expert=True,
        low=16,
    )
    scale_factor: float = _option(
        2.0, "size ratio of each level to the one before it", expert=True, above=1
    )
    steps: tuple[int, ...] = _option(
        # A third more work lowered the loss by a few percent only.
        (60, 45),
        "number of steps at each level, coarse to fine; the last number repeats",
        low=1,
    )
    stop: float = _option(
        0.0,
        "end a level when a step lowers the loss by less than this share, on average over 10 "
        "steps; try 0.002; 0 takes all steps",
        low=0,
    )
    content_layers: Layers = _option(
        (("relu4_2", 1.0),),
        "VGG19 layers of the content loss; self_similarity:LAYER compares the similarities "
        "between positions instead of the features",
    )
    style_layers: Layers = _option(
        # Strokes are in relu2_1 to relu4_1. A strong relu1_1 draws specks into smooth regions, a
        # strong relu5_1 distorts the shapes of the content image.
        (("relu1_1", 1.0), ("relu2_1", 1.5), ("relu3_1", 2.0), ("relu4_1", 1.5), ("relu5_1", 0.2)),
        "VGG19 layers of the style loss; LOSS:LAYER replaces --style-loss for one layer",
    )
    content_weight: float = _option(
        1.0,
        "weight of the content loss (α); larger keeps more of the content image",
        traceable=True,
        low=0,
    )
    style_weight: float = _option(
        10.0,
        "weight of the style loss (β); larger makes the style stronger",
        traceable=True,
        low=0,
    )
    laplacian_weight: float = _option(
        0.0,
        "weight of the matting Laplacian, which keeps the result photorealistic; try 1000",
        traceable=True,
        low=0,
    )
    tv_weight: float = _option(
        80.0,
        "weight of the total variation (γ); larger makes the result smoother",
        traceable=True,
        low=0,
    )
    blend: tuple[float, ...] = _option(
        (),
        "relative weight of each style image; equal weights if none are given",
        traceable=True,
        low=0,
    )
    style_scale: float = _option(
        1.0,
        "size of the style image relative to the result; below 1 makes strokes finer",
        above=0,
    )
    color: ColorMode = _option(
        "style",
        "colors of the result: from the style image (style), or from the content image, either by "
        "stylizing only its luminance (luminance) or by recoloring the style image first (match)",
    )
    init: Init = _option(
        "content",
        "start image: the content image (content), a fast one-pass stylization (adain), white "
        "noise (noise), noise with the colors of the style (statistics), or mid-gray (gray)",
    )
    noise: float = _option(
        # An enlarged image is smooth, and texture grows fastest where some already exists. Without
        # noise a few spots turn into splinters; with much more, smooth regions stay grainy.
        0.04,
        "standard deviation of the noise added to the content image and to each enlarged result, "
        "so that texture can grow everywhere",
        expert=True,
        traceable=True,
        low=0,
    )
    seed: int = _option(0, "seed of the random noise", low=0, high=2**32 - 1)
    optimizer: Optimizer = _option(
        # Reaches the loss of Adam on pixels in fewer than half the steps.
        "pyramid_adam",
        "optimizer: Adam on an image pyramid, with averaging (pyramid_adam); Adam on pixels "
        "(adam), best with --average 0.8; or L-BFGS (lbfgs)",
        expert=True,
    )
    learning_rate: float = _option(
        # Larger rates gave equal or higher losses.
        0.02,
        "learning rate of Adam, for pixels in [0, 1]; L-BFGS ignores it",
        expert=True,
        traceable=True,
        above=0,
    )
    line_search: bool = _option(
        False, "for L-BFGS: search for the best step length at every step", expert=True
    )
    average: float = _option(
        0.0,
        "decay rate of a moving average of the images of all steps, which becomes the result; 0 "
        "uses the last image (pyramid_adam already averages)",
        expert=True,
        traceable=True,
        low=0,
    )
    carry: Carry = _option(
        "detail",
        "how a level starts: from the enlarged result plus fine detail of the content image "
        "(detail), from the enlarged result alone (picture), or so and with Adam's moments "
        "(moments)",
        expert=True,
    )
    clamp: bool = _option(True, "clip pixels to [0, 1] after every step", expert=True)
    pooling: Pooling = _option(
        "max", "pooling method of VGG19; scaled_average is average times 1.43", expert=True
    )
    padding: Padding = _option(
        # Every layer sees zeros as an edge, and the optimizer would paint a frame along it.
        "edge",
        "border padding of VGG19's convolutions; edge_first is edge in the first layer and zeros "
        "in the others",
        expert=True,
    )
    dtype: DType = _option("float32", "data type of the VGG19 features", expert=True)
    precision: Precision = _option(
        "default",
        "precision of float32 convolutions on TPUs (1, 3 or 6 passes of bfloat16) and GPUs (TF32, "
        "TF32, float32); CPUs always compute in float32",
        expert=True,
    )
    content_norm: ContentNorm = _option(
        "mean",
        "content loss: mean of the squared differences (mean) or half their sum (gatys)",
        expert=True,
    )
    style_loss: StyleLoss = _option(
        # Gram matrices mix mean and spread: a few strong spots can make up for a pale result.
        "wasserstein",
        "what to match: Gram matrices (gram), mean and covariance (wasserstein), mean and standard "
        "deviation (mean_std), distributions along directions (sliced) or per channel (histogram), "
        "nearest features (nearest), or relaxed optimal transport (transport)",
    )
    gram_norm: GramNorm = _option(
        "mean",
        "Gram loss: mean of the squared differences (mean) or a quarter of it (gatys)",
        expert=True,
    )
    tv_form: TVForm = _option(
        "nine_point",
        "neighbors in the total variation: all eight (nine_point) or only horizontal and vertical "
        "(squared)",
        expert=True,
    )
    conv: WhichConv = _option(
        "auto",
        "use of Winograd's fast algorithm for float32 convolutions: where it is faster on a CPU "
        "(auto), nowhere (direct), or in every layer but the first (winograd)",
        expert=True,
    )

    filter_limit: float = _option(
        # A filter far above the others turns smooth regions into speckle.
        6.0,
        "largest norm of a filter of VGG19, in multiples of the median of its layer; 0 uses the "
        "filters as stored",
        expert=True,
        low=0,
    )
    tile: TileSize = _option(
        # The functions of the package compute whole images; the commands know the memory.
        None,
        "largest side of the tiles that an image is computed in, in pixels, a multiple of 16: less "
        "memory for more time, the same result up to rounding; none computes whole images, auto "
        "uses tiles if the memory needs them",
        expert=True,
    )

    def __post_init__(self):
        losses_of = {"content_layers": get_args(ContentLoss), "style_layers": STYLE_LOSSES}
        for name, losses in losses_of.items():
            pairs = _to_pairs(getattr(self, name))
            object.__setattr__(self, name, pairs)
            _check_terms(name, pairs, losses)
        for f in dataclasses.fields(self):
            value = getattr(self, f.name)
            if f.type in (int, float):
                value = _to_number(f, f.type, value)
            elif f.type == TileSize and value is not None:
                value = _to_number(f, int, value)
            elif get_origin(f.type) is tuple:
                items = value if isinstance(value, Iterable) else (value,)
                value = tuple(_to_number(f, get_args(f.type)[0], item) for item in items)
            object.__setattr__(self, f.name, value)
            _check_value(f, value)
        if not self.steps:
            raise ValueError("`steps` is empty; give at least one number.")
        if self.carry == "moments" and self.optimizer != "adam":
            raise ValueError(
                f"`carry` is 'moments' and `optimizer` is {self.optimizer!r}; 'moments' needs the "
                "optimizer 'adam'. Choose 'adam', or `carry` 'detail' or 'picture'."
            )
        if self.init == "adain" and 0 < self.filter_limit < _ADAIN_FILTER_LIMIT:
            raise ValueError(
                f"`filter_limit` is {self.filter_limit}; AdaIN needs 0 or at least "
                f"{_ADAIN_FILTER_LIMIT}, because its decoder expects relu4_1 unchanged."
            )
        if self.tile and (self.tile % TILE_UNIT or self.tile < self.least_tile):
            raise ValueError(
                f"`tile` is {self.tile}; it must be 0, or a multiple of {TILE_UNIT} of at least "
                f"{self.least_tile}, the pixels beyond it that the deepest layer depends on."
            )
        if not is_traced(self.average) and self.average >= 1:
            raise ValueError(f"`average` is {self.average}; it must be below 1.")

    @property
    def weights(self) -> Weights:
        """Coefficients of the loss, for `total_loss`."""
        return Weights(
            content=_scale_weights(self.content_layers, self.content_weight),
            style=_scale_weights(self.style_layers, self.style_weight),
            tv=self.tv_weight,
            laplacian=self.laplacian_weight,
        )

    @property
    def spec(self) -> LossSpec:
        """Static options of the loss."""
        return LossSpec(
            content_layers=tuple(self.weights.content),
            style_layers=tuple(self.weights.style),
            pooling=self.pooling,
            padding=self.padding,
            dtype=self.dtype,
            precision=self.precision,
            content_norm=self.content_norm,
            style_loss=self.style_loss,
            gram_norm=self.gram_norm,
            tv_form=self.tv_form,
            laplacian=is_traced(self.laplacian_weight) or self.laplacian_weight > 0,
            conv=self.conv,
            filter_limit=self.filter_limit,
            tile=self.tile or 0,
        )

    @property
    def least_tile(self) -> int:
        """Smallest size of a tile: what the deepest layer sees beyond it, in pixels."""
        halo = halo_of([term for term, _ in (*self.content_layers, *self.style_layers)])
        return -(-halo // TILE_UNIT) * TILE_UNIT

    @property
    def record(self) -> dict[str, Any]:
        """The options that determine the result."""
        return {n: value for n, value in dataclasses.asdict(self).items() if n != "tile"}

    @property
    def optimizer_spec(self) -> OptimizerSpec:
        """Static options of the optimization."""
        return OptimizerSpec(self.optimizer, self.line_search, self.clamp, self.carry)

    @property
    def static_key(self) -> dict[str, Any]:
        """Options that must be equal for images to share one compiled program."""
        names = ("size", "min_size", "scale_factor", "steps", "stop", "color")
        return {
            **{name: getattr(self, name) for name in names},
            **dataclasses.asdict(self.spec),
            **dataclasses.asdict(self.optimizer_spec),
        }


EXPECTED: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    tuple[int, ...]: "whole numbers separated by commas",
    tuple[float, ...]: "numbers separated by commas",
    Layers: "layers such as relu1_1 or relu1_1=4, separated by commas",
    TileSize: "a whole number, auto or none",
}
"""What the text of a field must be, by the type of the field."""


def parse_value(name: str, text: str) -> Any:
    """Parse a value of `StyleConfig` from the text of a flag or of a table cell.

    Lists are comma-separated. Layers are written `relu1_1,relu2_1` or `relu1_1=4,relu2_1=1`.

    Args:
      name: field of `StyleConfig`.
      text: text to parse.

    Returns:
      A value of the field's type; its range is checked by `StyleConfig`.

    Raises:
      KeyError: `StyleConfig` has no field `name`.
      ValueError: the text does not have the field's type.

    Example:
      >>> parse_value("steps", "60,45")
      (60, 45)
      >>> parse_value("style_layers", "relu1_1=4,relu2_1")
      (('relu1_1', 4.0), ('relu2_1', 1.0))
    """
    kind: Any = {f.name: f.type for f in dataclasses.fields(StyleConfig)}[name]
    items = [item.strip() for item in text.split(",") if item.strip()]
    try:
        if kind is Layers:
            split = [item.partition("=") for item in items]
            return tuple((layer.strip(), float(w) if eq else 1.0) for layer, eq, w in split)
        if kind == TileSize:
            return {"auto": None, "none": 0}[text] if text in ("auto", "none") else int(text)
        if kind is bool:
            return {"true": True, "yes": True, "false": False, "no": False}[text.lower()]
        if get_origin(kind) is Literal:
            return text
        if get_origin(kind) is tuple:
            return tuple(get_args(kind)[0](item) for item in items)
        return kind(text)
    except (ValueError, KeyError):
        raise ValueError(f"`{name}` is {text!r}; it must be {EXPECTED[kind]}.") from None


def _to_pairs(layers: Layers) -> tuple[tuple[str, float], ...]:
    layers = (layers,) if isinstance(layers, str) else layers
    items = layers.items() if isinstance(layers, Mapping) else layers
    pairs = [(item, 1.0) if isinstance(item, str) else item for item in items]
    return tuple((str(name), w if is_traced(w) else float(w)) for name, w in pairs)


def _scale_weights(layers: Layers, coefficient: Any) -> dict[str, Any]:
    """Scale the weights of layers so that they sum to `coefficient`."""
    weights = dict(_to_pairs(layers))
    total = sum(weights.values())
    total = total if is_traced(total) else total or 1.0
    return {name: coefficient * weight / total for name, weight in weights.items()}


def _to_number(f: dataclasses.Field, kind: type, value: Any) -> Any:
    if f.metadata["traceable"] and is_traced(value) and value.shape == ():
        return value
    try:
        if kind is float and not isinstance(value, str):
            return float(value)
        # NaN != NaN: no whole number equals it.
        if kind is int and int(value) == value:
            return int(value)
    except (OverflowError, ValueError, TypeError):
        pass
    raise ValueError(f"`{f.name}` is {value!r}; it must be {EXPECTED[kind]}.")


def _check_terms(name: str, pairs: tuple[tuple[str, Any], ...], losses: Iterable[str]) -> None:
    terms = [term for term, _ in pairs]
    check_layers(layers_of(terms))
    for term in terms:
        loss, _ = split_term(term)
        if loss and loss not in losses:
            hint = suggest(loss, losses, f"it must be one of {', '.join(losses)}.")
            raise ValueError(f"`{name}` has the loss {loss!r} in {term!r}; {hint}")
    repeated = [term for term in dict.fromkeys(terms) if terms.count(term) > 1]
    if repeated:
        raise ValueError(f"`{name}` names a layer twice: {', '.join(repeated)}.")
    if any(not is_traced(weight) and not 0 <= weight < math.inf for _, weight in pairs):
        raise ValueError(f"`{name}` is {dict(pairs)}; weights must be finite and at least 0.")


def _check_value(f: dataclasses.Field, value: Any) -> None:
    if f.type is bool and not isinstance(value, bool):
        raise ValueError(f"`{f.name}` is {value!r}; it must be true or false.")
    if f.type is StyleLoss:
        check_one_of(f.name, value, STYLE_LOSSES)
    elif get_origin(f.type) is Literal:
        check_option(f.name, value, f.type)
    numbers = value if isinstance(value, tuple) else (value,)
    if value is None:
        return
    for number in (number for number in numbers if not is_traced(number)):
        if "low" in f.metadata and not number >= f.metadata["low"]:
            raise ValueError(f"`{f.name}` is {number}; it must be at least {f.metadata['low']}.")
        if "above" in f.metadata and not number > f.metadata["above"]:
            raise ValueError(f"`{f.name}` is {number}; it must be above {f.metadata['above']}.")
        if "high" in f.metadata and not number <= f.metadata["high"]:
            raise ValueError(f"`{f.name}` is {number}; it must be at most {f.metadata['high']}.")
        if number == math.inf:
            raise ValueError(f"`{f.name}` is {number}; it must be finite.")
