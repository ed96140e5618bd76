"""Snapshots of a view, made when a page asks, at most twice a second, and shared by all pages."""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

from jaxstyle.live.frames import encode_frame
from jaxstyle.live.views import View

MIN_SECONDS = 0.5
"""Shortest time between two snapshots."""

T = TypeVar("T")


class Snapshot:
    """State of a view at one time.

    Attributes:
      version: number of the snapshot; later ones have larger numbers.
      fields: the state as JSON values.
      image: image with its number, or `None`.
    """

    def __init__(self, version: int, fields: dict[str, Any], image: tuple[int, Any] | None):
        self.version, self.fields, self.image = version, fields, image
        self._frame: bytes | None = None

    def encode(self) -> bytes:
        """Return the image as a JPEG file, encoded at the first call."""
        if self._frame is None:
            assert self.image is not None
            self._frame = encode_frame(np.asarray(self.image[1]))
        return self._frame


class Stream:
    """Gives pages the newest snapshot of a view. All methods but `change` belong to the loop.

    Only the newest snapshot is kept, so pages that read slowly need no memory.

    Attributes:
      view: the view that is shown; another one may take its place.
    """

    def __init__(self, view: View):
        self.view = view
        self._loop = asyncio.get_running_loop()
        # One thread, so that pages take at most one core from the run.
        self._thread = ThreadPoolExecutor(1, "live")
        self._change, self._hurry = asyncio.Event(), asyncio.Event()
        self._changes, self._time = 0, -MIN_SECONDS
        self._snapshot: Snapshot | None = None
        self._making = asyncio.Lock()

    def change(self) -> None:
        """Take note that the view has changed; any thread may call it."""
        try:
            self._loop.call_soon_threadsafe(self._note_change)
        except RuntimeError:
            return  # The loop has ended.

    def hurry(self) -> None:
        """Make the next snapshots at once: the run has ended."""
        self._hurry.set()
        self._note_change()

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def newer(self, version: int) -> Snapshot:
        """Wait for a snapshot that is newer than a version, and return the newest one."""
        while (snapshot := self._snapshot) is None or snapshot.version <= version:
            async with self._making:
                # Another page may have made one meanwhile.
                if self._snapshot is snapshot:
                    await self._make()
        return snapshot

    async def in_thread(self, call: Callable[..., T], *args: Any) -> T:
        """Call a function in the thread of the stream, one call at a time."""
        return await self._loop.run_in_executor(self._thread, call, *args)

    async def _make(self) -> None:
        made = 0 if self._snapshot is None else self._snapshot.version
        while self._snapshot is not None and self._changes <= made:
            self._change.clear()
            await self._change.wait()
        pause = self._time + MIN_SECONDS - time.monotonic()
        if pause > 0 and not self._hurry.is_set():
            await _wait(self._hurry, pause)
        version, view = self._changes, self.view
        # Before the fields, which may be of a newer image then, but not of an older one.
        image = view.image
        fields = await self.in_thread(view.fields)
        if fields["over"]:
            image = view.image
        self._snapshot, self._time = Snapshot(version, fields, image), time.monotonic()

    def _note_change(self) -> None:
        self._changes += 1
        self._change.set()


async def _wait(event: asyncio.Event, seconds: float) -> None:
    """Wait for an event, at most some seconds."""
    try:
        await asyncio.wait_for(event.wait(), seconds)
    except TimeoutError:
        return
