"""Paint a frame of a video so that it agrees with the frames around it.

Ruder et al. (2016), "Artistic style transfer for videos". The first frame of a shot is painted as
any image. Each further one starts from the results before it, warped by the optical flow, and a
temporal loss keeps it near them; where the flow is not reliable, it starts from its photograph.
A departure: what looks different in the frames before counts less (`follow.py`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float

from jaxstyle.color import match_color
from jaxstyle.config import StyleConfig
from jaxstyle.errors import DivergedError
from jaxstyle.loop.driver import Callback, Result, TransferInputs, run_transfer
from jaxstyle.loop.style_cache import StyleCache
from jaxstyle.objective import Previous
from jaxstyle.types import AnyArray, Params
from jaxstyle.video.follow import Followed, Follower, Frame, Neighbor


@dataclass(frozen=True)
class Schedule:
    """How the frames of a video are painted.

    Attributes:
      steps: steps of each frame but the first of a shot.
      weight: weight of the temporal loss where the flow is reliable.
      cut: share of reliable pixels below which a new shot begins.
    """

    steps: int = 15
    weight: float = 1500.0
    cut: float = 0.3


class Painted(NamedTuple):
    """Result of one frame.

    Attributes:
      image: the result, RGB in [0, 1].
      loss: its loss after the last step; `None` if there were no steps.
      reliable: share of its pixels that a neighbor is reliable for.
      change: difference to its neighbors there, as a root of a mean square of 255.
      new_shot: whether it was painted without its neighbors.
    """

    image: Float[AnyArray, "h w 3"]
    loss: float | None = None
    reliable: float = 0.0
    change: float | None = None
    new_shot: bool = True


class Repainting(NamedTuple):
    """A frame with a result, to be painted once more.

    Attributes:
      number: number of the frame.
      frame: the frame.
      result: its result so far.
      neighbors: other frames of the shot, the nearest first.
      still: pixels that keep their result, or `None` for none.
    """

    number: int
    frame: Frame
    result: np.ndarray
    neighbors: Sequence[Neighbor]
    still: Bool[np.ndarray, "h w"] | None


class Painter:
    """Paints the frames of one video, which have the same size.

    Args:
      params: weights from `load_weights`.
      styles: style images, RGB in [0, 1].
      config: options of the first frame of a shot, and the loss of all.
      schedule: how further frames are painted.
    """

    def __init__(
        self,
        params: Params,
        styles: Sequence[Float[AnyArray, "_hs _ws 3"]],
        config: StyleConfig,
        schedule: Schedule | None = None,
    ):
        self._schedule = schedule or Schedule()
        self._params, self._styles, self._config = params, tuple(styles), config
        # One level, and no noise that would differ from frame to frame.
        steps = (self._schedule.steps,)
        self._next_config = replace(config, min_size=config.size, steps=steps, noise=0.0)
        self._follow = Follower()
        # With other colors, the style images are recolored for each frame.
        self._cache = StyleCache() if config.color == "style" else None

    def paint(
        self,
        frame: Frame,
        neighbors: Sequence[Neighbor],
        still: Bool[np.ndarray, "h w"] | None = None,
        callback: Callback | None = None,
    ) -> Painted:
        """Paint a frame.

        Args:
          frame: the frame.
          neighbors: other frames of the shot, the nearest first; none for a new shot.
          still: pixels that keep the result of the nearest neighbor.
          callback: as for `stylize`.

        Raises:
          DivergedError: the loss is not finite.
        """
        inputs, shape = self._inputs(frame), frame.pixels.shape[:2]
        followed, reliable = None, 0.0
        if neighbors:
            followed = self._follow(frame, neighbors)
            reliable = float(followed.share)
            if reliable < self._schedule.cut:
                followed = None
        if followed is not None:
            start = _first_image(inputs.content, followed, neighbors[0].result)
            previous = Previous(followed.image, self._schedule.weight * followed.known)
            inputs = inputs._replace(config=self._next_config, start=start, previous=previous)
        result = run_transfer(
            self._params, [inputs], callback, shape=shape, style_cache=self._cache
        )
        image = result.image
        if followed is not None and still is not None:
            image = keep_still(image, neighbors[0].result, still)
        change = None if followed is None else followed.change(image)
        return Painted(image, _loss(result), reliable, change, followed is None)

    def repaint(
        self, items: Sequence[Repainting], callback: Callback | None = None
    ) -> list[Painted]:
        """Paint several frames once more, each from its result and those of its neighbors.

        With several devices, the frames are split over them; their number must be a multiple of
        that of the devices.

        Args:
          items: the frames.
          callback: as for `stylize`.

        Raises:
          DivergedError: the loss is not finite.
        """
        follows, inputs = [self._follow(item.frame, item.neighbors) for item in items], []
        for item, followed in zip(items, follows, strict=True):
            inputs.append(
                self._inputs(item.frame)._replace(
                    config=self._next_config,
                    start=_mean_image(item.result, followed),
                    previous=Previous(followed.image, self._schedule.weight * followed.known),
                )
            )
        devices, sharding = jax.local_devices(), None
        if len(items) > 1 and len(devices) > 1:
            mesh = Mesh(np.asarray(devices), ("frames",))
            sharding = NamedSharding(mesh, PartitionSpec("frames"))
        result = run_transfer(
            self._params,
            inputs,
            callback,
            shape=items[0].frame.pixels.shape[:2],
            batched=len(items) > 1,
            sharding=sharding,
            style_cache=self._cache,
        )
        images, losses = (
            (result.image, result.trace.loss[-1])
            if len(items) > 1
            else (result.image[None], result.trace.loss[-1:])
        )
        painted = []
        for item, followed, image, loss in zip(items, follows, images, losses, strict=True):
            if not np.isfinite(loss):
                raise _diverged()
            if item.still is not None:
                image = keep_still(image, item.result, item.still)
            reliable, change = float(followed.share), followed.change(image)
            painted.append(Painted(image, float(loss), reliable, change, False))
        return painted

    def _inputs(self, frame: Frame) -> TransferInputs:
        masks = None if frame.masks is None else frame.masks.astype(np.float32) / 255
        content = frame.pixels.astype(np.float32) / 255
        return TransferInputs(content, self._styles, self._config, masks=masks)


def _loss(result: Result) -> float:
    if not bool(result.trace.finite[-1]):
        raise _diverged()
    return float(result.trace.loss[-1])


def _diverged() -> DivergedError:
    return DivergedError("the loss is not finite any more")


def keep_still(
    image: Float[AnyArray, "h w 3"], kept: np.ndarray, still: Bool[np.ndarray, "h w"]
) -> Float[Array, "h w 3"]:
    """Return an image with the 8-bit result `kept` where nothing moves."""
    return jnp.where(still[..., None], kept.astype(np.float32) / 255, image)


@jax.jit
def _first_image(
    content: Float[Array, "h w 3"], followed: Followed, nearest: Array
) -> Float[Array, "h w 3"]:
    # In the colors of the result next to it, what appears looks least like a photograph.
    own = match_color(content, nearest.astype(jnp.float32) / 255)
    known = followed.known[..., None]
    return known * followed.image + (1 - known) * own


@jax.jit
def _mean_image(result: Array, followed: Followed) -> Float[Array, "h w 3"]:
    """Return the mean of a result and those of its neighbors, or the result where none is known."""
    own = result.astype(jnp.float32) / 255
    return own + 0.5 * followed.known[..., None] * (followed.image - own)
