"""One run over a list of jobs, so that no finished work is lost.

A process may be killed at any moment; the next run continues with the jobs that are missing.
"""

from collections.abc import Sequence

from jaxstyle.batch.jobs import Job
from jaxstyle.batch.ledger import Ledger, Shard
from jaxstyle.batch.locks import lock_output
from jaxstyle.batch.outcomes import Outcomes
from jaxstyle.batch.pending import PendingJobs, scan_jobs
from jaxstyle.batch.plan import Group, size_batches
from jaxstyle.batch.work import Worker
from jaxstyle.errors import ExitCode
from jaxstyle.io.atomic import RealPaths, remove_partials
from jaxstyle.io.provenance import FileId
from jaxstyle.io.remote import FilePath
from jaxstyle.reporting import Reporter
from jaxstyle.types import Params


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
        folder: FilePath,
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
        self.outcomes = Outcomes(len(self.jobs))
        self._folder, self._params, self._weights = folder, params, weights
        self._reporter, self._shard = reporter, shard
        self._batch_size, self._overwrite = batch_size, overwrite
        self._ledger = Ledger(folder, shard)
        self._worker: Worker | None = None
        self._interrupted = False

    def interrupt(self) -> None:
        """Stop after the current chunk of steps; any thread may call it."""
        self._interrupted = True
        if self._worker is not None:
            self._worker.interrupt()

    def run(self) -> ExitCode:
        """Do the pending jobs.

        Raises:
          WriteError: another process works on these jobs, or nothing can be written.
        """
        with lock_output(self._folder, self._shard):
            self._settle()
            self._pending = scan_jobs(
                self.jobs,
                self._folder,
                self._weights,
                self._ledger,
                overwrite=self._overwrite,
                exact=self._exact,
            )
            self._prepare_folder()
            groups = self._size_batches(self._pending.groups)
            text = describe_plan(groups, self._pending, len(self.jobs))
            report_plan(self._reporter, groups, self._pending, len(self.jobs), text)
            self.outcomes = self._pending.outcomes
            stopped = self._do(groups)
        if stopped is not None:
            return stopped
        all_done = self.outcomes.done == len(self.jobs)
        return ExitCode.OK if all_done else ExitCode.SOME_JOBS_FAILED

    def _settle(self) -> None:
        """Bring the ledger of an earlier run in order."""

    def _size_batches(self, groups: Sequence[Group]) -> list[Group]:
        return size_batches(groups, self._params, self._batch_size)

    def _do(self, groups: Sequence[Group]) -> ExitCode | None:
        """Do the jobs of the groups in this process; return why it stopped early, if it did."""
        with self._make_worker(self._params) as worker:
            self._worker = worker
            if self._interrupted:
                worker.interrupt()
            for index, error in self._pending.failed.items():
                worker.fail(index, error)
            for group in groups:
                if worker.stop is None:
                    worker.run_group(group)
        if worker.write_error is not None:
            raise worker.write_error
        return worker.stop

    def _make_worker(self, params: Params) -> Worker:
        jobs, ledger = dict(enumerate(self.jobs)), self._ledger
        return Worker(
            jobs, self._folder, params, self._weights, ledger, self._reporter, self.outcomes.add
        )

    def _prepare_folder(self) -> None:
        """Remove partial files of killed processes; announce results among the inputs."""
        remove_partials(self._folder, (job.output for job in self.jobs))
        real_path = RealPaths()
        folder = real_path.of_folder(self._folder)
        inputs = (path for job in self.jobs for paths in job.inputs.values() for path in paths)
        folders = {path.parent for path in inputs}
        if any(real_path.of_folder(path).startswith(folder) for path in folders):
            pending = (i for group in self._pending.groups for i in group.jobs)
            self._ledger.announce(self.jobs[i].output for i in pending)


def describe_plan(groups: Sequence[Group], pending: PendingJobs, num_jobs: int) -> str:
    """Describe the work ahead in one line."""
    done = pending.outcomes.done
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
        done=pending.outcomes.done,
        groups=[{"shape": g.shape, "jobs": len(g.jobs), "batch": g.batch} for g in groups],
    )
