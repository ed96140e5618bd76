"""Checkpoints of a long run, from which the same command resumes.

Orbax writes a checkpoint under a temporary name and renames it once complete, so killing the
process never leaves a damaged one. All data is verified when it is read.
"""

import bisect
import contextlib
import errno
import hashlib
import json
import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxstyle.config import StyleConfig
from jaxstyle.errors import WriteError, is_out_of_memory, printable
from jaxstyle.loop.driver import Progress
from jaxstyle.loop.placement import Placement
from jaxstyle.objective import loss_dtype
from jaxstyle.optimize import Info, init, make_optimizer

_ADVICE = "delete it, or name another folder with --checkpoint"
# Names that Orbax gives to the folder of a step.
_STEP = re.compile(r"\d+(\.orbax-checkpoint-tmp.*)?")
_KEY = "bytes"
_SYSTEM_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO)


class Checkpoints:
    """Checkpoints of one run: one at the end of each level, and one every `every` seconds.

    Only the newest is kept. `resume` is the progress it holds, or None. A checkpoint that cannot
    be written is reported once, and does not stop the run.

    Args:
      folder: folder of the checkpoints; created if missing.
      identity: everything that determines the run, from `provenance`.
      config: options of the run.
      plan: height and width, and number of steps, of each level.
      every: seconds between checkpoints within a level.
      warn: called with one line when a checkpoint cannot be written.

    Raises:
      ValueError: the folder contains a checkpoint of another run, a damaged one, or other files.
      WriteError: the folder cannot be created.
    """

    def __init__(
        self,
        folder: Path,
        identity: dict[str, Any],
        config: StyleConfig,
        plan: Sequence[tuple[tuple[int, int], int]],
        every: float,
        warn: Callable[[str], None],
    ):
        _check_folder(folder)
        # Slow to import, so only runs with checkpoints pay for it.
        import orbax.checkpoint as ocp

        # Orbax logs each of its failures, which are reported here.
        self._log, self._log_level = logging.getLogger("absl"), logging.getLogger("absl").level
        self._log.setLevel(logging.CRITICAL + 1)
        self._args, self._folder = ocp.args, folder
        self._identity = json.loads(json.dumps(identity))
        self._config, self._interval, self._last_save = config, every, time.monotonic()
        self._sizes = [size for size, _ in plan]
        self._level_ends = list(accumulate(count for _, count in plan))
        self._warn, self._warned = warn, False
        # Of several processes of one program, the first one writes and all read. Orbax would make
        # them wait for each other, also where writing fails.
        process = jax.process_index()
        self._writes = process == 0
        alone = ocp.options.MultiprocessingOptions(
            primary_host=process, active_processes={process}, barrier_sync_key_prefix=str(process)
        )
        # Saving in the background would raise its errors at a later call.
        options = ocp.CheckpointManagerOptions(
            max_to_keep=1,
            enable_async_checkpointing=False,
            create=False,
            multiprocessing_options=alone,
        )
        # Without these, the size of what is stored is not known before it is read.
        handlers = {
            "leaves": ocp.StandardCheckpointHandler(multiprocessing_options=alone),
            "meta": ocp.JsonCheckpointHandler(multiprocessing_options=alone),
        }
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._manager = ocp.CheckpointManager(
                folder.absolute(), options=options, item_handlers=handlers
            )
        except OSError as error:
            raise WriteError(f"cannot write to {folder}: {error.strerror or error}.") from error
        self.resume = self._restore()

    def watch(self, callback: Callable[[Progress], bool | None]) -> Callable[[Progress], bool]:
        """Return a callback that calls `callback` and saves the checkpoints.

        A checkpoint is also saved when `callback` stops the run, but never with a state that
        is not finite.
        """

        def callback_and_save(progress: Progress) -> bool:
            # Other processes may see another time, or no signal; all gather what is saved.
            placement = Placement(progress.image.sharding, batched=False)
            stop, due = placement.agree(
                bool(callback(progress)), time.monotonic() - self._last_save >= self._interval
            )
            if (stop or due or progress.step in self._level_ends) and progress.state.finite:
                self._save(progress)
            return bool(stop)

        return callback_and_save

    def close(self) -> None:
        """Free what Orbax holds."""
        with contextlib.suppress(Exception):
            self._manager.close()
        self._log.setLevel(self._log_level)

    def _save(self, progress: Progress) -> None:
        placement = Placement(progress.image.sharding, batched=False)
        leaves = [
            np.asarray(placement.make_readable(x))
            for x in jax.tree.leaves((progress.state, progress.trace))
        ]
        self._last_save = time.monotonic()
        if not self._writes:
            return
        data = _pack(leaves)
        meta = {
            "run": self._identity,
            "step": progress.step,
            "terms": sorted(progress.trace.terms),
            "sha256": _digest(data),
        }
        leaves_args = self._args.StandardSave({_KEY: data})
        meta_args = self._args.JsonSave(meta)
        try:
            self._manager.save(
                progress.step, args=self._args.Composite(leaves=leaves_args, meta=meta_args)
            )
        except Exception as error:
            # The disk may be full, and the result still has to be written.
            for unfinished in self._folder.glob(f"{progress.step}.orbax-checkpoint-tmp*"):
                shutil.rmtree(unfinished, ignore_errors=True)
            if not self._warned:
                self._warned = True
                self._warn(
                    f"cannot write a checkpoint to {printable(self._folder)}: {_reason(error)}; "
                    "the run goes on without it."
                )

    def _restore(self) -> Progress | None:
        """Return the saved progress, or None if there is none."""
        try:
            step = self._manager.latest_step()
            if step is None:
                if any(path.name.isdecimal() for path in self._folder.iterdir()):
                    raise ValueError("the checkpoint is not complete")
                return None
            meta = self._read(step, meta=self._args.JsonRestore())
            saved_identity = dict(meta["run"])
            changed = [k for k in self._identity if saved_identity.get(k) != self._identity[k]]
            if not changed:
                return self._progress(step, meta)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            if (reason := _reason(error)) != type(error).__name__:
                raise _unreadable(self._folder, reason) from error
            # The exception class depends on the damage.
            raise ValueError(
                f"the checkpoint in {self._folder} is damaged or was not written by jaxstyle; "
                f"{_ADVICE}."
            ) from error
        raise ValueError(
            f"the checkpoint in {self._folder} belongs to another run (different "
            f"{', '.join(changed)}); {_ADVICE}."
        )

    def _read(self, step: int, **item: Any) -> dict[str, Any]:
        (name,) = item
        return self._manager.restore(step, args=self._args.Composite(**item))[name]

    def _progress(self, step: int, meta: dict[str, Any]) -> Progress:
        """Read the state and the trace of a step; their size is known before they are read."""
        leaves, structure = jax.tree.flatten(self._describe(step, meta["terms"]))
        num_bytes = sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)
        stored = self._manager.item_metadata(step)["leaves"][_KEY]
        if stored.shape != (num_bytes,) or stored.storage.chunk_shape != stored.shape:
            raise ValueError("the values are of another size")
        data = self._read(step, leaves=self._args.StandardRestore())[_KEY]
        if (step, _digest(data)) != (meta["step"], meta["sha256"]):
            raise ValueError("the values do not match their checksum")
        state, trace = jax.tree.unflatten(structure, _unpack(data, leaves))
        loss = np.asarray(trace.loss)[-1]
        return Progress(step, max(self._level_ends), 0, 0, loss, state.image, state, trace)

    def _describe(self, step: int, terms: Sequence[str]) -> tuple[Any, Info]:
        """Return the state and the trace after a step, with shapes and dtypes as leaves."""
        shape = self._sizes[bisect.bisect_left(self._level_ends, step)]
        spec = self._config.optimizer_spec
        optimizer = make_optimizer(spec.optimizer, 1.0, line_search=spec.line_search)
        image = jax.ShapeDtypeStruct((*shape, 3), jnp.float32)
        state = jax.eval_shape(partial(init, optimizer=optimizer), image)
        dtype = loss_dtype(image.dtype, self._config.spec)
        values: Any = jax.ShapeDtypeStruct((step,), dtype)
        finite: Any = jax.ShapeDtypeStruct((step,), jnp.bool_)
        per_term: Any = dict.fromkeys(terms, values)
        return state, Info(values, per_term, finite)


