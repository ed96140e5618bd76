"""The command line that repeats a recorded run."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxstyle.io.images import read_shape
from jaxstyle.io.origin import Origin

_PLACES = {
    "stylize": ("content", "style"),
    "preview": ("content", "style"),
    "texture": ("style",),
    "layers": ("content", "style"),
}
_SEVERAL_STYLES = ("stylize", "preview", "texture")
_MAX_ITEMS = 100


def make_command(
    origin: Origin, paths: Mapping[str, Sequence[Path]], picture: Path, output: Path
) -> list[str]:
    """Return the arguments of `jaxstyle` that repeat a recorded run.

    Args:
      origin: the record.
      paths: files of the inputs by role, and of the weights if they are not the default ones.
      picture: the image that carries the record.
      output: image to write.

    Raises:
      ValueError: the record does not fit its command.
    """
    roles = _PLACES.get(origin.command) or [_reconstructed(origin)]
    for role in roles:
        count, several = len(paths.get(role, ())), origin.command in _SEVERAL_STYLES
        if count == 0 or (count > 1 and not (role == "style" and several)):
            raise ValueError(
                f"the metadata of {picture} names {count} files as {role}, which `jaxstyle "
                f"{origin.command}` does not take; it is damaged."
            )
    flags = {
        "config": [picture],
        "output": [output],
        "mask": paths.get("mask", ()),
        "init": paths.get("start", ()),
        "weights": paths.get("weights", ()),
        **_own_flags(origin, picture),
    }
    words = [f"--{name}={value}" for name, values in flags.items() for value in values]
    if origin.command == "layers" and origin.details.get("reconstructions") is False:
        words.append("--no-reconstructions")
    return [origin.command, *words, "--", *(str(path) for role in roles for path in paths[role])]


def _reconstructed(origin: Origin) -> str:
    """Return the role of the image that `jaxstyle reconstruct` was given."""
    return "style" if "style" in origin.inputs else "content"


def _own_flags(origin: Origin, picture: Path) -> dict[str, list[str]]:
    """Return the flags that only one command has."""
    if origin.command == "texture":
        # Only the shape of the texture depends on its aspect.
        height, width = read_shape(picture)
        return {"aspect": [repr(width / height)]}
    if origin.command == "reconstruct":
        role = _reconstructed(origin)
        return {"of": [role], "layers": [_format_layers(origin.config.get(f"{role}_layers", ()))]}
    if origin.command == "preview":
        return {"strength": [repr(_number(origin.details.get("strength"), "strength"))]}
    if origin.command == "layers":
        return {
            "set": [_format_layers(_pairs(item)) for item in _items(origin, "sets")],
            "style-weights": [
                ",".join(repr(_number(item, "style_weights")) for item in weights)
                for weights in [_items(origin, "style_weights")]
            ],
        }
    return {}


def _format_layers(pairs: Sequence[tuple[str, float]]) -> str:
    return ",".join(f"{name}={weight!r}" for name, weight in pairs)


def _items(origin: Origin, name: str) -> list[Any]:
    value = origin.details.get(name)
    if not isinstance(value, list) or not 0 < len(value) <= _MAX_ITEMS:
        raise ValueError(f"`{name}` of the metadata must be a list of 1 to {_MAX_ITEMS} items.")
    return value


def _pairs(value: Any) -> list[tuple[str, float]]:
    if not isinstance(value, dict):
        raise ValueError("`sets` of the metadata must be a list of tables.")
    return [(name, _number(weight, "sets")) for name, weight in value.items()]


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"`{name}` of the metadata has something else than a number.")
    return float(value)
