"""Text files of users: UTF-8, TOML and JSON, with limits for files from strangers."""

import json
import re
import tomllib
from typing import Any

from jaxstyle.errors import ImageReadError
from jaxstyle.io.atomic import open_regular
from jaxstyle.io.remote import FilePath

# The TOML parser takes quadratic time for keys with many parts; dots in text do not count.
_MAX_DOTS = 100
_TOML_TEXT = re.compile(r'"(?:[^"\\]|\\.)*"|\'[^\']*\'')


def read_text(path: FilePath, limit: int, advice: str = "split it") -> str:
    """Read a text file in UTF-8.

    Args:
      path: the file.
      limit: largest size in bytes.
      advice: what to do about a larger file.

    Raises:
      ImageReadError: the file cannot be read.
      ValueError: the file is too large, or not text in UTF-8.
    """
    try:
        with open_regular(path) as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise ImageReadError(f"cannot read {path}: {error.strerror}.") from None
    if len(data) > limit:
        raise ValueError(f"{path} has more than {limit // 2**20} MiB; {advice}.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 (byte {error.start}); save it as UTF-8.") from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise ValueError(f"{path}, line {line}: it contains a NUL character; save it as text.")
    return text


def parse_toml(path: FilePath, text: str) -> dict[str, Any]:
    """Parse TOML.

    Args:
      path: file of the text, named in errors.
      text: the text.

    Raises:
      ValueError: the text is not valid TOML, or too complex.

    Example:
      >>> from pathlib import Path
      >>> parse_toml(Path("run.toml"), "size = 256")
      {'size': 256}
    """
    for number, line in enumerate(text.split("\n"), start=1):
        if _TOML_TEXT.sub("", line).count(".") > _MAX_DOTS:
            raise ValueError(f"{path}, line {number}: it has more than {_MAX_DOTS} dots; split it.")
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError(f"{path}: its values are nested too deeply; flatten them.") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def parse_json(path: FilePath, text: str) -> Any:
    """Parse JSON.

    Args:
      path: file of the text, named in errors.
      text: the text.

    Raises:
      ValueError: the text is not valid JSON, or too complex.

    Example:
      >>> from pathlib import Path
      >>> parse_json(Path("report.json"), '{"steps": [3]}')
      {'steps': [3]}
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError(f"{path}: its values are nested too deeply.") from None
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON: {error}.") from None
