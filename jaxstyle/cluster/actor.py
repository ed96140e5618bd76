"""The process of a cluster that does tasks: loads weights and programs once, and keeps a ledger."""

import contextlib
import os
import socket
import threading
from dataclasses import dataclass, replace
from pathlib import Path

import jax

from jaxstyle import __version__
from jaxstyle.batch.jobs import Job
from jaxstyle.batch.ledger import Ledger, Record, Shard
from jaxstyle.batch.locks import lock_worker
from jaxstyle.batch.plan import size_batches
from jaxstyle.batch.work import Worker
from jaxstyle.cluster.tasks import Task
from jaxstyle.config import TileSize
from jaxstyle.errors import JaxstyleError, WeightsError
from jaxstyle.host import enable_compilation_cache, use_platform
from jaxstyle.io.pillow import pixel_limit, quiet
from jaxstyle.io.provenance import FileId, file_id
from jaxstyle.io.remote import FilePath
from jaxstyle.io.weights import load_weights, weights_path
from jaxstyle.options import Platform
from jaxstyle.reporting import Reporter

# An earlier worker of the same number may still be ending.
_LOCK_SECONDS = 60.0


@dataclass(frozen=True)
class ActorOptions:
    """What a worker needs besides its tasks.

    Attributes:
      folder: folder of the outputs.
      weights: weights file, or `None` for the built-in one.
      weights_id: name and hash of the driver's weights file.
      decoder: whether jobs need AdaIN's decoder.
      version: version of the driver's package.
      platform: where to compute, or `None` for JAX's choice.
      cache: folder of the compilation cache that the user chose, or `None` for each host's own.
      batch_size: images at once, or `None` to choose by memory.
      max_pixels: largest image that is read.
    """

    folder: FilePath
    weights: Path | None
    weights_id: FileId
    decoder: bool
    version: str
    platform: Platform | None
    cache: str | None
    batch_size: int | None
    max_pixels: int


class Actor:
    """A worker of a cluster; its methods are called from the driver.

    Args:
      number: number of the worker, which names its ledger file.
      options: options of the run.
    """

    def __init__(self, number: int, options: ActorOptions):
        self._number, self._options = number, options
        self._worker: Worker | None = None
        # Open until the process ends, which it does when the driver lets go of it.
        self._stack = contextlib.ExitStack()
        self._stopped = threading.Event()

    def start(self) -> tuple[str, int]:
        """Load the weights.

        Returns:
          Name of the host, and the process ID.

        Raises:
          JaxstyleError: this host has another version of the package, or other weights.
          WriteError: another process writes the ledger file of this worker.
        """
        options, host = self._options, socket.gethostname()
        if __version__ != options.version:
            raise JaxstyleError(
                f"{host} has jaxstyle {__version__}, the driver {options.version}; install the "
                "same version on all machines."
            )
        use_platform(options.platform)
        if options.cache is not None:
            jax.config.update("jax_compilation_cache_dir", options.cache)
        enable_compilation_cache()
        self._stack.enter_context(pixel_limit(options.max_pixels))
        self._stack.enter_context(quiet())
        self._lock = lock_worker(options.folder, self._number, _LOCK_SECONDS)
        self._params = load_weights(options.weights, decoder=options.decoder)
        weights_id = file_id(weights_path(options.weights))
        if weights_id["sha256"] != options.weights_id["sha256"]:
            raise WeightsError(f"{host} has another weights file than the driver; copy it there.")
        ledger = Ledger(options.folder, Shard(), worker=self._number)
        self._jobs: dict[int, Job] = {}
        self._records: dict[int, Record] = {}
        worker = Worker(
            self._jobs,
            options.folder,
            self._params,
            weights_id,
            ledger,
            Reporter(),
            self._records.__setitem__,
        )
        self._worker = self._stack.enter_context(worker)
        # Batch size and tile of each program: all tasks of a group share it, the smallest one too.
        self._sizes: dict[tuple, tuple[int, TileSize]] = {}
        return host, os.getpid()

    def run(self, task: Task) -> dict[int, Record]:
        """Do the jobs of a task, and return their records.

        Raises:
          WriteError: nothing can be written.
        """
        worker, group = self._worker, task.group
        assert worker is not None
        program = group.shape, *group.config.static_key.items()
        if program not in self._sizes:
            (sized,) = size_batches([group], self._params, self._options.batch_size)
            self._sizes[program] = sized.batch, sized.config.tile
        batch, tile = self._sizes[program]
        self._jobs.clear()
        self._jobs.update(task.jobs)
        self._records.clear()
        worker.run_group(replace(group, batch=batch, config=replace(group.config, tile=tile)))
        if worker.write_error is not None:
            raise worker.write_error
        return dict(self._records)

    def stop(self) -> None:
        """Stop after the current chunk of steps. Called while `run` runs, in another thread."""
        if self._worker is not None:
            self._worker.interrupt()