def _pack(leaves: Sequence[np.ndarray]) -> np.ndarray:
    """Return the bytes of all leaves in one array.

    Orbax writes each array by itself, and if one fails, those still being written print errors.
    """
    data = np.empty(sum(leaf.nbytes for leaf in leaves), np.uint8)
    ends = np.cumsum([leaf.nbytes for leaf in leaves])
    for leaf, part in zip(leaves, np.split(data, ends[:-1]), strict=True):
        part[:] = np.ascontiguousarray(leaf).reshape(-1).view(np.uint8)
    return data


def _digest(data: np.ndarray) -> str:
    return hashlib.sha256(data.data).hexdigest()


def _unpack(data: np.ndarray, described: Sequence[Any]) -> list[np.ndarray]:
    ends = np.cumsum([leaf.size * leaf.dtype.itemsize for leaf in described])
    parts = np.split(data, ends[:-1])
    # A copy is aligned.
    return [
        part.copy().view(leaf.dtype).reshape(leaf.shape)
        for part, leaf in zip(parts, described, strict=True)
    ]


def _check_folder(folder: Path) -> None:
    """Raise `ValueError` if a folder cannot be read, or contains anything but checkpoints."""
    try:
        names = sorted(path.name for path in folder.iterdir())
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        raise _unreadable(folder, getattr(error, "strerror", None) or str(error)) from error
    foreign = [name for name in names if not (name.startswith(".") or _STEP.fullmatch(name))]
    if foreign:
        raise ValueError(
            f"the checkpoint folder {folder} contains {printable(foreign[0], 80)}, which is not "
            "a checkpoint; name another folder with --checkpoint."
        )


def _unreadable(folder: Path, reason: str) -> ValueError:
    return ValueError(f"cannot read the checkpoint folder {folder}: {reason}; name another one.")


def _reason(error: Exception) -> str:
    """Return the system's reason for an error, which Orbax may have wrapped, or its class."""
    text = str(error)
    known = (os.strerror(number) for number in _SYSTEM_ERRORS)
    return next((reason for reason in known if reason in text), type(error).__name__)
