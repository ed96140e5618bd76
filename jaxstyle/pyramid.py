"""Coarse to fine: the sizes of a run, and what is carried from one to the next.

Large shapes are moved where the picture is small and steps are cheap; fine strokes
are added where it is large.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from jaxstyle.config import StyleConfig
from jaxstyle.optimize import State, averaged, init
from jaxstyle.options import min_side
from jaxstyle.types import AnyArray, check_floating


def fit_shape(shape: Sequence[float], long_edge: float) -> tuple[int, int]:
    """Height and width with the proportions of `shape`, the longer one being `long_edge`."""
    height, width = shape[:2]
    scale = long_edge / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def resize(image: Float[Array, "_h _w c"], shape: Sequence[int]) -> Float[Array, "h w c"]:
    """Image at another size: antialiased cubic interpolation, clipped to [0, 1].

    Raises:
      TypeError: an image of integers, which the clipping would turn white.
    """
    check_floating(image)
    image = jax.image.resize(image, (*shape[:2], image.shape[-1]), "cubic")
    return jnp.clip(image, 0, 1)


def detail(
    image: Float[Array, "_h _w c"], coarse: Sequence[int], shape: Sequence[int]
) -> Float[Array, "h w c"]:
    """What `image` shows at the size `shape` and not at `coarse`: a band of its Laplacian pyramid.

    Burt and Adelson (1983), "The Laplacian Pyramid as a Compact Image Code".
    """
    return resize(image, shape) - resize(resize(image, coarse), shape)


def add_noise(
    key: PRNGKeyArray, image: Float[Array, "h w c"], deviation: float | Float[Array, ""]
) -> Float[Array, "h w c"]:
    """Image with white noise on it, clipped to [0, 1]."""
    return jnp.clip(image + deviation * jax.random.normal(key, image.shape), 0, 1)


def levels(shape: Sequence[float], config: StyleConfig) -> list[tuple[tuple[int, int], int]]:
    """Size (height, width) and number of steps of every level, coarse to fine.

    The last has the size asked for. Levels too small for the layers in use are left out,
    e.g. of a panorama; the others keep their steps.

    Raises:
      ValueError: the layers need a larger picture than the one asked for.
    """
    needed = min_side((*config.weights.content, *config.weights.style), config.padding)
    if config.laplacian_weight:
        needed = max(needed, 3)  # its windows
    last = fit_shape(shape, config.size)
    if min(last) < needed:
        raise ValueError(
            f"the picture would be {last[1]}x{last[0]}; its layers need both sides at least "
            f"{needed}. Raise `size` or choose shallower layers."
        )
    shapes = [last]
    while (edge := round(config.size / config.scale_factor ** len(shapes))) >= config.min_size:
        shapes.append(fit_shape(shape, edge))
    steps = (*config.steps, *[config.steps[-1]] * len(shapes))
    plan = zip(reversed(shapes), steps, strict=False)
    return [(size, count) for size, count in plan if min(size) >= needed]


def work(plan: Sequence[tuple[tuple[int, int], int]], steps: int | None = None) -> int:
    """Pixels that the first `steps` steps of a plan from `levels` work on, or all its steps."""
    pixels = [height * width for (height, width), count in plan for _ in range(count)]
    return sum(pixels[:steps])


def style_shape(
    style: Sequence[int], picture: Sequence[int], config: StyleConfig
) -> tuple[int, int]:
    """Size at which a painting is looked at for a picture of the size `picture`.

    Its long edge is `style_scale` times that of the picture, or as much more as its short
    edge needs for the layers. It is never enlarged: that would only teach the picture
    to be blurred.
    """
    long, short = max(style[:2]), min(style[:2])
    needed = min_style_side(config) * long / short
    return fit_shape(style, min(max(max(picture[:2]) * config.style_scale, needed), long))


def min_style_side(config: StyleConfig) -> int:
    """Smallest side of a painting, in pixels, that its layers and the first guess can read."""
    seen = min_side(config.weights.style, config.padding)
    return max(seen, min_side(("relu4_1",), "reflect")) if config.init == "adain" else seen


def style_shapes(
    styles: Sequence[Float[AnyArray, "_h _w 3"]], picture: Sequence[int], config: StyleConfig
) -> tuple[tuple[int, int], ...]:
    """`style_shape` of each of several paintings."""
    return tuple(style_shape(style.shape[:2], picture, config) for style in styles)


def carry(
    state: State,
    shape: tuple[int, int],
    optimizer: optax.GradientTransformationExtraArgs,
    *,
    key: PRNGKeyArray,
    detail: Float[Array, "h w 3"] | float = 0.0,
    noise: float | Float[Array, ""] = 0.0,
    decay: float | Float[Array, ""] = 0.0,
    moments: bool = False,
) -> State:
    """State at the start of the next level: the average so far, resized, with a little noise.

    An enlarged picture is smooth, and texture grows fastest where some is already: without
    noise, and the photograph's `detail`, a few spots are driven to splinters. The optimizer
    starts anew, but with `moments` Adam's are carried along, as style-transfer-pytorch does.
    """
    image = resize(averaged(state, decay=decay), shape) + detail
    image = add_noise(key, image, noise)
    after = init(image, optimizer, decay=decay)._replace(finite=state.finite)
    return after._replace(optimizer=_resized_moments(state.optimizer, shape)) if moments else after


def _resized_moments(optimizer: Any, shape: tuple[int, int]) -> Any:
    """Adam's state at another size, its count of steps kept."""
    size = (*shape, 3)
    mean = jax.image.resize(optax.tree.get(optimizer, "mu"), size, "cubic")
    square = jax.image.resize(optax.tree.get(optimizer, "nu"), size, "linear")
    return optax.tree.set(optimizer, mu=mean, nu=jnp.maximum(square, 0))
