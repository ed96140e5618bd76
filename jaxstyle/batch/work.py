"""Groups of jobs from files to files: decode, stylize, encode and record.

Files are read ahead and written behind in threads while the device computes. A job is complete
once its output is fsynced and recorded in the ledger.
"""

import contextlib
import errno
import hashlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxstyle import __version__, pyramid
from jaxstyle.batch.done import job_hash
from jaxstyle.batch.jobs import Job
from jaxstyle.batch.ledger import Ledger, Record
from jaxstyle.batch.loader import JobInputs, Loader
from jaxstyle.batch.plan import Group
from jaxstyle.config import StyleConfig
from jaxstyle.errors import (
    DivergedError,
    ExitCode,
    JaxstyleError,
    WriteError,
    is_out_of_memory,
    one_line,
)
from jaxstyle.host import on_signals, release_memory
from jaxstyle.io import images
from jaxstyle.io.atomic import file_stamp, write_bytes
from jaxstyle.io.provenance import FileId, metadata, provenance
from jaxstyle.io.remote import FilePath
from jaxstyle.loop.driver import Progress, Result, TransferInputs, run_transfer
from jaxstyle.loop.plateau import count_steps
from jaxstyle.loop.style_cache import StyleCache
from jaxstyle.reporting import Reporter, logger
from jaxstyle.types import Params

_CURVE_POINTS = 64
_MAX_READERS = 16
# Compiled programs are dropped after this many groups: on a CPU each group needs more than a
# thousand memory maps, and Linux allows 65 530 per process.
_GROUPS_KEPT = 4
# Errors that concern one file name. Any other write error would also fail all later jobs.
_OWN_FAULTS = (errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.EILSEQ)


