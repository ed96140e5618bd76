"""Doing a batch: decode, paint, encode and record, so that nothing done is ever lost.

Files are read ahead and written behind in threads, while the device works. A picture counts
as done when its file is safe on the disk and its line is in the ledger; a process that is
killed at any moment, and started again, goes on with what is missing.
"""

import errno
import hashlib
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxstyle import __version__, pyramid
from jaxstyle.batch.jobs import Job
from jaxstyle.batch.ledger import Ledger, Record, Shard, lock_output
from jaxstyle.batch.loader import Loader, Picture
from jaxstyle.batch.pending import scan_jobs
from jaxstyle.batch.plan import Group, size_batches
from jaxstyle.batch.reporting import Reporter
from jaxstyle.errors import DivergedError, ExitCode, JaxstyleError, WriteError, one_line
from jaxstyle.host import on_signals, release_memory
from jaxstyle.io import images
from jaxstyle.io.atomic import write_bytes
from jaxstyle.io.provenance import FileId, metadata, provenance
from jaxstyle.loop.driver import Progress, TransferInputs, paint
from jaxstyle.loop.style_cache import StyleCache
from jaxstyle.types import Params

# Points of a loss curve that are kept.
_CURVE = 64
# Programs of so many groups are kept: each is of a thousand memory maps and more on a CPU,
# and Linux allows 65 530.
_GROUPS_KEPT = 4
# What is wrong with one name; any other failure to write would fail every job after it too.
_OWN_FAULTS = (errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.EILSEQ)


