"""One picture from files to a file: progress, previews, interruption, report."""

import argparse
import contextlib
import hashlib
import json
import os
import platform
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxstyle import __version__, images, pyramid, weights
from jaxstyle.config import StyleConfig
from jaxstyle.errors import DivergedError, ExitCode, WriteError
from jaxstyle.paint import Callback, Progress, Result
from jaxstyle.vgg19 import Params

# The cache of compiled programs is cut to this size, oldest entries first.
_CACHE_BYTES = 2**30

Paint = Callable[[Params, Callback], Result]


def check_outputs(args: argparse.Namespace) -> None:
    """Raise `WriteError` for an output that could not be written, before any work is done."""
    if str(args.output) == "-":
        if args.preview_every is not None:
            raise ValueError("`--preview-every` needs a file to write to, not stdout.")
    else:
        images.check_output(args.output)
    if args.report is not None:
        images.check_folder(args.report)


def paint_file(
    args: argparse.Namespace,
    config: StyleConfig,
    inputs: Sequence[Path],
    shape: tuple[int, int],
    paint: Paint,
    *,
    alpha: np.ndarray | None = None,
) -> ExitCode:
    """Paint, and write picture, report and a line on what happened.

    Args:
      args: the command's arguments: `output`, `report`, `weights`, `preview_every`, `quiet`.
      config: of the run, for the record.
      inputs: files that the picture is made of, for the record.
      shape: height and width of the picture.
      paint: makes the picture from weights and a callback.
      alpha: transparency to return with the picture, `[h, w, 1]`.

    Raises:
      DivergedError: loss or gradient left the finite numbers.
      WriteError: an output cannot be written.
    """
    began = time.perf_counter()
    use_compilation_cache()
    origin = _provenance(config, inputs, weights.weights_path(args.weights))
    params = weights.load_weights(args.weights)
    metadata = {"Software": f"jaxstyle {__version__}", "jaxstyle": json.dumps(origin)}

    def save(image: Any) -> None:
        pixels = images.resize(np.asarray(image), shape)
        if alpha is not None:
            pixels = np.concatenate([pixels, alpha], axis=-1)
        _write(args.output, pixels, metadata)

    with _watch(args, config, shape, save) as watch:
        result = paint(params, watch)
    losses = np.asarray(result.trace.loss)
    if not bool(result.trace.finite[-1]):
        raise DivergedError(
            f"the loss left the finite numbers at step {len(losses)}; lower --learning-rate, or "
            "use --optimizer adam."
        )
    save(result.image)
    seconds = time.perf_counter() - began
    if args.report is not None:
        report = {
            **origin,
            "output": {"file": str(args.output), "width": shape[1], "height": shape[0]},
            "complete": not watch.interrupted,
            "seconds": round(seconds, 3),
            "device": str(jax.devices()[0]),
            "trace": {
                "loss": losses.tolist(),
                "terms": {name: np.asarray(v).tolist() for name, v in result.trace.terms.items()},
            },
        }
        images.write_bytes(args.report, (json.dumps(report, indent=2) + "\n").encode())
    if not args.quiet:
        print(
            f"{args.output}: {shape[1]}x{shape[0]}, {len(losses)} steps, "
            f"loss {losses[-1]:.4g}, {seconds:.1f} s"
            + (", interrupted: the picture so far" if watch.interrupted else ""),
            file=sys.stderr,
        )
    return ExitCode.INTERRUPTED if watch.interrupted else ExitCode.OK


class _Watch:
    """The callback of a run: shows progress, writes previews, stops when interrupted."""

    def __init__(self, save: Callable[[Any], None], every: float | None, work: list[int]):
        self.interrupted = False
        self.show: Callable[[Progress, float], None] | None = None
        self._save, self._every, self._work = save, every, work
        self._saved = -np.inf

    def __call__(self, progress: Progress) -> bool:
        if self.show is not None:
            self.show(progress, sum(self._work[: progress.step]) / sum(self._work))
        now = time.monotonic()
        last = progress.step == progress.steps
        if self._every is not None and now - self._saved >= self._every and not last:
            self._save(progress.image)
            self._saved = now
        return self.interrupted

    def interrupt(self, *_: Any) -> None:
        # A second interrupt does not wait for the chunk of steps to end.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        self.interrupted = True


@contextlib.contextmanager
def _watch(
    args: argparse.Namespace,
    config: StyleConfig,
    shape: tuple[int, int],
    save: Callable[[Any], None],
) -> Iterator[_Watch]:
    shapes = pyramid.level_shapes(shape, config)
    # A step's work is that of its pixels, so that the time left does not jump between levels.
    steps = zip(shapes, pyramid.level_steps(config, len(shapes)), strict=True)
    watch = _Watch(save, args.preview_every, [h * w for (h, w), n in steps for _ in range(n)])
    # Outside of the main thread there is no one to interrupt.
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(ValueError):
            before = signal.signal(signal.SIGINT, watch.interrupt)
            stack.callback(signal.signal, signal.SIGINT, before)
        if sys.stderr.isatty() and not args.quiet:
            watch.show = stack.enter_context(_progress_bar())
        yield watch


@contextlib.contextmanager
def _progress_bar() -> Iterator[Callable[[Progress, float], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("compiling", total=1.0)

        def show(progress: Any, done: float) -> None:
            text = f"step {progress.step}/{progress.steps}  loss {progress.loss:.4g}"
            bar.update(task, completed=done, description=text)

        yield show


def _write(path: Path, pixels: np.ndarray, metadata: dict[str, str]) -> None:
    if str(path) != "-":
        images.write_image(path, pixels, metadata=metadata)
        return
    try:
        sys.stdout.buffer.write(images.encode_image(pixels, "PNG", metadata=metadata))
        sys.stdout.buffer.flush()
    except OSError as error:
        raise WriteError(f"cannot write to stdout: {error.strerror or error}.") from error


def _provenance(config: StyleConfig, inputs: Sequence[Path], weights_file: Path) -> dict[str, Any]:
    """What the picture was made of and by; the same for the same run."""
    packages = ("jax", "jaxlib", "flax", "optax", "numpy", "pillow")
    return {
        "jaxstyle": __version__,
        "config": asdict(config),
        "inputs": [{"file": path.name, "sha256": file_sha256(path)} for path in inputs],
        "weights": {"file": weights_file.name, "sha256": file_sha256(weights_file)},
        "versions": {"python": platform.python_version(), **{p: version(p) for p in packages}},
    }


def file_sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def use_compilation_cache() -> None:
    """Keep compiled programs in the user's cache folder, unless JAX was told of another.

    A second run of the same size then starts at once. `JAX_COMPILATION_CACHE_DIR` moves
    the folder, `JAX_ENABLE_COMPILATION_CACHE=false` turns it off.
    """
    if jax.config.values["jax_compilation_cache_dir"] is not None:
        return
    try:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        folder = Path(base) / "jaxstyle"
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):
        return  # No home, no cache: only slower.
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_compilation_cache_max_size", _CACHE_BYTES)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
