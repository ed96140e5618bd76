"""Options from a file: `--config`."""

import dataclasses
import os
from pathlib import Path
from typing import Any, get_args

from jaxstyle.io.fields import FIELDS, read_fields
from jaxstyle.options import Init, check_one_of, suggest
from jaxstyle.presets import PRESETS

# A configuration written by hand.
_MAX_BYTES = 2**20


def read_config(path: Path) -> dict[str, Any]:
    """Read options of `StyleConfig`, and `preset`, from a file.

    Args:
      path: a `.toml` file with options by name, such as `style_weight = 20`; a `.json` file of
        `--report`; or an image that jaxstyle has written, with its metadata.

    Returns:
      The options by name, with values of the types of `StyleConfig`. In a `.toml` file `init` may
      also name an image, which is relative to the folder of that file.

    Raises:
      ImageReadError: the file cannot be read.
      ValueError: an option is unknown, or has a wrong value. The message names the file.

    Example:
      >>> import tempfile
      >>> from jaxstyle.cli.config_file import read_config
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     path = Path(folder, "run.toml")
      ...     _ = path.write_text('preset = "classic"' + chr(10) + "steps = 60")
      ...     read_config(path)
      {'preset': 'classic', 'steps': (60,)}
    """
    if path.suffix.lower() != ".toml":
        # It imports Pillow.
        from jaxstyle.io.origin import read_origin

        return read_origin(path).config
    from jaxstyle.io.texts import parse_toml, read_text

    text = read_text(path, _MAX_BYTES, "it is no configuration")
    try:
        return _read_table(path, parse_toml(path, text))
    except (ValueError, OverflowError) as error:
        message = str(error)
        raise ValueError(message if str(path) in message else f"{path}: {message}") from None


def _read_table(path: Path, table: dict[str, Any]) -> dict[str, Any]:
    names = (*FIELDS, "preset")
    for name in table:
        if name not in names:
            hint = suggest(name.replace("-", "_"), names, f"options are {', '.join(names)}.")
            raise ValueError(f"unknown option {name!r}; {hint}")
    preset = {"preset": table.pop("preset")} if "preset" in table else {}
    for value in preset.values():
        check_one_of("preset", value, list(PRESETS))
    start, init = {}, table.get("init")
    if isinstance(init, str) and init not in get_args(Init):
        file = path.parent / init
        if file.suffix or os.path.lexists(file):
            start = {"init": str(file)}
            del table["init"]
    fields = read_fields(table)
    dataclasses.replace(PRESETS[preset.get("preset", "default")], **fields)
    return preset | fields | start
