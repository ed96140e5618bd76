"""Coarse-to-fine pyramid: the levels of a run and the transition between them.

Coarse levels move large shapes while steps are cheap; fine levels add strokes.
Sizes are (height, width) in pixels.
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

ROW_UNIT = 16
"""Rows of a device are a multiple of the stride of the deepest layer, so that none is gathered."""

MAX_STRETCH = 0.06
"""Largest relative change of a height by `round_rows`."""

# Factors by which a style image is enlarged.
_MIN_ENLARGEMENT, _MAX_ENLARGEMENT = 1.25, 2.0


def fit_shape(shape: Sequence[float], long_edge: float) -> tuple[int, int]:
    """Scale a height and width to a given long edge; the proportions stay.

    Args:
      shape: height and width, in any unit; further entries are ignored.
      long_edge: longer side of the result, in pixels.

    Example:
      >>> from jaxstyle.pyramid import fit_shape
      >>> fit_shape((400, 600), 300)
      (200, 300)
    """
    height, width = shape[:2]
    scale = long_edge / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def resize(image: Float[Array, "_h _w c"], shape: Sequence[int]) -> Float[Array, "h w c"]:
    """Resize an image by antialiased cubic interpolation, clipped to [0, 1].

    Args:
      image: image with values in [0, 1].
      shape: new height and width; further entries are ignored.

    Raises:
      TypeError: the image has an integer dtype; clipping would turn it white.

    Example:
      Cubic interpolation overshoots at an edge; the clip removes it:

      >>> import jax.numpy as jnp
      >>> from jaxstyle.pyramid import resize
      >>> edge = jnp.zeros((4, 4, 3)).at[:, 2:].set(1.0)
      >>> large = resize(edge, (8, 8))
      >>> large.shape, float(large.min()), float(large.max())
      ((8, 8, 3), 0.0, 1.0)
    """
    check_floating(image=image)
    image = jax.image.resize(image, (*shape[:2], image.shape[-1]), "cubic")
    return jnp.clip(image, 0, 1)


def detail(
    image: Float[Array, "_h _w c"], coarse: Sequence[int], shape: Sequence[int]
) -> Float[Array, "h w c"]:
    """Compute a band of the image's Laplacian pyramid.

    The band is what the image shows at the size `shape` but not at the size `coarse`.
    Burt and Adelson (1983), "The Laplacian Pyramid as a Compact Image Code".

    Args:
      image: image with values in [0, 1].
      coarse: height and width of the coarser level.
      shape: height and width of the finer level, and of the band.
    """
    return resize(image, shape) - resize(resize(image, coarse), shape)


def add_noise(
    key: PRNGKeyArray, image: Float[Array, "h w c"], deviation: float | Float[Array, ""]
) -> Float[Array, "h w c"]:
    """Add Gaussian white noise to an image and clip it to [0, 1].

    Args:
      key: source of the noise.
      image: image with values in [0, 1].
      deviation: standard deviation of the noise.
    """
    check_floating(image=image)
    # The same noise in every precision.
    noise = jax.random.normal(key, image.shape, jnp.float32).astype(image.dtype)
    return jnp.clip(image + jnp.asarray(deviation, image.dtype) * noise, 0, 1)


def levels(
    shape: Sequence[float], config: StyleConfig, rows: int = 1
) -> list[tuple[tuple[int, int], int]]:
    """Return the size and the number of steps of every level, coarse to fine.

    The last level has a long edge of `config.size`. Levels too small for the layers in use,
    e.g. of a panorama, are left out; the other levels keep their steps.

    Args:
      shape: height and width of the content image, or their proportions.
      config: sizes, steps and layers of the run.
      rows: number of devices that the rows of an image are split over. Heights are then rounded to
        a number of rows that every layer can split, at coarser levels only if it is near.

    Raises:
      ValueError: the last level is too small for the layers, or for the devices.

    Example:
      >>> from jaxstyle import StyleConfig
      >>> from jaxstyle.pyramid import levels
      >>> config = StyleConfig(size=512, min_size=128, scale_factor=2, steps=(60, 45))
      >>> levels((400, 600), config)
      [((85, 128), 60), ((171, 256), 45), ((341, 512), 45)]
    """
    smallest_side = min_side((*config.weights.content, *config.weights.style), config.padding)
    if config.spec.laplacian:
        smallest_side = max(smallest_side, 3)  # The Laplacian's windows are 3x3.
    final_shape = fit_shape(shape, config.size)
    if min(final_shape) < smallest_side:
        raise ValueError(
            f"With `size` {config.size} the result would be {final_shape[1]}x{final_shape[0]}; its "
            f"layers need both sides at least {smallest_side}. Raise `size` or choose shallower "
            "layers."
        )
    shapes = [final_shape]
    while (edge := round(config.size / config.scale_factor ** len(shapes))) >= config.min_size:
        shapes.append(fit_shape(shape, edge))
    shapes = [round_rows(size, rows) for size in shapes]
    if shapes[0][0] % (rows * ROW_UNIT if rows > 1 else 1):
        raise ValueError(
            f"`sharding` splits {final_shape[0]} rows over {rows} devices, in multiples of "
            f"{ROW_UNIT} rows each; use fewer devices or a larger `size`."
        )
    steps = (*config.steps, *[config.steps[-1]] * len(shapes))
    plan = zip(reversed(shapes), steps, strict=False)
    return [(size, count) for size, count in plan if min(size) >= smallest_side]


def round_rows(shape: tuple[int, int], rows: int) -> tuple[int, int]:
    """Round a height to a multiple of what every layer can split, if it changes little.

    Args:
      shape: height and width.
      rows: number of devices that the rows are split over.

    Example:
      >>> from jaxstyle.pyramid import round_rows
      >>> round_rows((2160, 3840), 8), round_rows((540, 960), 8)
      ((2176, 3840), (512, 960))
    """
    unit = rows * ROW_UNIT if rows > 1 else 1
    height = unit * round(shape[0] / unit)
    return (height, shape[1]) if abs(height / shape[0] - 1) <= MAX_STRETCH else shape


def work(plan: Sequence[tuple[tuple[int, int], int]], steps: int | None = None) -> int:
    """Count the pixels that a run processes, summed over its steps.

    Args:
      plan: levels from `levels`.
      steps: number of steps to count, from the first; by default all.
    """
    pixels = [height * width for (height, width), count in plan for _ in range(count)]
    return sum(pixels[:steps])


def style_shape(
    style: Sequence[int], picture: Sequence[int], config: StyleConfig, *, enlarge: bool = True
) -> tuple[int, int]:
    """Return the size at which the style statistics of a style image are computed.

    The long edge is `config.style_scale` times that of the result, or longer if the short edge
    would be too small for the layers. A small style image is enlarged at most twice, so that its
    strokes keep their share of the result; by less than a quarter it is not: the result would
    imitate the blur. See `loop.programs.compute_style_statistics`.

    Args:
      style: height and width of the style image.
      picture: height and width of the result.
      config: style scale and layers of the run.
      enlarge: whether to enlarge a small style image. A texture is that of the image as it is.
    """
    long, short = max(style[:2]), min(style[:2])
    smallest = min_style_side(config) * long / short
    long_edge = max(max(picture[:2]) * config.style_scale, smallest)
    if long_edge > long:
        long_edge = min(long_edge, _MAX_ENLARGEMENT * long)
        long_edge = long_edge if enlarge and long_edge >= _MIN_ENLARGEMENT * long else long
    return fit_shape(style, long_edge)


def min_style_side(config: StyleConfig) -> int:
    """Return the smallest side, in pixels, of a style image that its layers and `adain` accept."""
    side = min_side(config.weights.style, config.padding)
    return max(side, min_side(("relu4_1",), "reflect")) if config.init == "adain" else side


def style_shapes(
    styles: Sequence[Float[AnyArray, "_h _w 3"]],
    picture: Sequence[int],
    config: StyleConfig,
    *,
    enlarge: bool = True,
) -> tuple[tuple[int, int], ...]:
    """Return the `style_shape` of each of several style images."""
    return tuple(style_shape(s.shape[:2], picture, config, enlarge=enlarge) for s in styles)


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
    """Initialize the state of the next level from the resized average of this level.

    An enlarged image is smooth, and texture grows fastest where there already is some. Without
    noise and the content image's `detail`, a few spots turn into fragments.

    Args:
      state: state at the end of this level.
      shape: height and width of the next level.
      optimizer: optimizer of the next level.
      key: source of the noise.
      detail: band of the content image to add, from `detail`.
      noise: standard deviation of the noise to add.
      decay: decay of the average over images, as for `optimize.step`.
      moments: whether to resize and keep Adam's moments, as style-transfer-pytorch does;
        by default the optimizer's state is reset.
    """
    image = resize(averaged(state, decay=decay), shape) + detail
    image = add_noise(key, image, noise)
    next_state = init(image, optimizer, decay=decay)._replace(finite=state.finite)
    if not moments:
        return next_state
    return next_state._replace(optimizer=_resize_moments(state.optimizer, shape))


def _resize_moments(optimizer: Any, shape: tuple[int, int]) -> Any:
    """Resize Adam's moments; the step count stays."""
    size = (*shape, 3)
    mean = jax.image.resize(optax.tree.get(optimizer, "mu"), size, "cubic")
    square = jax.image.resize(optax.tree.get(optimizer, "nu"), size, "linear")
    return optax.tree.set(optimizer, mu=mean, nu=jnp.maximum(square, 0))
