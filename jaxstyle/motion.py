"""Motion between two frames of a video: warping by optical flow, and where a flow is reliable.

A flow from a frame A to a frame B has, for each pixel of A, the displacement `(dx, dy)` to the same
point in B, in pixels to the right and down, as in OpenCV. Everything is written for one frame and
works under `jit`, `vmap` and `grad`.

Example:
  >>> import jax.numpy as jnp
  >>> from jaxstyle.motion import warp
  >>> row = jnp.arange(4.0).reshape(1, 4, 1)
  >>> one_to_the_right = jnp.broadcast_to(jnp.array([1.0, 0.0]), (1, 4, 2))
  >>> print(warp(row, one_to_the_right)[0, :, 0])
  [1. 2. 3. 3.]
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxstyle.types import AnyArray, check_floating


def warp(
    image: Float[AnyArray, "h_b w_b c"], flow: Float[AnyArray, "h w 2"], *, cubic: bool = False
) -> Float[Array, "h w c"]:
    """Warp frame B to frame A: take from B the point that each pixel of A has moved to.

    Points outside of B take the value of its nearest pixel.

    Args:
      image: frame B, or any map of its size.
      flow: flow from A to B.
      cubic: interpolate by Catmull-Rom splines instead of bilinearly. An image that is warped
        from frame to frame stays sharp for longer; values may exceed their range at edges.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxstyle.motion import warp
      >>> image, half = jnp.array([0.0, 1.0, 2.0]).reshape(1, 3, 1), jnp.array([0.5, 0.0])
      >>> print(warp(image, jnp.broadcast_to(half, (1, 3, 2))).ravel())
      [0.5 1.5 2. ]
    """
    check_floating(image=image, flow=flow)
    image, flow = jnp.asarray(image), jnp.asarray(flow)
    dtype = np.promote_types(image.dtype, flow.dtype)
    points = _end_points(flow.astype(dtype))
    x, y = jnp.moveaxis(points, -1, 0)
    source, total = image.astype(dtype), jnp.zeros((*flow.shape[:2], image.shape[-1]), dtype)
    for row, row_weight in _taps(y, image.shape[0], cubic):
        for column, weight in _taps(x, image.shape[1], cubic):
            total += (row_weight * weight)[..., None] * source[row, column]
    return total.astype(image.dtype)


def reliability(
    flow: Float[AnyArray, "h w 2"], back: Float[AnyArray, "h w 2"]
) -> Float[Array, "h w"]:
    """Return 1 for pixels of frame A whose flow to frame B can be trusted, otherwise 0.

    Ruder et al. (2016), "Artistic style transfer for videos". A pixel counts 0 where
    there and back does not end near it (it is hidden in B), where the flow changes abruptly (the
    edge of a moving object), or where it leaves the frame.

    Args:
      flow: flow from A to B.
      back: flow from B to A.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxstyle.motion import reliability
      >>> right = jnp.broadcast_to(jnp.array([1.0, 0.0]), (1, 4, 2))
      >>> print(reliability(right, -right))
      [[1. 1. 1. 0.]]
    """
    check_floating(flow=flow, back=back)
    flow, back = jnp.asarray(flow), jnp.asarray(back)
    returned = warp(back, flow)
    lengths = _squared(flow) + _squared(returned)
    consistent = _squared(flow + returned) <= 0.01 * lengths + 0.5
    across, down = (
        jnp.diff(flow, axis=1, append=flow[:, -1:]),
        jnp.diff(flow, axis=0, append=flow[-1:]),
    )
    smooth = _squared(across) + _squared(down) <= 0.01 * _squared(flow) + 0.002
    points, (height, width) = _end_points(flow), flow.shape[:2]
    corner = jnp.array([width - 1, height - 1], points.dtype)
    inside = ((points >= 0) & (points <= corner)).all(axis=-1)
    return (consistent & smooth & inside).astype(flow.dtype)


def nearest_reliable(
    frames: Float[AnyArray, "k h w c"], weights: Float[AnyArray, "k h w"]
) -> tuple[Float[Array, "h w c"], Float[Array, "h w"]]:
    """Combine warped frames: each pixel comes from the first frame that is reliable there.

    The long-term consistency of Ruder et al. (2016). The sum of the temporal losses of all
    frames, each where no nearer one is reliable, differs from that of the combined frame by a
    constant.

    Args:
      frames: frames warped to the current one, the nearest first.
      weights: reliability of each, from 0 to 1.

    Returns:
      The combined frame, and its reliability. Where no frame is reliable, both are 0.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxstyle.motion import nearest_reliable
      >>> frames = jnp.array([0.25, 0.75]).reshape(2, 1, 1, 1) * jnp.ones((2, 1, 3, 1))
      >>> frame, weight = nearest_reliable(frames, jnp.array([[[1.0, 0, 0]], [[1.0, 1, 0]]]))
      >>> print(frame.ravel(), weight.ravel())
      [0.25 0.75 0.  ] [1. 1. 0.]
    """
    frames, weights = jnp.asarray(frames), jnp.asarray(weights)
    before = jnp.cumsum(weights, axis=0) - weights
    remaining = jnp.maximum(weights - before, 0)
    total = remaining.sum(axis=0)
    mixed = (remaining[..., None] * frames).sum(axis=0)
    return mixed / jnp.maximum(total, jnp.finfo(total.dtype).tiny)[..., None], total


def _taps(position: Array, size: int, cubic: bool) -> list[tuple[Array, Array]]:
    """Return the indices and weights that interpolate at a position along one axis."""
    first = jnp.floor(position)
    t = position - first
    if cubic:
        # Keys (1981), "Cubic convolution interpolation for digital image processing".
        weights = {
            -1: ((2 - t) * t - 1) * t / 2,
            0: ((3 * t - 5) * t * t + 2) / 2,
            1: ((4 - 3 * t) * t + 1) * t / 2,
            2: (t - 1) * t * t / 2,
        }
    else:
        weights = {0: 1 - t, 1: t}
    start = first.astype(jnp.int32)
    return [(jnp.clip(start + i, 0, size - 1), weight) for i, weight in weights.items()]


def _end_points(flow: Array) -> Array:
    """Return the point `(x, y)` that each pixel moves to."""
    height, width = flow.shape[:2]
    y, x = jnp.mgrid[:height, :width]
    return jnp.stack([x, y], axis=-1).astype(flow.dtype) + flow


def _squared(vectors: Array) -> Array:
    return jnp.square(vectors).sum(axis=-1)
