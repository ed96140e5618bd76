"""Batches: decode, stylize, encode and record, so that no finished work is lost.

Files are read ahead and written behind in threads while the device computes. A job is complete
once its output is fsynced and recorded in the ledger. A process may be killed at any moment; the
next run continues with the jobs that are missing.
"""

import contextlib
import errno
import hashlib
import os
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxstyle import __version__, pyramid
from jaxstyle.batch.jobs import Job
from jaxstyle.batch.ledger import Ledger, Record, Shard, lock_output
from jaxstyle.batch.loader import JobInputs, Loader
from jaxstyle.batch.pending import PendingJobs, scan_jobs
from jaxstyle.batch.plan import Group, size_batches
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
from jaxstyle.io.atomic import remove_partials, write_bytes
from jaxstyle.io.provenance import FileId, metadata, provenance
from jaxstyle.loop.driver import Progress, Result, TransferInputs, run_transfer
from jaxstyle.loop.style_cache import StyleCache
from jaxstyle.reporting import Reporter, logger
from jaxstyle.types import Params

_CURVE_POINTS = 64
# Compiled programs are dropped after this many groups: on a CPU each group needs more than a
# thousand memory maps, and Linux allows 65 530 per process.
_GROUPS_KEPT = 4
# Errors that concern one file name. Any other write error would also fail all later jobs.
_OWN_FAULTS = (errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.EILSEQ)


