"""Style losses by name, with the statistics and targets that they need."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxstyle.losses.gram import gram_loss, gram_matrix
from jaxstyle.losses.moments import (
    Moments,
    gaussian,
    mean_std_loss,
    moments,
    wasserstein_loss,
    wasserstein_parts,
)
from jaxstyle.losses.neighbors import blend_points, nearest_loss, points, transport_loss
from jaxstyle.losses.quantiles import (
    channel_quantiles,
    histogram_loss,
    sliced_loss,
    sliced_quantiles,
)
from jaxstyle.losses.sums import (
    MomentSums,
    mean_std_of_sums,
    moment_sums,
    moments_of_sums,
    wasserstein_of_sums,
)
from jaxstyle.options import STYLE_LOSSES, GramNorm, check_one_of


class Sums(NamedTuple):
    """A style loss as a function of sums over positions, so that a map may be seen in parts.

    Attributes:
      add: sums over the positions of a map: of features `[h, w, c]`, the target, or `None` for
        the statistics of a style image, and the weight of each position `[h, w]`.
      statistics: returns the statistics of the family from sums that were made without a target.
      loss: returns the loss, or the `parts` of families that have them, from sums and the target.
    """

    add: Callable[[Array, Any, Array], Any]
    statistics: Callable[[Any], Any]
    loss: Callable[[Any, Any], Any]


class StyleFamily(NamedTuple):
    """Functions that define a style loss.

    Attributes:
      statistics: computes the statistics of a style image from its features `[h, w, c]`.
      blend: averages stacked statistics of several style images, with weights that sum to 1.
      target: converts statistics to the target of the loss.
      loss: computes the loss from features `[h, w, c]`, a target, and a mask `[h, w]` or `None`.
      parts: optional; returns a number and a positive semidefinite matrix M, with the loss
        number - tr M^½. `total_loss` then computes the roots of all layers together.
    """

    statistics: Callable[[Array], Any]
    blend: Callable[[Any, Array], Any]
    target: Callable[[Any], Any]
    loss: Callable[[Array, Any, Array | None], Array]
    parts: Callable[[Array, Any, Array | None], tuple[Array, Array]] | None = None


_registered: dict[str, StyleFamily] = {}


def register_style_loss(name: str, family: StyleFamily) -> None:
    """Add a style loss, to be used by its name in `StyleConfig`.

    Registering a name again replaces the loss and drops JAX's compiled programs, which are
    identified by the name.

    Args:
      name: new name, a single word.
      family: functions that define the loss. They must work under `jit`, `vmap` and `grad`.

    Raises:
      ValueError: If the name is that of a built-in loss, or is not a single word.

    Example:
      A loss on the mean of each channel, with the other functions of `mean_std`:

      >>> import jax.numpy as jnp
      >>> import jaxstyle
      >>> from jaxstyle.losses import moments, register_style_loss, style_family
      >>> def mean_loss(features, target, mask):
      ...     return jnp.square(moments(features, mask).mean - target.mean).mean(axis=-1)
      >>> register_style_loss("mean", style_family("mean_std")._replace(loss=mean_loss))
      >>> jaxstyle.StyleConfig(style_layers=("mean:relu1_1",)).spec.style_layers
      ('mean:relu1_1',)
    """
    if not name.isidentifier():
        raise ValueError(f"`name` is {name!r}; it must be a word such as 'my_loss'.")
    if name in _registered:
        jax.clear_caches()
    elif name in STYLE_LOSSES:
        raise ValueError(f"`name` is {name!r}, which is already a style loss; choose another name.")
    else:
        STYLE_LOSSES.append(name)
    _registered[name] = family


def style_family(name: str, gram_norm: GramNorm = "mean") -> StyleFamily:
    """Return the functions of a style loss.

    Args:
      name: name of the loss: a `StyleLoss`, or one added by `register_style_loss`.
      gram_norm: normalization of the loss `gram`; see `gram_loss`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxstyle.losses import style_family
      >>> features, style_features = jnp.zeros((4, 4, 2)), jnp.ones((5, 6, 2))
      >>> family = style_family("mean_std")
      >>> target = family.target(family.statistics(style_features))
      >>> print(family.loss(features, target, None).round(3))
      1.0
    """
    check_one_of("name", name, STYLE_LOSSES)
    if name in _registered:
        return _registered[name]
    return {
        "gram": StyleFamily(moments, _average, _second_moment, partial(_gram_loss, norm=gram_norm)),
        "wasserstein": StyleFamily(
            moments, _average, gaussian, wasserstein_loss, wasserstein_parts
        ),
        "mean_std": StyleFamily(moments, _average, _identity, mean_std_loss),
        "sliced": StyleFamily(sliced_quantiles, _average, _identity, sliced_loss),
        "histogram": StyleFamily(channel_quantiles, _average, _identity, histogram_loss),
        "nearest": StyleFamily(points, blend_points, _identity, nearest_loss),
        "transport": StyleFamily(points, blend_points, _identity, transport_loss),
    }[name]


def style_sums(name: str, gram_norm: GramNorm = "mean") -> Sums | None:
    """Return a style loss as a function of sums, or `None` if it needs the whole map.

    Args:
      name: name of the loss.
      gram_norm: as for `style_family`.

    Example:
      >>> from jaxstyle.losses import style_sums
      >>> style_sums("wasserstein") is None, style_sums("sliced") is None
      (False, True)
    """
    return {
        "gram": Sums(_raw_sums, moments_of_sums, partial(_gram_of_sums, norm=gram_norm)),
        "wasserstein": Sums(_centered_sums, moments_of_sums, wasserstein_of_sums),
        "mean_std": Sums(_square_sums, moments_of_sums, mean_std_of_sums),
    }.get(name)


def _average(stacked: Any, weights: Float[Array, " styles"]) -> Any:
    # Averaged quantiles are those of the Wasserstein barycenter of the distributions.
    return jax.tree.map(lambda leaf: jnp.tensordot(weights.astype(leaf.dtype), leaf, 1), stacked)


def _identity(statistics: Any) -> Any:
    return statistics


def _second_moment(statistics: Moments) -> Array:
    return statistics.second


def _gram_loss(features: Array, target: Array, mask: Array | None, *, norm: GramNorm) -> Array:
    return gram_loss(gram_matrix(features, mask), target, norm=norm)


def _raw_sums(features: Array, _: Any, weights: Array) -> MomentSums:
    return moment_sums(features, None, weights)


def _centered_sums(features: Array, target: Any, weights: Array) -> MomentSums:
    return moment_sums(features, None if target is None else target.mean, weights)


def _square_sums(features: Array, target: Any, weights: Array) -> MomentSums:
    if target is None:
        return moment_sums(features, None, weights)
    return moment_sums(features, target.mean, weights, products=False)


def _gram_of_sums(sums: MomentSums, target: Array, *, norm: GramNorm) -> Array:
    return gram_loss(moments_of_sums(sums).second, target, norm=norm)
