"""Cheap runs of the command line, in this process and in others."""

import contextlib
import io
import subprocess
import sys
from typing import NamedTuple

from conftest import IMAGES

from jaxstyle.cli import main

PHOTO, PAINTING = str(IMAGES / "chelsea.jpg"), str(IMAGES / "cafe_terrace.jpg")
# Three steps at 48 pixels, with the layers that compile fastest.
SIZE = ["--size", "48", "--steps", "3"]
STYLE_LAYERS = ["--style-layers", "relu1_1"]
CONTENT_LAYERS = ["--content-layers", "relu1_2"]
QUICK = [*SIZE, *STYLE_LAYERS, *CONTENT_LAYERS]


class Run(NamedTuple):
    """What a command returned and printed."""

    code: int
    out: str
    err: str


def run(*arguments) -> Run:
    """Run a command line in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(list(map(str, arguments)))
    return Run(code, out.getvalue(), err.getvalue())


def stylize(*arguments) -> int:
    """Run a quick `jaxstyle stylize` in this process, and return its exit code."""
    return main(["stylize", PHOTO, PAINTING, *QUICK, *map(str, arguments)])


def python(*arguments, **options) -> subprocess.CompletedProcess:
    """Run Python in another process."""
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, **options)
