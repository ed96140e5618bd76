"""What a page shows: the newest state of a run, written by the run and read by the server.

A run's thread only assigns fields. The server's thread converts them when a page asks.
"""

import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from jaxstyle import pyramid
from jaxstyle.errors import one_line, printable
from jaxstyle.io.provenance import Inputs
from jaxstyle.io.remote import FilePath
from jaxstyle.loop.driver import Progress
from jaxstyle.optimize import Info

Phase = Literal["starting", "running", "stopping", "done", "stopped", "failed"]
"""State of a run. The last three are final."""
FINAL = ("done", "stopped", "failed")

_MAX_POINTS = 400
# Images of a wall, and failures beside it; a batch may have a million jobs.
_MAX_TILES, _MAX_FAILURES = 120, 100


class View(ABC):
    """Newest state of a run.

    Args:
      title: name of the output.

    Attributes:
      phase: state of the run.
      message: how the run ended, in one line.
      image: image to show, with its number, or `None`.
      changed: called after each change, from any thread.
    """

    kind = "none"

    def __init__(self, title: str):
        self.phase: Phase = "starting"
        self.message = ""
        self.image: tuple[int, Any] | None = None
        self.changed: Callable[[], None] = lambda: None
        self._title, self._began = printable(title), time.monotonic()
        self._ended: float | None = None
        self._interrupt: Callable[[], None] = lambda: None

    def stop(self) -> None:
        """Ask the run to end after its current steps."""
        if self.phase not in FINAL:
            self.phase = "stopping"
            self._interrupt()
            self.changed()

    def on_stop(self, interrupt: Callable[[], None]) -> None:
        """Call `interrupt`, in any thread, when the run is asked to end or if it was already."""
        self._interrupt = interrupt
        if self.phase == "stopping":
            interrupt()

    def save(self) -> None:
        """Write the current image to the output.

        Raises:
          ValueError: there is nothing to write, or nowhere.
          WriteError: it cannot be written.
        """
        raise ValueError("nothing to save.")

    def end(self, phase: Phase, message: str) -> None:
        """Take note of how the run ended, unless it is known already."""
        if self.phase not in FINAL:
            self.phase, self.message, self._ended = phase, one_line(message), time.monotonic()
            self.changed()

    def fields(self) -> dict[str, Any]:
        """Return the state as JSON values."""
        seconds = (self._ended or time.monotonic()) - self._began
        return {
            "kind": self.kind,
            "title": self._title,
            "phase": self.phase,
            "message": self.message,
            "elapsed": round(seconds, 1),
            "over": self.phase in FINAL,
            **self._fields(),
        }

    @abstractmethod
    def file(self, name: str) -> FilePath | None:
        """Return an image file that the page may show, by the name that `fields` gave it."""

    def _fields(self) -> dict[str, Any]:
        return {}

    def _run(self) -> None:
        if self.phase == "starting":
            self.phase = "running"


class Page(NamedTuple):
    """A page in browsers.

    Attributes:
      url: its address, with a secret token.
      show: makes the page show a view.
    """

    url: str
    show: Callable[[View], None]


class EmptyView(View):
    """State of a command that has not begun its run."""

    def file(self, name: str) -> FilePath | None:
        return None


class _Point(NamedTuple):
    """What a page shows of `Progress`. Its optimization state would keep memory in use."""

    step: int
    level: int
    trace: Info
    fraction: float
    time: float


