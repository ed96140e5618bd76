"""`jaxstyle completion`: a script that lets a shell complete commands, options and their values."""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from jaxstyle.errors import JaxstyleError
from jaxstyle.options import LAYERS, Init

SHELLS = {
    "bash": "~/.local/share/bash-completion/completions/jaxstyle",
    "zsh": '"${fpath[1]}/_jaxstyle"',
    "fish": "~/.config/fish/completions/jaxstyle.fish",
}
"""Shells, and where they look for the script."""

_LAYER_OPTIONS = ("content_layers", "style_layers", "layers", "set")


def completion_script(parser: argparse.ArgumentParser, shell: str) -> str:
    """Return the script that completes the command line of a parser. It starts no program.

    Args:
      parser: parser of the command line.
      shell: name of the shell, one of `SHELLS`.

    Raises:
      JaxstyleError: the package shtab is not installed.
    """
    try:
        import shtab
    except ImportError:
        hint = "pip install 'jaxstyle[completion]'"
        raise JaxstyleError(f"`jaxstyle completion` needs shtab; {hint}.") from None
    layers, start = _list_of_layers(), _words_or_files(get_args(Init))
    for action in _actions(parser):
        if action.choices is not None:
            continue
        found: Any = None
        if action.dest in _LAYER_OPTIONS:
            found = layers
        elif action.dest == "init":
            found = start
        elif action.metavar == "FOLDER":
            found = shtab.DIRECTORY
        elif action.type is Path or action.metavar in ("CONTENTS", "STYLES"):
            found = shtab.FILE
        if found is not None:
            action.complete = found  # pyright: ignore[reportAttributeAccessIssue]
    return shtab.complete(parser, shell)


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yield the actions of a parser and of its commands."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from _actions(child)


def _list_of_layers() -> dict[str, Any]:
    """Return what completes the last name of a list of layers, separated by commas."""
    names = " ".join(LAYERS)
    bash = f"""
_jaxstyle_layers() {{
  local head=
  [[ $1 == *,* ]] && head=${{1%,*}},
  compgen -P "$head" -W "{names}" -- "${{1##*,}}"
}}
"""
    return {
        "bash": "_jaxstyle_layers",
        "zsh": f"_values -s , layer {names}",
        "fish": names,
        "preamble": {"bash": bash},
    }


def _words_or_files(words: tuple[str, ...]) -> dict[str, Any]:
    """Return what completes words, and the names of files."""
    names = " ".join(words)
    bash = f"""
_jaxstyle_init_file() {{
  compgen -W "{names}" -- "$1"
  compgen -f -- "$1"
}}
"""
    zsh = f"""
_jaxstyle_init_file() {{
  _alternative 'words:word:({names})' 'files:file:_files'
}}
"""
    return {
        "bash": "_jaxstyle_init_file",
        "zsh": "_jaxstyle_init_file",
        "fish": f"{names} (__fish_complete_path (commandline -ct))",
        "preamble": {"bash": bash, "zsh": zsh},
    }
