"""Provenance of a result, stored in its file, in reports and in a batch's ledger."""

import json
import platform
from collections.abc import Iterable, Mapping
from functools import cache, lru_cache
from importlib.metadata import version
from typing import Any

from jaxstyle import __version__
from jaxstyle.config import StyleConfig
from jaxstyle.io.atomic import Stamp, file_sha256
from jaxstyle.io.remote import FilePath

Inputs = Mapping[str, Iterable[FilePath]]
"""Input files of a result by role: content, style, mask, start."""
FileId = dict[str, str]
"""Name of a file, without its folder, and SHA-256 of its contents."""
InputIds = dict[str, list[FileId]]
"""Names and hashes of the files in `Inputs`."""


def file_id(path: FilePath) -> FileId:
    """Return the name and SHA-256 of a file.

    Raises:
      OSError: the file cannot be read.
    """
    return {"file": path.name, "sha256": file_sha256(path)}


class FileIds:
    """Names and hashes of files. One whose size and times are the same is read once.

    Args:
      limit: number of hashes that are kept.
    """

    def __init__(self, limit: int = 4096):
        self._sha256 = lru_cache(limit)(lambda path, _: file_sha256(path))

    def __call__(self, path: FilePath, stamp: Stamp) -> FileId:
        """Return the name and SHA-256 of a file.

        Args:
          path: the file.
          stamp: its size and times, from `file_stamp`.

        Raises:
          OSError: the file cannot be read.
        """
        return {"file": path.name, "sha256": self._sha256(path, tuple(stamp))}


def input_ids(inputs: Inputs) -> InputIds:
    """Return the names and hashes of all inputs, leaving out roles without files.

    Args:
      inputs: input files by role.

    Raises:
      OSError: a file cannot be read.
    """
    ids = {role: [file_id(path) for path in paths] for role, paths in inputs.items()}
    return {role: files for role, files in ids.items() if files}


def provenance(
    command: str, config: StyleConfig, inputs: InputIds, weights: FileId
) -> dict[str, Any]:
    """Return everything that determines a result.

    The value contains no times and no folders, so it is equal for equal runs.
    """
    return {
        "jaxstyle": __version__,
        "command": command,
        "config": config.record,
        "inputs": inputs,
        "weights": weights,
        "versions": package_versions(),
    }


def metadata(origin: Mapping[str, Any], **details: Any) -> dict[str, str]:
    """Return the text entries of an image file.

    Args:
      origin: the value of `provenance`.
      details: what else tells how the file was made, such as the device. None of it prevents a
        batch or a checkpoint from being resumed. Values that are false are left out.
    """
    entries = {**origin, **{name: value for name, value in details.items() if value}}
    return {"Software": f"jaxstyle {__version__}", "jaxstyle": json.dumps(entries)}


@cache
def package_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that compute results."""
    packages = ("jax", "jaxlib", "flax", "optax", "numpy", "pillow")
    return {"python": platform.python_version(), **{p: version(p) for p in packages}}
