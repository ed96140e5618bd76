"""Where a long run stands, kept in a folder, so that the same command goes on from it.

A checkpoint is written under another name and renamed when it is whole (orbax), so
that a process may be killed at any moment.
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
    """The checkpoints of one run: the last at the end of a level, or after so many seconds.

    Args:
      folder: where to keep them; made if it is not there.
      identity: what the run is made of and by; a checkpoint of another is refused.
      config: of the run.
      plan: size and steps of every level.
      every: seconds between checkpoints, beside those at the ends of levels.

    Raises:
      ValueError: the folder holds a checkpoint of another run.
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
        # A second to import: for those who ask for it.
        import orbax.checkpoint as ocp

        self._args = ocp.args
        self._identity = json.loads(json.dumps(identity))
        self._config, self._every, self._last = config, every, time.monotonic()
        self._ends = set(accumulate(count for _, count in plan))
        try:
            folder.mkdir(parents=True, exist_ok=True)
            options = ocp.CheckpointManagerOptions(max_to_keep=1)
            self._manager = ocp.CheckpointManager(folder.absolute(), options=options)
        except OSError as error:
            raise WriteError(f"cannot write to {folder}: {error.strerror or error}.") from error
        self.resume = self._load(folder)

    def watch(self, callback: Callable[[Progress], bool | None]) -> Callable[[Progress], bool]:
        """`callback`, and a checkpoint when it is due, or when the callback stops the run."""

        def both(progress: Progress) -> bool:
            stop = bool(callback(progress))
            due = time.monotonic() - self._last >= self._every
            if (stop or due or progress.step in self._ends) and progress.state.finite:
                self._save(progress)
            return stop

        return both

    def close(self) -> None:
        """Wait until the last checkpoint is safe.

        Raises:
          WriteError: it could not be written.
        """
        with _write_errors():
            self._manager.close()

    def _save(self, progress: Progress) -> None:
        leaves = jax.tree.leaves((progress.state, progress.trace))
        meta = {"run": self._identity, "terms": sorted(progress.trace.terms)}
        # As a plain dictionary: what reads it need not know its classes.
        named = {f"{i:03}": np.asarray(leaf) for i, leaf in enumerate(leaves)}
        with _write_errors():
            self._manager.save(
                progress.step,
                args=self._args.Composite(
                    leaves=self._args.StandardSave(named), meta=self._args.JsonSave(meta)
                ),
            )
        self._last = time.monotonic()

    def _load(self, folder: Path) -> Progress | None:
        step = self._manager.latest_step()
        if step is None:
            return None
        found = self._manager.restore(
            step,
            args=self._args.Composite(
                leaves=self._args.StandardRestore(), meta=self._args.JsonRestore()
            ),
        )
        before = found["meta"]["run"]
        changed = [name for name in self._identity if before.get(name) != self._identity[name]]
        if changed:
            raise ValueError(
                f"the checkpoint in {folder} is of another run (other {', '.join(changed)}); "
                "name another folder, or delete it."
            )
        spec = self._config.optimizer_spec
        optimizer = make_optimizer(spec.optimizer, 1.0, line_search=spec.line_search)
        state = init(jnp.zeros((1, 1, 3)), optimizer)
        none = jnp.zeros(0)
        trace = Info(none, dict.fromkeys(found["meta"]["terms"], none), none)
        leaves = [found["leaves"][name] for name in sorted(found["leaves"])]
        state, trace = jax.tree.unflatten(jax.tree.structure((state, trace)), leaves)
        loss = np.asarray(trace.loss)[-1]
        return Progress(step, max(self._ends), 0, 0, loss, state.image, state, trace)


@contextlib.contextmanager
def _write_errors() -> Iterator[None]:
    """Whatever goes wrong inside the block is a `WriteError`.

    Orbax writes in threads of its own, and raises their errors, of any class, at the next call.
    """
    try:
        yield
    except Exception as error:
        why = getattr(error, "strerror", None) or one_line(error).rstrip(".")
        raise WriteError(f"cannot write a checkpoint: {why}.") from error