class Worker:
    """Does groups of jobs in this process.

    Args:
      jobs: the jobs by index, which may change between two groups.
      folder: folder of the outputs.
      params: weights from `load_weights`.
      weights: name and hash of the weights file.
      ledger: where the records go.
      reporter: receives the progress.
      keep: receives the index and the record of each job.
    """

    def __init__(
        self,
        jobs: Mapping[int, Job],
        folder: FilePath,
        params: Params,
        weights: FileId,
        ledger: Ledger,
        reporter: Reporter,
        keep: Callable[[int, Record], None],
    ):
        self.stop: ExitCode | None = None
        self.write_error: WriteError | None = None
        self._jobs, self._folder, self._params, self._keep = jobs, folder, params, keep
        self._weights, self._ledger, self._reporter = weights, ledger, reporter
        self._style_cache, self._load = StyleCache(), Loader(jobs)
        self._lock, self._work = threading.Lock(), 0.0
        self._threads, self._signals = contextlib.ExitStack(), contextlib.ExitStack()
        self._watching, self._programs = False, set[Hashable]()

    def __enter__(self) -> "Worker":
        self._readers = self._threads.enter_context(ThreadPoolExecutor(_count_readers(), "decode"))
        self._writers = self._threads.enter_context(ThreadPoolExecutor(2))
        return self

    def __exit__(self, *_: object) -> None:
        # A signal is handled until the last results are written.
        with self._signals, self._threads:
            pass

    def run_group(self, group: Group) -> None:
        """Do the jobs of a group, until `stop` is set."""
        program = group.shape, *group.config.static_key.items()
        if program not in self._programs and len(self._programs) >= _GROUPS_KEPT:
            jax.clear_caches()
            self._programs.clear()
        self._programs.add(program)
        height, width = group.shape
        logger.info("%dx%d: %d images, %d at once", width, height, len(group.jobs), group.batch)
        batches = [
            group.jobs[begin : begin + group.batch]
            for begin in range(0, len(group.jobs), group.batch)
        ]
        reads: deque[list[Future]] = deque()
        writes: deque[Future] = deque()
        for number in range(len(batches)):
            while len(reads) < 2 and number + len(reads) < len(batches):
                upcoming = batches[number + len(reads)]
                reads.append([self._readers.submit(self._load, i, group.shape) for i in upcoming])
            inputs = list(self._collect_inputs(batches[number], reads.popleft()))
            if self.stop is not None:
                break
            for finished in self._run_batch(inputs, group):
                writes.append(self._writers.submit(self._write, *finished, tile=group.config.tile))
            while len(writes) > 2 * group.batch:
                writes.popleft().result()
        for future in writes:
            future.result()
        for futures in reads:
            for future in futures:
                future.cancel()

    def _collect_inputs(
        self, indices: Sequence[int], futures: Sequence[Future]
    ) -> Iterator[JobInputs]:
        """Yield the inputs that could be read; the other jobs fail."""
        for index, future in zip(indices, futures, strict=True):
            try:
                yield future.result()
            except (JaxstyleError, ValueError) as error:
                self.fail(index, error)
            except MemoryError:
                reason = "out of memory while its files were read; use smaller images"
                self.fail(index, JaxstyleError(reason))

    def _run_batch(
        self, inputs: list[JobInputs], group: Group
    ) -> Iterator[tuple[JobInputs, np.ndarray, Record]]:
        """Yield the results. If memory runs out, halve the batch size and try again."""
        size, minimum = group.batch, jax.local_device_count()
        while inputs and self.stop is None:
            try:
                results = self._run_images(inputs[:size], size, group)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                if size == minimum:
                    reason = "out of memory; try a smaller size"
                    for failed in inputs[:size]:
                        self.fail(failed.index, JaxstyleError(reason), failed)
                    inputs = inputs[size:]
                else:
                    size = max(1, size // 2 // minimum) * minimum
                    self._reporter.note(f"out of memory: now {size} at once")
                continue
            yield from results
            inputs = inputs[size:]

    def _run_images(
        self, inputs: list[JobInputs], size: int, group: Group
    ) -> list[tuple[JobInputs, np.ndarray, Record]]:
        """Stylize up to `size` images in one program."""
        began, work_before = time.perf_counter(), self._work

        def callback(progress: Progress) -> bool:
            self._watch_signals()
            release_memory()
            self._work = work_before + pyramid.work(group.plan, progress.step) * len(inputs)
            loss = float(np.mean(progress.loss))
            self._reporter.progress(self._work, f"loss {loss:.4g}", loss=loss)
            return self.stop is not None

        def config_of(item: JobInputs) -> StyleConfig:
            return replace(self._jobs[item.index].config, tile=group.config.tile)

        # All batches of a group have one size; copies fill up the last one and are discarded.
        filled = inputs + [inputs[-1]] * (size - len(inputs))
        result = run_transfer(
            self._params,
            [
                TransferInputs(i.content, i.styles, config_of(i), None, i.start, i.masks)
                for i in filled
            ],
            callback,
            shape=group.shape,
            # Without `vmap` a single image equals that of `stylize` to the last bit.
            batched=size > 1,
            sharding=_all_devices(),
            style_cache=self._style_cache,
        )
        if self.stop is not None:
            return []
        if size == 1:
            result = jax.tree.map(lambda leaf: leaf[None], result)
        seconds = (time.perf_counter() - began) / len(inputs)
        finished = []
        for i, item in enumerate(inputs):
            if not bool(result.trace.finite[i, -1]):
                reason = "the loss is not finite any more; lower the learning rate."
                self.fail(item.index, DivergedError(reason), item)
                continue
            finished.append(
                (item, np.asarray(result.image[i]), _summarize(result, i, group, seconds))
            )
        return finished

    def _write(
        self, inputs: JobInputs, image: np.ndarray, summary: Record, tile: int | None
    ) -> None:
        """Write a result, then its record."""
        job = self._jobs[inputs.index]
        output = self._folder / job.output
        try:
            pixels = images.resize(image, inputs.shape)
            if inputs.alpha is not None:
                pixels = np.concatenate([pixels, inputs.alpha], axis=-1)
            images.check_format(output, inputs.shape)
            # A job is what `jaxstyle stylize` does.
            origin = provenance("stylize", job.config, inputs.ids, self._weights)
            device = jax.local_devices()[0].device_kind
            text = metadata(origin, device=device, tile=tile)
            data = images.encode_image(pixels, images.FORMATS[output.suffix.lower()], metadata=text)
            write_bytes(output, data, parents=True)
            stamp = file_stamp(output)
        except WriteError as error:
            self.fail(inputs.index, error, inputs)
            return
        except OSError as error:
            reason = f"{output} cannot be read: {error.strerror or error}."
            self.fail(inputs.index, WriteError(reason), inputs)
            return
        height, width = inputs.shape
        sha256 = hashlib.sha256(data).hexdigest()
        fields = {"width": width, "height": height, "output_sha256": sha256, "output_stamp": stamp}
        self._record(inputs.index, {"status": "done", **fields, **summary}, inputs)

    def fail(self, index: int, error: Exception, inputs: JobInputs | None = None) -> None:
        """Record that a job failed.

        Args:
          index: index of the job.
          error: why.
          inputs: its inputs, if they could be read.
        """
        self._record(index, {"status": "failed", "error": one_line(error)}, inputs)
        if not isinstance(error, WriteError) or not isinstance(error.__cause__, OSError):
            return
        if error.__cause__.errno not in _OWN_FAULTS:
            self._abort(error)

    def _record(self, index: int, outcome: Record, inputs: JobInputs | None) -> None:
        job = self._jobs[index]
        record = {
            "output": job.output,
            "job": job_hash(job, inputs.ids, self._weights) if inputs else None,
            **outcome,
            "inputs": inputs.ids if inputs else {"content": [{"file": job.content.name}]},
            "stamps": inputs.stamps if inputs else {},
            "jaxstyle": __version__,
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        with self._lock:
            self._keep(index, record)
            try:
                self._ledger.append(record)
            except WriteError as error:
                self._abort(error)
            report_record(self._reporter, record)

    def _watch_signals(self) -> None:
        """Let a signal stop the batch; before the first steps are done, it ends the process."""
        if not self._watching:
            self._signals.enter_context(on_signals(self.interrupt))
            self._watching = True

    def _abort(self, error: WriteError) -> None:
        """Stop the batch: further results could not be kept."""
        if self.stop is None:
            self.stop, self.write_error = ExitCode.CANNOT_WRITE, error

    def interrupt(self) -> None:
        """Stop after the current chunk of steps."""
        self.stop = self.stop or ExitCode.INTERRUPTED


def _count_readers() -> int:
    """Return how many threads read images: accelerators are faster than a few of them."""
    return 2 if jax.default_backend() == "cpu" else max(2, min(_MAX_READERS, os.cpu_count() or 2))


def report_record(reporter: Reporter, record: Record) -> None:
    """Report the outcome of a job."""
    fields = {name: value for name, value in record.items() if name != "curve"}
    reporter.item(_describe(record), failed=record["status"] != "done", **fields)


def _describe(record: Record) -> str:
    if record["status"] != "done":
        return f"failed: {record['output']}: {record['error']}"
    return f"{record['output']}  loss {record['loss']:.4g}  {record['seconds']:.1f} s"


def _summarize(result: Result, i: int, group: Group, seconds: float) -> Record:
    """Return the fields of image `i`'s record that tell how it was made."""
    loss = np.asarray(result.trace.loss[i])
    return {
        "seconds": round(seconds, 3),
        "steps": count_steps(group.plan, loss, group.config.stop),
        "loss": float(loss[-1]),
        "terms": {name: float(values[i, -1]) for name, values in result.trace.terms.items()},
        "curve": [float(f"{x:.4g}") for x in loss[_curve_steps(len(loss))]],
    }


def _curve_steps(count: int) -> np.ndarray:
    """Return the steps that a record keeps of the loss, with the first and the last."""
    return np.linspace(0, count - 1, min(count, _CURVE_POINTS)).round().astype(int)


def _all_devices() -> NamedSharding | None:
    """Return a sharding of the images over all devices of this process, if there are several."""
    devices = np.array(jax.local_devices())
    if devices.size == 1:
        return None
    return NamedSharding(Mesh(devices, "batch"), PartitionSpec("batch"))