class Batch:
    """One run over a list of jobs.

    Args:
      jobs: jobs that `check_jobs` accepts.
      folder: folder of the outputs and the ledger.
      params: weights from `load_weights`.
      weights: name and hash of the weights file.
      reporter: receives the progress.
      shard: part of the list to do.
      batch_size: images at once; chosen by memory by default.
      overwrite: do all jobs again.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        folder: Path,
        params: Params,
        weights: FileId,
        reporter: Reporter,
        *,
        shard: Shard,
        batch_size: int | None = None,
        overwrite: bool = False,
    ):
        self.jobs = shard.of(list(jobs))
        # The result of a single job equals that of `stylize`. This depends on the whole list:
        # a job that is done again alone gives the same result.
        self._exact = len(jobs) == 1
        self.records: list[Record | None] = [None] * len(self.jobs)
        self._folder, self._params, self._weights = folder, params, weights
        self._style_cache = StyleCache()
        self._reporter, self._shard = reporter, shard
        self._batch_size, self._overwrite = batch_size, overwrite
        self._load = Loader(self.jobs)
        self._ledger, self._lock = Ledger(folder, shard), threading.Lock()
        self._stop: ExitCode | None = None
        self._write_error: WriteError | None = None
        self._work = 0.0
        self._signals, self._watching = contextlib.ExitStack(), False

    def run(self) -> ExitCode:
        """Do the pending jobs.

        Raises:
          WriteError: another process works on these jobs, or nothing can be written.
        """
        with lock_output(self._folder, self._shard), self._signals:
            self._pending = scan_jobs(
                self.jobs,
                self._folder,
                self._weights,
                self._ledger,
                overwrite=self._overwrite,
                exact=self._exact,
            )
            self._prepare_folder()
            groups = size_batches(self._pending.groups, self._params, self._batch_size)
            text = describe_plan(groups, self._pending, len(self.jobs))
            report_plan(self._reporter, groups, self._pending, len(self.jobs), text)
            for index, record in self._pending.done.items():
                self.records[index] = record
            for index, error in self._pending.failed.items():
                self._fail(index, error)
            with ThreadPoolExecutor(2, "decode") as readers, ThreadPoolExecutor(2) as writers:
                for number, group in enumerate(groups, start=1):
                    if self._stop is None:
                        self._run_group(group, readers, writers)
                    if number % _GROUPS_KEPT == 0:
                        jax.clear_caches()
            if self._write_error is not None:
                raise self._write_error
        if self._stop is not None:
            return self._stop
        failed = any(record is None or record["status"] != "done" for record in self.records)
        return ExitCode.SOME_JOBS_FAILED if failed else ExitCode.OK

    def _prepare_folder(self) -> None:
        """Remove partial files of killed processes; announce results among the inputs."""
        remove_partials(self._folder / job.output for job in self.jobs)
        folder = Path(os.path.realpath(self._folder))
        inputs = (path for job in self.jobs for paths in job.inputs.values() for path in paths)
        folders = {Path(os.path.realpath(parent)) for parent in {path.parent for path in inputs}}
        if any(path.is_relative_to(folder) for path in folders):
            pending = (i for group in self._pending.groups for i in group.jobs)
            self._ledger.announce(self.jobs[i].output for i in pending)

    def _run_group(
        self, group: Group, readers: ThreadPoolExecutor, writers: ThreadPoolExecutor
    ) -> None:
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
                reads.append([readers.submit(self._load, i, group.shape) for i in upcoming])
            inputs = list(self._collect_inputs(batches[number], reads.popleft()))
            if self._stop is not None:
                break
            for finished in self._run_batch(inputs, group):
                writes.append(writers.submit(self._write, *finished))
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
                self._fail(index, error)
            except MemoryError:
                reason = "out of memory while its files were read; use smaller images"
                self._fail(index, JaxstyleError(reason))

    def _run_batch(
        self, inputs: list[JobInputs], group: Group
    ) -> Iterator[tuple[JobInputs, np.ndarray, Record]]:
        """Yield the results. If memory runs out, halve the batch size and try again."""
        size, minimum = group.batch, jax.local_device_count()
        while inputs and self._stop is None:
            try:
                results = self._run_images(inputs[:size], size, group)
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                if size == minimum:
                    reason = "out of memory; try a smaller size"
                    for failed in inputs[:size]:
                        self._fail(failed.index, JaxstyleError(reason))
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
            return self._stop is not None

        def config_of(item: JobInputs) -> StyleConfig:
            return replace(self.jobs[item.index].config, tile=group.config.tile)

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
        if self._stop is not None:
            return []
        if size == 1:
            result = jax.tree.map(lambda leaf: leaf[None], result)
        seconds = (time.perf_counter() - began) / len(inputs)
        finished = []
        for i, item in enumerate(inputs):
            if not bool(result.trace.finite[i, -1]):
                reason = "the loss is not finite any more; lower the learning rate."
                self._fail(item.index, DivergedError(reason))
                continue
            finished.append((item, np.asarray(result.image[i]), _summarize(result, i, seconds)))
        return finished

    def _write(self, inputs: JobInputs, image: np.ndarray, summary: Record) -> None:
        """Write a result, then its record."""
        job = self.jobs[inputs.index]
        output = self._folder / job.output
        try:
            pixels = images.resize(image, inputs.shape)
            if inputs.alpha is not None:
                pixels = np.concatenate([pixels, inputs.alpha], axis=-1)
            images.check_format(output, inputs.shape)
            input_ids = self._pending.inputs[inputs.index]
            # A job is what `jaxstyle stylize` does.
            text = metadata(provenance("stylize", job.config, input_ids, self._weights))
            data = images.encode_image(pixels, images.FORMATS[output.suffix.lower()], metadata=text)
            write_bytes(output, data, parents=True)
        except WriteError as error:
            self._fail(inputs.index, error)
            return
        height, width = inputs.shape
        sha256 = hashlib.sha256(data).hexdigest()
        output_fields = {"width": width, "height": height, "output_sha256": sha256}
        self._record(inputs.index, {"status": "done", **output_fields, **summary})

    def _fail(self, index: int, error: Exception) -> None:
        self._record(index, {"status": "failed", "error": one_line(error)})
        if not isinstance(error, WriteError) or not isinstance(error.__cause__, OSError):
            return
        if error.__cause__.errno not in _OWN_FAULTS:
            self._abort(error)

    def _record(self, index: int, outcome: Record) -> None:
        job = self.jobs[index]
        unread = {"content": [{"file": job.content.name}]}
        record = {
            "output": job.output,
            "job": self._pending.hashes.get(index),
            **outcome,
            "inputs": self._pending.inputs.get(index, unread),
            "jaxstyle": __version__,
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }
        failed = record["status"] != "done"
        fields = {name: value for name, value in record.items() if name != "curve"}
        with self._lock:
            self.records[index] = record
            try:
                self._ledger.append(record)
            except WriteError as error:
                self._abort(error)
            self._reporter.item(_describe(record), failed=failed, **fields)

    def _watch_signals(self) -> None:
        """Let a signal stop the batch; before the first steps are done, it ends the process."""
        if not self._watching:
            self._signals.enter_context(on_signals(self._interrupt))
            self._watching = True

    def _abort(self, error: WriteError) -> None:
        """Stop the batch: further results could not be kept."""
        if self._stop is None:
            self._stop, self._write_error = ExitCode.CANNOT_WRITE, error

    def _interrupt(self) -> None:
        self._stop = self._stop or ExitCode.INTERRUPTED


def describe_plan(groups: Sequence[Group], pending: PendingJobs, num_jobs: int) -> str:
    """Describe the work ahead in one line."""
    done = len(pending.done)
    num_pending = sum(len(group.jobs) for group in groups)
    programs = sum(len(group.plan) for group in groups)
    done_before = f", {done} done before" if done else ""
    work = f"{num_pending} to do in {_count(len(groups), 'shape')}" if groups else "nothing to do"
    compiling = f" ({_count(programs, 'program')} to compile)" if programs else ""
    return f"{_count(num_jobs, 'job')}{done_before}, {work}{compiling}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def report_plan(
    reporter: Reporter,
    groups: Sequence[Group],
    pending: PendingJobs,
    num_jobs: int,
    text: str = "",
) -> None:
    """Report the groups of a batch and the work ahead."""
    reporter.plan(
        float(sum(group.work for group in groups)),
        text,
        items=num_jobs,
        done=len(pending.done),
        groups=[{"shape": g.shape, "jobs": len(g.jobs), "batch": g.batch} for g in groups],
    )


def _describe(record: Record) -> str:
    if record["status"] != "done":
        return f"failed: {record['output']}: {record['error']}"
    return f"{record['output']}  loss {record['loss']:.4g}  {record['seconds']:.1f} s"


def _summarize(result: Result, i: int, seconds: float) -> Record:
    """Return the fields of image `i`'s record that tell how it was made."""
    loss = np.asarray(result.trace.loss[i])
    return {
        "seconds": round(seconds, 3),
        "steps": len(loss),
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
