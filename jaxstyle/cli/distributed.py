"""Several processes that compute one image, or the parts of a batch: `--distributed`."""

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxstyle.cli.process import time_limit
from jaxstyle.errors import JaxstyleError

# Hosts of a cluster may start minutes after each other.
_JOIN_SECONDS = 180


def join(text: str) -> None:
    """Join the other processes of the program. JAX must not have computed anything yet.

    Args:
      text: `auto` for what a launcher says, or `HOST:PORT,I/N` for process I of N.

    Raises:
      ValueError: `text` has another form, or there is no launcher.
      JaxstyleError: the first process cannot listen on its port.
    """
    address: dict[str, Any] = {}
    if text != "auto":
        match = re.fullmatch(r"([^,]+:(\d{1,5})),(\d{1,6})/(\d{1,6})", text)
        port, index, count = map(int, match.groups()[1:]) if match else (0, 0, 0)
        if not match or not (0 < port < 2**16 and 1 <= index <= count):
            raise ValueError(
                f"`--distributed` is {text!r}; it must be auto, or HOST:PORT,I/N, I from 1."
            )
        address = {
            "coordinator_address": match[1],
            "num_processes": count,
            "process_id": index - 1,
        }
    # JAX would handle SIGTERM.
    jax.config.update("jax_enable_preemption_service", False)
    late = (
        f"not all processes of `--distributed {text}` joined within {_JOIN_SECONDS} s; are all "
        "started, and can they reach the first one?"
    )
    # After its own time limit JAX ends the process with a stack trace.
    with time_limit(_JOIN_SECONDS, late):
        try:
            jax.distributed.initialize(**address, initialization_timeout=2 * _JOIN_SECONDS)
        except ValueError as error:
            if text != "auto":
                raise
            raise ValueError(
                "`--distributed auto` finds no launcher that JAX knows, such as SLURM or a TPU "
                "slice; give HOST:PORT,I/N."
            ) from error
        except RuntimeError as error:
            raise JaxstyleError(f"cannot join the other processes: {error}.") from error


@contextlib.contextmanager
def connected(*, together: bool) -> Iterator[None]:
    """Keep the joined processes connected during a block.

    Args:
      together: whether they compute one image. If not, they part at once: none waits for the
        others, or ends because another does.

    Raises:
      JaxstyleError: the connection to another process was lost.
    """
    if not together:
        jax.distributed.shutdown()
        yield
        return
    try:
        with _no_stdout():
            multihost_utils.sync_global_devices("jaxstyle")
        yield
    except (RuntimeError, ValueError) as error:
        if "Gloo" not in str(error):
            raise
        raise JaxstyleError(f"the connection to another process was lost: {error}") from error
    # It waits for the other processes. After an error, `process.run` does not.
    jax.distributed.shutdown()


@contextlib.contextmanager
def _no_stdout() -> Iterator[None]:
    """Drop what is written to stdout; Gloo, which connects CPUs, reports its connections there."""
    kept = os.dup(1)
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def check_equal(**run: Any) -> None:
    """Check that all processes compute the same: otherwise they would wait for each other.

    Args:
      run: what determines the computation, as JSON values.

    Raises:
      ValueError: a process has another value.
    """
    digest = hashlib.sha256(json.dumps(run, sort_keys=True).encode()).digest()
    digests = multihost_utils.process_allgather(np.frombuffer(digest, np.int32))
    for index, other in enumerate(digests):
        if not np.array_equal(other, digests[0]):
            raise ValueError(
                f"process {index + 1} of --distributed has other files, options, checkpoints or "
                "versions than process 1."
            )
