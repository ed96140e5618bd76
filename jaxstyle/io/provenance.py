"""What a picture was made of and by: kept in its file, in reports and in a batch's ledger."""

import json
import platform
from collections.abc import Iterable, Mapping, MutableMapping
from dataclasses import asdict
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jaxstyle import __version__
from jaxstyle.config import StyleConfig
from jaxstyle.io.atomic import file_sha256

Inputs = Mapping[str, Iterable[Path]]
"""Files that a picture is made of, by their part in it: content, style, mask, start."""
FileId = dict[str, str]
"""A file's name, without its folder, and the SHA-256 of its bytes."""
InputIds = dict[str, list[FileId]]
"""The files of `Inputs`."""


def file_id(path: Path, hashes: MutableMapping[Path, str] | None = None) -> FileId:
    """Name and hash of a file; with `hashes`, a file that is asked for again is not read again.

    Raises:
      OSError: the file cannot be read.
    """
    hashes = {} if hashes is None else hashes
    if path not in hashes:
        hashes[path] = file_sha256(path)
    return {"file": path.name, "sha256": hashes[path]}


def input_ids(inputs: Inputs, hashes: MutableMapping[Path, str] | None = None) -> InputIds:
    """Names and hashes of a picture's inputs, without the parts that it does without.

    Raises:
      OSError: a file cannot be read.
    """
    ids = {part: [file_id(path, hashes) for path in paths] for part, paths in inputs.items()}
    return {part: files for part, files in ids.items() if files}


def provenance(
    command: str, config: StyleConfig, inputs: InputIds, weights: FileId
) -> dict[str, Any]:
    """All that decides what a picture is; the same for the same run on the same machine."""
    return {
        "jaxstyle": __version__,
        "command": command,
        "config": asdict(config),
        "inputs": inputs,
        "weights": weights,
        "versions": _versions(),
    }


def metadata(origin: Mapping[str, Any]) -> dict[str, str]:
    """Text for a picture's file, from `provenance`."""
    return {"Software": f"jaxstyle {__version__}", "jaxstyle": json.dumps(origin)}


@cache
def _versions() -> dict[str, str]:
    packages = ("jax", "jaxlib", "flax", "optax", "numpy", "pillow")
    return {"python": platform.python_version(), **{p: version(p) for p in packages}}
