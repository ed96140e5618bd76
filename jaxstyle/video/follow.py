"""Carry results to another frame of a video along the optical flow."""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, UInt8

from jaxstyle.motion import nearest_reliable, reliability, warp
from jaxstyle.types import AnyArray
from jaxstyle.video.flow import FlowEstimator

DISTANCES = (1, 2, 4)
"""Distances to the frames that a frame is compared with, as in Ruder et al., section 4.4."""


# Difference of frames, in [0, 1], at which a neighbor counts e^-0.5.
_TOLERANCE = 0.02


class Frame(NamedTuple):
    """A frame of the video, and what belongs to it.

    Attributes:
      pixels: RGB.
      masks: one mask per style image, or `None`.
      guess: a result that was made without the other frames, or `None`.
    """

    pixels: UInt8[np.ndarray, "h w 3"]
    masks: UInt8[np.ndarray, "styles h w"] | None = None
    guess: Float[AnyArray, "h w 3"] | None = None


class Neighbor(NamedTuple):
    """Another frame of the video, and its result."""

    frame: Frame
    result: UInt8[np.ndarray, "h w 3"]


class Followed(NamedTuple):
    """Results of neighbors, carried to a frame.

    Attributes:
      image: RGB in [0, 1]; each pixel from the nearest neighbor that is reliable there.
      known: how much it counts, from 0 to 1: less where the neighbor shows something else, such
        as a face that turns or a light that goes on.
      share: share of the pixels that the flow is reliable for.
    """

    image: Float[Array, "h w 3"]
    known: Float[Array, "h w"]
    share: Float[Array, ""]

    def change(self, result: Float[AnyArray, "h w 3"]) -> float:
        """Return the difference to a result where it is known, as RMS of 255."""
        square = jnp.square(jnp.asarray(result) - self.image).mean(axis=-1)
        mean = (square * self.known).sum() / jnp.maximum(self.known.sum(), 1)
        return float(255 * jnp.sqrt(mean))


class Follower:
    """Carries results along the optical flow, to frames of one size."""

    def __init__(self):
        self._estimate = FlowEstimator()

    def __call__(self, frame: Frame, neighbors: Sequence[Neighbor]) -> Followed:
        """Carry the results of neighbors, the nearest first, to a frame."""
        flows, backs = [], []
        for neighbor in neighbors:
            flows.append(self._estimate(frame.pixels, neighbor.frame.pixels))
            backs.append(self._estimate(neighbor.frame.pixels, frame.pixels))
        results = np.stack([neighbor.result for neighbor in neighbors])
        frames = np.stack([neighbor.frame.pixels for neighbor in neighbors])
        return _follow(frame.pixels, frames, results, np.stack(flows), np.stack(backs))


@jax.jit
def _follow(pixels: Array, frames: Array, results: Array, flows: Array, backs: Array) -> Followed:
    pixels, frames, results = (x.astype(jnp.float32) / 255 for x in (pixels, frames, results))
    move = jax.vmap(partial(warp, cubic=True))
    # The mean of 3x3 pixels, so that neither noise nor resampling counts.
    change = lax.reduce_window(
        move(frames, flows) - pixels, 0.0, lax.add, (1, 3, 3, 1), (1, 1, 1, 1), "SAME"
    )
    change = jnp.square(change / 9).mean(axis=-1)
    reliable = jax.vmap(reliability)(flows, backs)
    known = reliable * jnp.exp(-change / (2 * _TOLERANCE**2))
    image, known = nearest_reliable(jnp.clip(move(results, flows), 0, 1), known)
    return Followed(image, known, reliable.max(axis=0).mean())
