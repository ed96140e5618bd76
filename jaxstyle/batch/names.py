"""File names of a batch's results, from a template with fields such as `{content}`."""

import os
import posixpath
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from string import Formatter
from typing import Any

from jaxstyle.config import StyleConfig
from jaxstyle.io.images import FORMATS
from jaxstyle.io.remote import FilePath, is_remote

RESERVED = "contact_sheet"
"""Prefix of the contact sheets' file names; no output may start with it."""

FIELDS = ("content", "style", "ext", "folder", "index", "size", "seed")
"""Fields of a template, see `output_name`."""

# Alignment, zeros, a width of up to two digits, and a number of characters to keep.
_FORMAT = re.compile(r"[<>^]?\d{0,2}(\.\d{1,3})?")


def output_name(
    template: str,
    content: FilePath,
    styles: Sequence[FilePath],
    index: int,
    config: StyleConfig,
    *,
    root: FilePath | None = None,
) -> str:
    """Return the path of a result relative to the output folder.

    Args:
      template: path with the fields `{content}` and `{style}` (file names without folder and
        suffix), `{ext}` (suffix of the content image), `{folder}` (folder of the content image
        below `root`, `.` for `root` itself), `{index}`, `{size}` and `{seed}`. A field may have a
        width of up to two digits, as in `{index:04}`, and text a largest length, as in
        `{content:.40}`.
      content: file of the content image.
      styles: files of the style images; their names are joined by `+`.
      index: number of the job, from 1.
      config: configuration of the job.
      root: folder that `{folder}` starts from; that of the content image by default.

    Raises:
      ValueError: the template has an unknown field or format, or the path is not inside the
        output folder, has no supported suffix, or is reserved.

    Example:
      >>> from pathlib import Path
      >>> from jaxstyle import StyleConfig
      >>> from jaxstyle.batch.names import output_name
      >>> config = StyleConfig(size=256)
      >>> output_name("{style}/{content}_{size}.jpg", Path("in/a.png"), [Path("s.png")], 1, config)
      's/a_256.jpg'
      >>> output_name("{folder}/{index:03}.png", Path("in/b/a.png"), [], 7, config, root=Path("in"))
      'b/007.png'
    """
    values = (
        content.stem,
        "+".join(style.stem for style in styles),
        content.suffix.removeprefix("."),
        subfolder(content, root) if "{folder" in template else "",
        index,
        config.size,
        config.seed,
    )
    try:
        _check_template(template)
        fields: dict[str, Any] = dict(zip(FIELDS, values, strict=True))
        name = template.format_map(fields)
    except ValueError:
        known = ", ".join(f"{{{name}}}" for name in FIELDS)
        raise ValueError(
            f"`--name` is {template!r}; its fields must be among {known}, with a width of at most "
            "two digits, as in {index:04}."
        ) from None
    return check_output_name(name)


@cache
def _check_template(template: str) -> None:
    """Raise `ValueError` if a template has an unknown field or format."""
    for _, field, form, conversion in Formatter().parse(template):
        plain = field is None or (field in FIELDS and not conversion)
        if not plain or not _FORMAT.fullmatch(form or ""):
            raise ValueError


def subfolder(path: FilePath, root: FilePath | None) -> str:
    """Return the folder of a file relative to `root`, or `.` if `root` is `None`.

    The result is relative and has no `..`, also for a file outside of `root`.

    Example:
      >>> from pathlib import Path
      >>> from jaxstyle.batch.names import subfolder
      >>> subfolder(Path("in/b/a.png"), Path("in")), subfolder(Path("in/a.png"), Path("in"))
      ('b', '.')
      >>> subfolder(Path("in/../other/a.png"), Path("in"))
      'other'
    """
    if root is None:
        return "."
    if is_remote(path) and is_remote(root):
        path, root = Path(path.path), Path(root.path)
    if is_remote(path) or is_remote(root):
        return "."
    folder = Path(os.path.relpath(path.parent, root))
    return Path(
        *(part for part in folder.parts if part not in (os.pardir, folder.anchor))
    ).as_posix()


def is_inside(name: str) -> bool:
    """Return whether a file could have this path, and it stays in its folder.

    It must be relative, without drive and `..`, and of characters that a file system can store.

    Example:
      >>> from jaxstyle.batch.names import is_inside
      >>> is_inside("a/b.png"), is_inside("../b.png")
      (True, False)
    """
    try:
        is_storable = b"\0" not in os.fsencode(name)
    except UnicodeEncodeError:
        return False
    drive, path = os.path.splitdrive(name.replace(os.sep, "/"))
    parts = set(path.split("/")) - {"", "."}
    is_relative = not drive and not path.startswith("/")
    return is_storable and is_relative and bool(parts) and ".." not in parts


def check_output_name(name: str) -> str:
    """Return an output path with `/` as separator.

    Raises:
      ValueError: it leaves the output folder, has no supported suffix, or is reserved.

    Example:
      >>> from jaxstyle.batch.names import check_output_name
      >>> check_output_name("./a//b.png")
      'a/b.png'
    """
    path = posixpath.normpath(name.replace(os.sep, "/"))
    if not is_inside(name):
        raise ValueError(
            f"output {name!r} is not a file inside the output folder; use a relative path without "
            "'..'."
        )
    if posixpath.splitext(path)[1].lower() not in FORMATS:
        raise ValueError(f"output {name!r} must end in {', '.join(FORMATS)}.")
    if "/" not in path and path.startswith(RESERVED):
        raise ValueError(
            f"output {name!r} starts with {RESERVED!r}, which is reserved for the batch's contact "
            "sheets; use another name."
        )
    return path
