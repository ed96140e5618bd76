"""Where the inputs of a recorded run are now.

A record holds names of files without folders. A file is used only if it is in a folder that is
searched and has the recorded SHA-256, or if it is given.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jaxstyle.errors import ImageReadError, printable
from jaxstyle.io.atomic import file_sha256
from jaxstyle.io.origin import Origin
from jaxstyle.io.provenance import FileId
from jaxstyle.io.weights import weights_path

_MAX_SEARCHED = 1_000_000
_MAX_SHOWN = 3


@dataclass(frozen=True)
class Input:
    """An input of a recorded run.

    Attributes:
      role: content, style, mask, start or weights.
      recorded: its name and hash.
      path: where it is now, or `None`.
      note: how it differs from the recorded one, or nothing.
    """

    role: str
    recorded: FileId
    path: Path | None
    note: str = ""


def find_inputs(
    origin: Origin, given: Mapping[str, Sequence[Path]], folders: Sequence[Path]
) -> list[Input]:
    """Find the inputs of a recorded run by name and SHA-256.

    Args:
      origin: the record.
      given: files to use instead of searching, by role.
      folders: folders to search, each with the folders below it. The first two, the image's own
        and the current one, are searched without those below.

    Raises:
      ImageReadError: a file that is given cannot be read.
      ValueError: another number of files is given than was used.
    """
    found = []
    for role in given:
        recorded, paths = origin.inputs.get(role, []), given[role]
        if paths and len(paths) != len(recorded):
            raise ValueError(
                f"`--{role}` is given {len(paths)} times; the image was made from {len(recorded)}."
            )
        for i, file in enumerate(recorded):
            found.append(_take(role, file, paths[i]) if paths else _search(role, file, folders))
    return found


def find_weights(origin: Origin, given: Path | None, folders: Sequence[Path]) -> Input:
    """Find the recorded weights; if they are not there, take those that a run would use.

    Args:
      origin: the record.
      given: weights file to use, or `None`.
      folders: as for `find_inputs`.

    Raises:
      WeightsError: the weights file is missing.
    """
    default = _take("weights", origin.weights, weights_path(given))
    if given is not None or not default.note:
        return default
    found = _search("weights", origin.weights, folders)
    return default if found.path is None else found


def check_found(inputs: Sequence[Input]) -> None:
    """Raise `ImageReadError` if an input is missing; the message names its hash and a remedy."""
    missing = [item for item in inputs if item.path is None]
    if not missing:
        return
    texts = [
        f"{item.role} {printable(item.recorded['file'])!r} {item.note} "
        f"(SHA-256 {item.recorded['sha256']})"
        for item in missing[:_MAX_SHOWN]
    ]
    if len(missing) > _MAX_SHOWN:
        texts.append(f"{len(missing) - _MAX_SHOWN} more")
    raise ImageReadError(
        f"{', '.join(texts)}; name its folder with `--search`, or another file with "
        f"`--{missing[0].role}`."
    )


def _take(role: str, recorded: FileId, path: Path) -> Input:
    """Return a file that is given, with a note if it is not the recorded one."""
    try:
        same = file_sha256(path) == recorded["sha256"]
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ImageReadError(f"{path} cannot be read: {reason}.") from None
    return Input(role, recorded, path, "" if same else "is not the recorded file")


def _search(role: str, recorded: FileId, folders: Sequence[Path]) -> Input:
    changed = None
    for path in _candidates(recorded["file"], folders):
        try:
            if file_sha256(path) == recorded["sha256"]:
                return Input(role, recorded, path)
        except OSError:
            continue
        changed = changed or path
    note = "is not found" if changed is None else f"is not found: {changed} is another file"
    return Input(role, recorded, None, note)


def _candidates(name: str, folders: Sequence[Path]) -> Iterator[Path]:
    """Yield the files of a name, those that are quickly found first."""
    for folder in folders:
        if os.path.lexists(folder / name):
            yield folder / name
    count = 0
    for root in folders[2:]:
        for folder, _, files in os.walk(root):
            count += len(files)
            if count > _MAX_SEARCHED:
                raise ValueError(f"`--search` finds over {_MAX_SEARCHED:,} files; name fewer.")
            if name in files and Path(folder) not in folders:
                yield Path(folder, name)