class Batch:
    """One run over a list of jobs.

    Args:
      jobs: checked by `check_jobs`.
      folder: where outputs and the ledger go.
      params: weights from `load_weights`.
      weights: name and hash of their file.
      tell: hears what happens.
      shard: part of the list to do.
      batch_size: pictures at once; found out by default.
      overwrite: do again what is done.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        folder: Path,
        params: Params,
        weights: FileId,
        tell: Reporter,
        *,
        shard: Shard,
        batch_size: int | None = None,
        overwrite: bool = False,
    ):
        self.jobs = shard.of(list(jobs))
        self.records: list[Record | None] = [None] * len(self.jobs)
        self._folder, self._params, self._weights = folder, params, weights
        self._paintings = StyleCache()
        self._tell, self._shard = tell, shard
        self._limit, self._overwrite = batch_size, overwrite
        self._load = Loader(self.jobs)
        self._ledger, self._lock = Ledger(folder, shard), threading.Lock()
        self._stop: ExitCode | None = None
        self._fault: WriteError | None = None
        self._work = 0.0

    def run(self) -> ExitCode:
        """Do what is left, and say how it ended.

        Raises:
          WriteError: another process is at work on these jobs, or nothing can be written.
        """
        with lock_output(self._folder, self._shard), on_signals(self._interrupt):
            self._todo = scan_jobs(
                self.jobs, self._folder, self._weights, self._ledger, overwrite=self._overwrite
            )
            groups = size_batches(self._todo.groups, self._params, self._limit)
            self._tell.planned(groups, len(self.jobs), len(self._todo.done))
            for index, record in self._todo.done.items():
                self.records[index] = record
            for index, error in self._todo.failed.items():
                self._fail(index, error)
            with ThreadPoolExecutor(2, "decode") as readers, ThreadPoolExecutor(2) as writers:
                for number, group in enumerate(groups, start=1):
                    if self._stop is None:
                        self._run_group(group, readers, writers)
                    if number % _GROUPS_KEPT == 0:
                        jax.clear_caches()
            if self._fault is not None:
                raise self._fault
        if self._stop is not None:
            return self._stop
        failed = any(record is None or record["status"] != "done" for record in self.records)
        return ExitCode.SOME_JOBS_FAILED if failed else ExitCode.OK

    def _run_group(
        self, group: Group, readers: ThreadPoolExecutor, writers: ThreadPoolExecutor
    ) -> None:
        batches = [
            group.jobs[begin : begin + group.batch]
            for begin in range(0, len(group.jobs), group.batch)
        ]
        ahead: deque[list[Future]] = deque()
        behind: deque[Future] = deque()
        for number in range(len(batches)):
            while len(ahead) < 2 and number + len(ahead) < len(batches):
                following = batches[number + len(ahead)]
                ahead.append([readers.submit(self._load, i, group.shape) for i in following])
            pictures = list(self._loaded(batches[number], ahead.popleft()))
            if self._stop is not None:
                break
            if pictures:
                for args in self._painted(pictures, group):
                    behind.append(writers.submit(self._finish, *args))
            while len(behind) > 2 * group.batch:
                behind.popleft().result()
        for future in behind:
            future.result()
        for futures in ahead:
            for future in futures:
                future.cancel()

    def _loaded(self, indices: Sequence[int], futures: Sequence[Future]) -> Iterator[Picture]:
        for index, future in zip(indices, futures, strict=True):
            try:
                yield future.result()
            except (JaxstyleError, ValueError) as error:
                self._fail(index, error)

    def _painted(
        self, pictures: list[Picture], group: Group
    ) -> Iterator[tuple[Picture, np.ndarray, Record]]:
        """Pictures with their results; on too little memory, half as many at once."""
        room = group.batch
        while pictures and self._stop is None:
            now = pictures[:room]
            try:
                results = self._paint(now, room, group)
            except Exception as error:
                if not ("RESOURCE_EXHAUSTED" in str(error) or isinstance(error, MemoryError)):
                    raise
                least = jax.local_device_count()
                if room == least:
                    why = "out of memory; try a smaller size"
                    for picture in now:
                        self._fail(picture.index, JaxstyleError(why))
                    pictures = pictures[room:]
                room = max(1, room // 2 // least) * least
                self._tell.say(f"out of memory: now {room} at once")
                continue
            yield from results
            pictures = pictures[room:]

    def _paint(
        self, pictures: list[Picture], room: int, group: Group
    ) -> list[tuple[Picture, np.ndarray, Record]]:
        began, before = time.perf_counter(), self._work
        # Copies fill up the group's one size; they are not looked at.
        filled = pictures + [pictures[-1]] * (room - len(pictures))

        def callback(progress: Progress) -> bool:
            release_memory()
            self._work = before + pyramid.work(group.plan, progress.step) * len(pictures)
            self._tell.stepped(self._work, float(np.mean(progress.loss)))
            return self._stop is not None

        subjects = [
            TransferInputs(p.content, p.styles, self.jobs[p.index].config, None, p.start, p.masks)
            for p in filled
        ]
        # One alone is what `stylize` makes, to the last bit.
        result = paint(
            self._params,
            subjects,
            callback,
            shape=group.shape,
            batched=room > 1,
            sharding=_over_devices(),
            paintings=self._paintings,
        )
        if self._stop is not None:
            return []
        if room == 1:
            result = jax.tree.map(lambda leaf: leaf[None], result)
        seconds = (time.perf_counter() - began) / len(pictures)
        made = []
        for i, picture in enumerate(pictures):
            loss, finite = np.asarray(result.trace.loss[i]), bool(result.trace.finite[i, -1])
            if not finite:
                self._fail(
                    picture.index,
                    DivergedError("the loss left the finite numbers; lower the learning rate."),
                )
                continue
            terms = {name: float(values[i, -1]) for name, values in result.trace.terms.items()}
            told = {
                "seconds": round(seconds, 3),
                "steps": len(loss),
                "loss": float(loss[-1]),
                "terms": terms,
                "curve": [float(f"{x:.4g}") for x in loss[:: max(1, len(loss) // _CURVE)]],
            }
            made.append((picture, np.asarray(result.image[i]), told))
        return made

    def _finish(self, picture: Picture, image: np.ndarray, made: Record) -> None:
        """Write a result, then its record."""
        job = self.jobs[picture.index]
        output = self._folder / job.output
        try:
            pixels = images.resize(image, picture.shape)
            if picture.alpha is not None:
                pixels = np.concatenate([pixels, picture.alpha], axis=-1)
            images.check_format(output, picture.shape)
            inputs = self._todo.inputs[picture.index]
            text = metadata(provenance("batch", job.config, inputs, self._weights))
            data = images.encode_image(pixels, images.FORMATS[output.suffix.lower()], metadata=text)
            write_bytes(output, data, parents=True)
        except WriteError as error:
            self._fail(picture.index, error)
            return
        height, width = picture.shape
        sha256 = hashlib.sha256(data).hexdigest()
        extra = {"width": width, "height": height, "output_sha256": sha256}
        self._record(picture.index, {"status": "done", **extra, **made})

    def _fail(self, index: int, error: Exception) -> None:
        self._record(index, {"status": "failed", "error": one_line(error)})
        if not isinstance(error, WriteError) or not isinstance(error.__cause__, OSError):
            return
        if error.__cause__.errno not in _OWN_FAULTS:
            self._halt(error)

    def _record(self, index: int, outcome: Record) -> None:
        job = self.jobs[index]
        unread = {"content": [{"file": job.content.name}]}
        record = {
            "output": job.output,
            "job": self._todo.hashes.get(index),
            **outcome,
            "inputs": self._todo.inputs.get(index, unread),
            "jaxstyle": __version__,
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        with self._lock:
            self.records[index] = record
            try:
                self._ledger.append(record)
            except WriteError as error:
                self._halt(error)
            self._tell.finished(record)

    def _halt(self, error: WriteError) -> None:
        """Stop: what cannot be kept need not be made."""
        if self._stop is None:
            self._stop, self._fault = ExitCode.CANNOT_WRITE, error

    def _interrupt(self) -> None:
        self._stop = self._stop or ExitCode.INTERRUPTED


def _over_devices() -> NamedSharding | None:
    """Pictures laid over all devices of this process, if there are several."""
    devices = np.array(jax.local_devices())
    return (
        NamedSharding(Mesh(devices, "batch"), PartitionSpec("batch")) if devices.size > 1 else None
    )
