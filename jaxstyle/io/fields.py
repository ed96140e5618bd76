"""Values of `StyleConfig` from TOML and JSON: every type is checked, with the name of the field."""

import dataclasses
import re
import reprlib
from collections.abc import Mapping
from typing import Any, get_args, get_origin

from jaxstyle.config import EXPECTED, Layers, StyleConfig, TileSize, parse_value
from jaxstyle.options import suggest

FIELDS = {field.name: field for field in dataclasses.fields(StyleConfig)}
"""Fields of `StyleConfig` by name."""

# How text separates what a list holds.
_SEPARATED = re.compile(r",? separated by commas")
# Larger integers have no float.
_MAX_BITS = 1024


def read_field(name: str, value: Any) -> Any:
    """Return the value of a field of `StyleConfig` from a value of TOML or JSON.

    Lists and tables are those of TOML and JSON, or text as `parse_value` reads it. Ranges are
    checked by `StyleConfig`.

    Args:
      name: field of `StyleConfig`.
      value: value to read.

    Raises:
      ValueError: the value does not have the field's type.

    Example:
      >>> read_field("steps", [60, 45])
      (60, 45)
      >>> read_field("style_layers", {"relu1_1": 4, "relu2_1": 1})
      (('relu1_1', 4.0), ('relu2_1', 1.0))
      >>> read_field("size", True)
      Traceback (most recent call last):
      ...
      ValueError: `size` is True; it must be a whole number.
    """
    kind: Any = FIELDS[name].type
    if isinstance(value, str):
        return parse_value(name, value)
    found: Any = None
    if kind is Layers:
        found = _read_layers(value)
    elif get_origin(kind) is tuple:
        items = value if isinstance(value, list | tuple) else [value]
        found = tuple(items) if all(map(_is_number, items)) else None
    elif kind is bool:
        found = value if isinstance(value, bool) else None
    elif kind in (int, float, TileSize) and _is_number(value):
        found = value
    if found is None and not (kind == TileSize and value is None):
        expected = EXPECTED.get(kind) or f"one of {', '.join(get_args(kind))}"
        expected = _SEPARATED.sub("", expected)
        raise ValueError(f"`{name}` is {reprlib.repr(value)}; it must be {expected}.")
    return found


def read_fields(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of several fields of `StyleConfig`.

    Raises:
      ValueError: a name is not a field, or a value does not have its field's type.
    """
    for name in table:
        if name not in FIELDS:
            hint = suggest(name, FIELDS, "see `jaxstyle stylize --help` for all options.")
            raise ValueError(f"unknown option {name!r}; {hint}")
    return {name: read_field(name, value) for name, value in table.items()}


def _read_layers(value: Any) -> tuple[tuple[str, float], ...] | None:
    """Return pairs of name and weight; `None` if the value is something else."""
    items = list(value.items()) if isinstance(value, dict) else value
    if not isinstance(items, list | tuple):
        return None
    pairs = [(item, 1.0) if isinstance(item, str) else item for item in items]
    for pair in pairs:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            return None
        if not isinstance(pair[0], str) or not _is_number(pair[1]):
            return None
    return tuple((name, float(weight)) for name, weight in pairs)


def _is_number(value: Any) -> bool:
    """Return whether a value is a number that a float can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return isinstance(value, float) or value.bit_length() < _MAX_BITS