class PictureView(View):
    """Newest state of a run that makes one image.

    Args:
      title: name of the output.
      plan: shape and number of steps of each level.
      inputs: input files by role.
      save: writes an image, after a number of steps, to the output in the server's thread; `None`
        for stdout.
    """

    kind = "picture"

    def __init__(
        self,
        title: str,
        plan: Sequence[tuple[tuple[int, int], int]],
        inputs: Inputs,
        save: Callable[[Any, int], object] | None = None,
    ):
        super().__init__(title)
        self._plan, self._save, self._saving = plan, save, threading.Lock()
        self._files = {
            f"{role}-{index}": path
            for role, paths in inputs.items()
            for index, path in enumerate(paths)
        }
        self._first: _Point | None = None
        self._newest: _Point | None = None

    def update(self, progress: Progress) -> None:
        """Take note of the progress of the run."""
        fraction = pyramid.work(self._plan, progress.step) / pyramid.work(self._plan)
        point = _Point(progress.step, progress.level, progress.trace, fraction, time.monotonic())
        self._first = self._first or point
        self._newest, self.image = point, (progress.step, progress.image)
        self._run()
        self.changed()

    def save(self) -> None:
        with self._saving:
            if self._save is None or self.image is None:
                raise ValueError("the image cannot be saved now.")
            step, image = self.image
            self._save(np.asarray(image), step)

    def close_saving(self) -> None:
        """Wait until `save` has written, and let it write nothing more."""
        with self._saving:
            self._save = None
        self.changed()

    def finish(self, image: Any, message: str, *, complete: bool) -> None:
        """Take note of the end of the run.

        Args:
          image: the result.
          message: the last line of the command.
          complete: whether all steps were done.
        """
        self.image = (-1, image)
        self.end("done" if complete else "stopped", message)

    def file(self, name: str) -> FilePath | None:
        return self._files.get(name)

    def _fields(self) -> dict[str, Any]:
        point, first = self._newest, self._first
        left = None
        if point and first and point.fraction > first.fraction and self.phase not in FINAL:
            pace = (point.time - first.time) / (point.fraction - first.fraction)
            left = max(0.0, point.time + pace * (1 - point.fraction) - time.monotonic())
        return {
            "levels": [[width, height, steps] for (height, width), steps in self._plan],
            "level": point.level if point else 0,
            "step": point.step if point else 0,
            "steps": sum(steps for _, steps in self._plan),
            "fraction": point.fraction if point else 0.0,
            "left": left,
            "curves": _curves(point.trace) if point else None,
            "inputs": [
                {"name": name, "role": name.partition("-")[0], "file": printable(path.name)}
                for name, path in self._files.items()
            ],
            "can_save": self._save is not None and point is not None,
        }


class BatchView(View):
    """Newest state of a batch.

    Args:
      folder: folder of the outputs.
    """

    kind = "batch"

    def __init__(self, folder: FilePath):
        super().__init__(folder.name or str(folder))
        self._folder, self._lock = folder, threading.Lock()
        self._total = self._before = self._done = self._failed = 0
        self._work, self._total_work = 0.0, 0.0
        self._tiles: deque[dict[str, Any]] = deque(maxlen=_MAX_TILES)
        self._failures: deque[dict[str, Any]] = deque(maxlen=_MAX_FAILURES)
        self._outputs: dict[str, str] = {}

    def plan(self, work: float, *, items: int, done: int) -> None:
        """Take note of the work ahead, the number of jobs, and how many were done before."""
        self._total_work, self._total, self._before = work, items, done
        self._began = time.monotonic()
        self.changed()

    def progress(self, work: float) -> None:
        """Take note of the work done so far."""
        self._work = work
        self._run()
        self.changed()

    def item(self, record: Mapping[str, Any]) -> None:
        """Take note of the record of a job."""
        output = record["output"]
        with self._lock:
            number = str(self._done + self._failed)
            tile = {"number": number, "name": printable(output)}
            if record["status"] == "done":
                self._done += 1
                if len(self._tiles) == _MAX_TILES:
                    del self._outputs[self._tiles[0]["number"]]
                self._outputs[number] = output
                kept = ("width", "height", "loss", "seconds")
                self._tiles.append(tile | {name: record.get(name) for name in kept})
            else:
                self._failed += 1
                self._failures.append(tile | {"error": one_line(record["error"])})
        self.changed()

    def finish(self, message: str, *, complete: bool | None = None) -> None:
        """Take note of the end of the batch, complete if nothing is left unless it is said."""
        if complete is None:
            complete = self._total == self._before + self._done + self._failed
        self.end("done" if complete else "stopped", message)

    def file(self, name: str) -> FilePath | None:
        with self._lock:
            output = self._outputs.get(name)
        return None if output is None else self._folder / output

    def _fields(self) -> dict[str, Any]:
        seconds = (self._ended or time.monotonic()) - self._began
        fraction = self._work / self._total_work if self._total_work else 0.0
        left = None
        if fraction and self.phase not in FINAL:
            left = seconds * (1 / fraction - 1)
        with self._lock:
            return {
                "total": self._total,
                "before": self._before,
                "done": self._done,
                "failed": self._failed,
                "rate": 60 * self._done / seconds if seconds > 0 else 0.0,
                "left": left,
                "tiles": list(self._tiles),
                "failures": list(self._failures),
            }


def _curves(trace: Info) -> dict[str, Any]:
    """Return the loss and its terms at up to `_MAX_POINTS` steps; `None` where not finite."""
    count = len(trace.loss)
    steps = np.unique(np.linspace(0, count - 1, min(count, _MAX_POINTS)).round().astype(int))

    def values(curve: Any) -> list[float | None]:
        numbers = (float(f"{value:.4g}") for value in np.asarray(curve)[steps])
        return [number if np.isfinite(number) else None for number in numbers]

    return {
        "steps": (steps + 1).tolist(),
        "loss": values(trace.loss),
        "terms": {name: values(curve) for name, curve in trace.terms.items()},
    }
