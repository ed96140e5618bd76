"""Where the loss of a level is flat: `StyleConfig.stop`."""

from collections.abc import Sequence

import jax
import numpy as np

from jaxstyle.loop import programs
from jaxstyle.optimize import Info, State

WINDOW = 10
"""Number of steps whose mean loss is compared with that of as many steps before."""


class Plateau:
    """Holds images whose loss is flat, until a level ends.

    After every `WINDOW` steps of a level, the mean loss of these steps is compared with that of
    the `WINDOW` steps before. Whether an image is held depends on its own losses alone: neither
    on the other images of a batch, nor on the lengths of chunks.

    Example:
      >>> import numpy as np
      >>> from jaxstyle.loop.plateau import Plateau
      >>> flat = Plateau(0.002, 100, np.ones(20)).flat
      >>> print(flat, Plateau(0.002, 100, np.linspace(2, 1, 20)).flat)
      True False
    """

    def __init__(self, least_gain: float, steps: int, losses: np.ndarray):
        """Begin or resume a level.

        Args:
          least_gain: loss that a step must gain on average, relative to the loss.
          steps: number of steps of the level.
          losses: losses of the steps of the level so far, `[*batch, steps]`.
        """
        self._least_gain, self._steps, self._losses = least_gain, steps, losses
        self.flat = self._find()

    def ends(self) -> list[int]:
        """Return after which numbers of steps, from here, a loss is tested."""
        done = self._losses.shape[-1]
        return [end - done for end in range(WINDOW, self._steps, WINDOW) if end > done]

    def hold(self, before: State, state: State, info: Info) -> tuple[State, Info]:
        """Take back a chunk of the images that were flat before it, and test the others.

        Args:
          before: state before the chunk.
          state: state after the chunk.
          info: reports of the chunk's steps.

        Returns:
          State and reports. The reports of an image that is held repeat its last one; if all are,
          up to the end of the level.
        """
        if self.flat.any():
            state = programs.hold(self.flat, before, state)
            info = jax.tree.map(
                lambda last, rows: np.where(self.flat[..., None], last, rows), self._last, info
            )
        self._last = jax.tree.map(lambda rows: rows[..., -1:], info)
        self._losses = np.concatenate([self._losses, info.loss], axis=-1)
        self.flat = self.flat | self._find()
        if self.flat.all():
            missing = self._steps - self._losses.shape[-1]
            info = jax.tree.map(
                lambda rows, last: np.concatenate([rows, *[last] * missing], axis=-1),
                info,
                self._last,
            )
        return state, info

    def _find(self) -> np.ndarray:
        """Return which images are flat by the last steps; none is between two tests."""
        done = self._losses.shape[-1]
        if done < 2 * WINDOW or done % WINDOW:
            return np.zeros(self._losses.shape[:-1], bool)
        windows = self._losses[..., -2 * WINDOW :].reshape(*self._losses.shape[:-1], 2, WINDOW)
        means = windows.astype(np.float64).mean(axis=-1)
        earlier, later = means[..., 0], means[..., 1]
        return np.asarray((earlier - later) / WINDOW < self._least_gain * np.abs(earlier))


def count_steps(
    plan: Sequence[tuple[tuple[int, int], int]], losses: np.ndarray, least_gain: float
) -> int:
    """Count the steps that a run took, without those for which its image was held.

    Args:
      plan: levels from `pyramid.levels`.
      losses: losses of the run's trace. A level that stopped early repeats its last loss.
      least_gain: `StyleConfig.stop` of the run.

    Example:
      >>> import numpy as np
      >>> from jaxstyle.loop.plateau import count_steps
      >>> count_steps([((8, 8), 4), ((16, 16), 3)], np.array([5, 4, 4, 4, 3, 2, 1]), 0.002)
      5
    """
    if not least_gain:
        return len(losses)
    taken, begin = 0, 0
    for _, count in plan:
        level = losses[begin : begin + count]
        changes = np.flatnonzero(level[1:] != level[:-1])
        taken += int(changes[-1]) + 2 if changes.size else min(1, level.size)
        begin += count
    return taken
