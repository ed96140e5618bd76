"""Checkpoints of a long run, from which the same command resumes.

Orbax writes a checkpoint under a temporary name and renames it once complete, so killing the
process never leaves a damaged one.
"""

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxstyle.config import StyleConfig
from jaxstyle.errors import WriteError, one_line
from jaxstyle.loop.driver import Progress
from jaxstyle.optimize import Info, init, make_optimizer


class Checkpoints:
    """Checkpoints of one run: one at the end of each level, and one every `every` seconds.

    Only the newest is kept. `resume` is the progress it holds, or None.

    Args:
      folder: folder of the checkpoints; created if missing.
      identity: everything that determines the run, from `provenance`.
      config: options of the run.
      plan: height and width, and number of steps, of each level.
      every: seconds between checkpoints within a level.

    Raises:
      ValueError: the folder contains a checkpoint of another run.
      WriteError: the folder cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        identity: dict[str, Any],
        config: StyleConfig,
        plan: Sequence[tuple[tuple[int, int], int]],
        every: float,
    ):
        # Slow to import, so only runs with checkpoints pay for it.
        import orbax.checkpoint as ocp

        self._args = ocp.args
        self._identity = json.loads(json.dumps(identity))
        self._config, self._interval, self._last_save = config, every, time.monotonic()
        self._level_ends = set(accumulate(count for _, count in plan))
        try:
            folder.mkdir(parents=True, exist_ok=True)
            options = ocp.CheckpointManagerOptions(max_to_keep=1)
            self._manager = ocp.CheckpointManager(folder.absolute(), options=options)
        except OSError as error:
            raise WriteError(f"cannot write to {folder}: {error.strerror or error}.") from error
        self.resume = self._restore(folder)

    def watch(self, callback: Callable[[Progress], bool | None]) -> Callable[[Progress], bool]:
        """Return a callback that calls `callback` and saves the checkpoints.

        A checkpoint is also saved when `callback` stops the run, but never with a state that
        is not finite.
        """

        def callback_and_save(progress: Progress) -> bool:
            stop = bool(callback(progress))
            due = time.monotonic() - self._last_save >= self._interval
            if (stop or due or progress.step in self._level_ends) and progress.state.finite:
                self._save(progress)
            return stop

        return callback_and_save

    def close(self) -> None:
        """Wait until the last checkpoint is written.

        Raises:
          WriteError: the checkpoint cannot be written.
        """
        with _write_errors():
            self._manager.close()

    def _save(self, progress: Progress) -> None:
        leaves = jax.tree.leaves((progress.state, progress.trace))
        meta = {"run": self._identity, "terms": sorted(progress.trace.terms)}
        # Saved as a plain dict, so that reading it does not depend on the classes.
        named_leaves = {f"{i:03}": np.asarray(leaf) for i, leaf in enumerate(leaves)}
        with _write_errors():
            self._manager.save(
                progress.step,
                args=self._args.Composite(
                    leaves=self._args.StandardSave(named_leaves), meta=self._args.JsonSave(meta)
                ),
            )
        self._last_save = time.monotonic()

    def _restore(self, folder: Path) -> Progress | None:
        step = self._manager.latest_step()
        if step is None:
            return None
        saved = self._manager.restore(
            step,
            args=self._args.Composite(
                leaves=self._args.StandardRestore(), meta=self._args.JsonRestore()
            ),
        )
        saved_identity = saved["meta"]["run"]
        changed = [k for k in self._identity if saved_identity.get(k) != self._identity[k]]
        if changed:
            raise ValueError(
                f"the checkpoint in {folder} belongs to another run (different "
                f"{', '.join(changed)}); choose another folder, or delete this one."
            )
        spec = self._config.optimizer_spec
        optimizer = make_optimizer(spec.optimizer, 1.0, line_search=spec.line_search)
        state = init(jnp.zeros((1, 1, 3)), optimizer)
        empty = jnp.zeros(0)
        trace = Info(empty, dict.fromkeys(saved["meta"]["terms"], empty), empty)
        leaves = [saved["leaves"][name] for name in sorted(saved["leaves"])]
        state, trace = jax.tree.unflatten(jax.tree.structure((state, trace)), leaves)
        loss = np.asarray(trace.loss)[-1]
        return Progress(step, max(self._level_ends), 0, 0, loss, state.image, state, trace)


@contextlib.contextmanager
def _write_errors() -> Iterator[None]:
    """Convert any exception inside the block to a `WriteError`.

    Orbax writes in background threads and raises their exceptions, of any class, at its next call.
    """
    try:
        yield
    except Exception as error:
        reason = getattr(error, "strerror", None) or one_line(error).rstrip(".")
        raise WriteError(f"cannot write a checkpoint: {reason}.") from error
