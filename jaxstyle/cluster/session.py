"""Connection to a Ray cluster, and what it offers."""

import contextlib
import logging
import math
import os
import signal
import socket
import warnings
from collections.abc import Iterator
from typing import Any

from jaxstyle.errors import JaxstyleError

_LOCAL = "local"
_CONNECT_SECONDS = 10.0


@contextlib.contextmanager
def connect(address: str | None) -> Iterator[None]:
    """Connect to a cluster, or start one on this machine.

    Args:
      address: `auto` for the cluster that this machine belongs to, `HOST:PORT`, or `None` for a
        new cluster of this machine alone, which ends with the block.

    Raises:
      JaxstyleError: Ray is not installed, or there is no cluster at the address.
    """
    # Otherwise Ray prints on stdout what a worker that died has logged.
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", ".")
    try:
        import ray
    except ImportError:
        raise JaxstyleError("`--engine ray` needs Ray; pip install 'jaxstyle[ray]'.") from None
    # Ray starts its processes by fork and exec, which threads do not mind.
    warnings.filterwarnings("ignore", r"os\.fork\(\) was called", RuntimeWarning)
    try:
        _check_reachable(address)
        handler = signal.getsignal(signal.SIGTERM)
        options: dict[str, Any] = {"include_dashboard": False} if address is None else {}
        ray.init(address or _LOCAL, log_to_driver=False, logging_level=logging.ERROR, **options)
        # Ray has set its own.
        signal.signal(signal.SIGTERM, handler)
    except (OSError, ValueError, RuntimeError) as error:
        line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        where = "on this machine" if address is None else f"at {address!r}"
        raise JaxstyleError(
            f"no Ray cluster answers {where}; is it running, and the address right? ({line})"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _check_reachable(address: str | None) -> None:
    """Check that something listens at the address; Ray itself would try for minutes.

    Raises:
      OSError: nothing does.
      ValueError: the address is neither `auto` nor `HOST:PORT`.
    """
    if address in (None, "auto"):
        return
    host, colon, port = str(address).rpartition(":")
    if not (host and colon and port.isdecimal()) or "://" in host:
        raise ValueError("it must be auto or HOST:PORT")
    socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS).close()


def cluster_resources(workers: int | None) -> tuple[dict[str, Any], int]:
    """Return what a worker reserves, and how many workers there are to be.

    JAX takes a whole GPU or TPU chip, so a worker reserves one. Without any, a worker shares a
    machine evenly with the others on it.

    Args:
      workers: number of workers, or `None` for as many as devices, or machines without any.
    """
    import ray

    total = ray.cluster_resources()
    for name, reservation in (("GPU", {"num_gpus": 1}), ("TPU", {"resources": {"TPU": 1}})):
        if total.get(name, 0) >= 1:
            return reservation, workers or int(total[name])
    machines = [node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]]
    machines = [cpus for cpus in machines if cpus] or [1]
    count = workers or len(machines)
    cpus = int(min(machines) // math.ceil(count / len(machines)))
    return {"num_cpus": max(1, cpus)}, count


def remote_class(actor: type, resources: dict[str, Any]) -> Any:
    """Return an actor class that reserves resources, and answers `stop` while it works."""
    import ray

    options = {"max_concurrency": 2, "max_restarts": 0, "scheduling_strategy": "SPREAD"}
    return ray.remote(actor).options(**options, **resources)
