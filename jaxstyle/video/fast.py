"""Previews of a video in one pass of the network per frame, by AdaIN."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxstyle.config import StyleConfig
from jaxstyle.errors import ImageReadError
from jaxstyle.loop.driver import Callback
from jaxstyle.transfer import preview
from jaxstyle.types import AnyArray, Params
from jaxstyle.video.follow import Followed, Follower, Frame, Neighbor
from jaxstyle.video.paint import Painted, Schedule, keep_still

# Share of the results before in each frame. With all of it, every frame would blur them once more.
_SHARE = 0.8


class FastPainter:
    """Mixes frames that were made by AdaIN with the results before them, warped by the flow.

    Args:
      cut: share of reliable pixels below which a new shot begins.
    """

    def __init__(self, cut: float = Schedule.cut):
        self._cut, self._follow = cut, Follower()

    def paint(
        self,
        frame: Frame,
        neighbors: Sequence[Neighbor],
        still: Bool[np.ndarray, "h w"] | None = None,
        callback: Callback | None = None,
    ) -> Painted:
        """Paint a frame that has a guess; as `Painter.paint`."""
        assert frame.guess is not None
        if not neighbors:
            return Painted(frame.guess)
        followed = self._follow(frame, neighbors)
        reliable = float(followed.share)
        if reliable < self._cut:
            return Painted(frame.guess, reliable=reliable)
        image = _mix(frame.guess, followed)
        if still is not None:
            image = keep_still(image, neighbors[0].result, still)
        return Painted(image, None, reliable, followed.change(image), False)


@jax.jit
def _mix(guess: Float[Array, "h w 3"], followed: Followed) -> Float[Array, "h w 3"]:
    return guess + _SHARE * followed.known[..., None] * (followed.image - guess)


def add_guesses(
    frames: Iterable[Frame],
    params: Params,
    styles: Sequence[Float[AnyArray, "_hs _ws 3"]],
    config: StyleConfig,
    batch: int,
    is_done: Callable[[int], bool] = lambda number: False,
) -> Iterator[Frame]:
    """Yield frames with a guess by AdaIN, which is made for `batch` frames at a time.

    Args:
      frames: frames of one size, whose long edge is `config.size`.
      params: weights from `load_weights(decoder=True)`.
      styles: style images, RGB in [0, 1].
      config: as for `preview`.
      batch: number of frames that are made together.
      is_done: whether the result of a frame, by its number, is there already.

    Raises:
      ImageReadError: the video is damaged. All frames before have been yielded.
    """

    @jax.jit
    def make(params: Params, styles: Any, contents: Array) -> Array:
        return jax.vmap(lambda content: preview(params, content, styles, config))(contents)

    group: list[Frame] = []

    def finish() -> Iterator[Frame]:
        # The last group is filled up, so that it is made by the same program.
        padded = group + group[-1:] * (batch - len(group))
        contents = np.stack([frame.pixels for frame in padded]).astype(np.float32) / 255
        for frame, guess in zip(group, make(params, tuple(styles), contents), strict=False):
            yield frame._replace(guess=guess)
        group.clear()

    error = None
    try:
        for number, frame in enumerate(frames):
            if not group and is_done(number):
                yield frame
                continue
            group.append(frame)
            if len(group) == batch:
                yield from finish()
    except ImageReadError as damage:
        error = damage
    if group:
        yield from finish()
    if error is not None:
        raise error
