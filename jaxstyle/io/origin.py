"""Provenance read back from a result or a report. Both may come from strangers.

Every value is checked for its type; of a file, only a name without a folder is accepted.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxstyle import __version__
from jaxstyle.config import StyleConfig
from jaxstyle.errors import one_line, printable
from jaxstyle.io.fields import FIELDS, read_field
from jaxstyle.io.images import read_description
from jaxstyle.io.provenance import FileId, InputIds
from jaxstyle.io.texts import parse_json, read_text

COMMANDS = ("stylize", "preview", "texture", "reconstruct", "layers")
"""Commands that write images with provenance."""

# A report holds the loss of every step.
_MAX_REPORT = 2**26
_MAX_FILES = 1000
_ROLES = ("content", "style", "mask", "start")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_VERSION = re.compile(r"[\w.+!-]{1,40}")


@dataclass(frozen=True)
class Origin:
    """What determined a result, as it was recorded.

    Attributes:
      jaxstyle: version of the package.
      command: name of the command.
      config: fields of `StyleConfig` that were recorded, valid together.
      inputs: names and hashes of the input files by role.
      weights: name and hash of the weights file.
      versions: versions of Python and of packages.
      details: all other entries, unchecked.
    """

    jaxstyle: str
    command: str
    config: dict[str, Any]
    inputs: InputIds
    weights: FileId
    versions: dict[str, str]
    details: dict[str, Any] = field(default_factory=dict)


def read_origin(path: Path) -> Origin:
    """Read the provenance of an image file, or of a `.json` file of `--report`.

    Args:
      path: the file.

    Raises:
      ImageReadError: the file cannot be read.
      ValueError: it has no provenance, or one that is damaged or not known to this version.
    """
    is_report = path.suffix.lower() == ".json"
    text = read_text(path, _MAX_REPORT, "it is no report") if is_report else read_description(path)
    if not text:
        raise ValueError(
            f"{path} carries no metadata of jaxstyle: another program made or saved it, or an "
            "earlier version, which wrote metadata to PNG files only."
        )
    try:
        return parse_origin(parse_json(path, text))
    except ValueError as error:
        message = one_line(error)
        raise ValueError(message if str(path) in message else f"{path}: {message}") from None


def parse_origin(record: Any) -> Origin:
    """Check a record of `provenance`.

    Args:
      record: value of JSON.

    Raises:
      ValueError: an entry is missing, damaged, or not known to this version.
    """
    table = _table(record, "the metadata")
    version = _text(table, "jaxstyle", _VERSION)
    command = _text(table, "command", re.compile("[a-z]{1,20}"))
    if command not in COMMANDS:
        raise ValueError(
            f"it was made by `jaxstyle {command}` of version {version}, which jaxstyle "
            f"{__version__} does not know; upgrade."
        )
    config = {
        name: _read_recorded(name, value, version)
        for name, value in _table(table.get("config"), "`config`").items()
    }
    if "tile" in table:
        config["tile"] = read_field("tile", table["tile"])
    try:
        StyleConfig(**config)
    except OverflowError:
        raise ValueError("`config` has a number that is too large.") from None
    inputs = _table(table.get("inputs"), "`inputs`")
    versions = _table(table.get("versions", {}), "`versions`")
    known = ("jaxstyle", "command", "config", "tile", "inputs", "weights", "versions")
    return Origin(
        version,
        command,
        config,
        {role: _file_ids(role, files) for role, files in inputs.items()},
        _file_id(table.get("weights"), "`weights`"),
        {printable(name, 40): printable(value, 40) for name, value in versions.items()},
        {name: value for name, value in table.items() if name not in known},
    )


def _read_recorded(name: str, value: Any, version: str) -> Any:
    if name in FIELDS:
        return read_field(name, value)
    raise ValueError(
        f"option {name[:40]!r} of jaxstyle {version} is not known to jaxstyle {__version__}; "
        "upgrade."
    )


def _file_ids(role: str, files: Any) -> list[FileId]:
    if role not in _ROLES:
        raise ValueError(f"`inputs` has {role[:40]!r}; it must be one of {', '.join(_ROLES)}.")
    if not isinstance(files, list) or not 0 < len(files) <= _MAX_FILES:
        raise ValueError(f"`inputs` must have a list of 1 to {_MAX_FILES} files as {role!r}.")
    return [_file_id(file, f"a file of {role!r}") for file in files]


def _file_id(value: Any, what: str) -> FileId:
    table = _table(value, what)
    name = table.get("file")
    # A backslash would be a folder on Windows.
    if not isinstance(name, str) or len(name) > 255 or re.search(r"[/\\\0]", name):
        raise ValueError(f"{what} has no name without a folder.")
    if name in ("", ".", ".."):
        raise ValueError(f"{what} has the name {name!r}, which is no file.")
    return {"file": name, "sha256": _text(table, "sha256", _SHA256)}


def _table(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{what} must be a table of JSON; the file is damaged or of no use here.")
    return value


def _text(table: Mapping[str, Any], name: str, pattern: re.Pattern[str]) -> str:
    value = table.get(name)
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise ValueError(f"`{name}` is missing or damaged.")
    return value
