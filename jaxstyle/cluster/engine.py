"""The driver of a batch on a Ray cluster: starts workers, gives them tasks, replaces the dead.

Every record is in the ledger file of the worker that made it before the driver sees it. After a
worker's death the driver reads that file: what it has is done, and the rest is given out again.
"""

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jaxstyle.batch.ledger import Ledger, Record, Shard
from jaxstyle.batch.locks import wait_for_workers
from jaxstyle.batch.plan import Group
from jaxstyle.batch.run import Batch
from jaxstyle.batch.work import report_record
from jaxstyle.cluster.actor import Actor, ActorOptions
from jaxstyle.cluster.session import cluster_resources, remote_class
from jaxstyle.cluster.tasks import MAX_DEATHS, Task, TaskQueue
from jaxstyle.errors import ExitCode, JaxstyleError, printable
from jaxstyle.host import on_signals
from jaxstyle.io.atomic import remove_partials
from jaxstyle.reporting import logger

# Jobs of a task: a few on a CPU, as many as a batch may have on an accelerator.
_CPU_JOBS, _ACCELERATOR_JOBS = 4, 64
_MAX_FAILED_STARTS = 10
_POLL_SECONDS = 0.5
_REASON_LENGTH = 200
_STOP_SECONDS = 60.0
_START_SECONDS = 300.0


@dataclass
class _Member:
    """A worker as the driver sees it: its actor, the call that is not answered yet, its task."""

    number: int
    actor: Any
    call: Any
    place: str = ""
    task: Task | None = None
    group: int | None = None


class ClusterBatch(Batch):
    """A batch whose jobs are done by the workers of a Ray cluster.

    Args:
      workers: number of workers; by default one for each GPU or TPU of the cluster, or for each
        machine if there is none.
      options: what the workers need.
    """

    def __init__(self, *args: Any, workers: int | None, options: ActorOptions, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._workers, self._options = workers, options
        self._members: list[_Member] = []
        self._work, self._failed_starts = 0.0, 0
        self._stop: ExitCode | None = None
        self._error: Exception | None = None

    def _settle(self) -> None:
        # Workers of a driver that was killed end soon after it, but may still write a record.
        wait_for_workers(self._folder, _STOP_SECONDS)
        remove_partials(self._folder, (job.output for job in self.jobs))
        self._ledger.merge()

    def _size_batches(self, groups: Sequence[Group]) -> list[Group]:
        # A worker knows its memory; the driver may have no accelerator.
        return list(groups)

    def _do(self, groups: Sequence[Group]) -> ExitCode | None:
        # Records the jobs that no worker gets, or that every worker dies of.
        self._own = self._make_worker({})
        for index, error in self._pending.failed.items():
            self._own.fail(index, error)
        self._job_work = {i: g.work / len(g.jobs) for g in groups for i in g.jobs}
        if groups:
            with on_signals(self.interrupt):
                self._run_tasks(groups)
            self._settle()
        if self._error is not None:
            raise self._error
        return self._stop

    def _run_tasks(self, groups: Sequence[Group]) -> None:
        resources, self._count = cluster_resources(self._workers)
        limit = self._options.batch_size or _CPU_JOBS
        limit = limit if "num_cpus" in resources else _ACCELERATOR_JOBS
        queue = TaskQueue(groups, self.jobs, workers=self._count, limit=limit)
        remote = remote_class(Actor, resources)
        began = time.monotonic()
        try:
            while self._stop is None and (len(queue) or any(m.task for m in self._members)):
                if self._workers is None:
                    # Machines may have been added.
                    self._count = max(self._count, cluster_resources(None)[1])
                self._start_members(remote, len(queue))
                self._wait(queue)
                if any(m.place for m in self._members):
                    began = time.monotonic()
                elif time.monotonic() - began > _START_SECONDS:
                    seconds = f"{_START_SECONDS:.0f} s"
                    reason = f"no worker has started in {seconds}; has the cluster a free device?"
                    self._fail_run(JaxstyleError(reason))
        finally:
            self._end_members()

    def _start_members(self, remote: Any, tasks: int) -> None:
        """Start workers until there are as many as wanted, or as there are tasks."""
        busy = sum(member.task is not None for member in self._members)
        numbers = {member.number for member in self._members}
        wanted = min(self._count, busy + tasks)
        for number in range(self._count):
            if len(self._members) >= wanted:
                break
            if number not in numbers:
                actor = remote.remote(number, self._options)
                self._members.append(_Member(number, actor, actor.start.remote()))

    def _wait(self, queue: TaskQueue) -> None:
        """Wait for answers, and give each worker without a task its next one."""
        import ray

        calls = {member.call: member for member in self._members if member.call is not None}
        if calls:
            ready, _ = ray.wait(list(calls), num_returns=1, timeout=_POLL_SECONDS)
            for call in ready:
                self._take_answer(calls[call], queue)
        else:
            time.sleep(_POLL_SECONDS)
        # Also to workers that found no task before: those of a dead worker are done again.
        for member in self._members:
            others = [m.group for m in self._members if m is not member and m.group is not None]
            if member.call is None and (task := queue.take(member.group, others)):
                member.task, member.group = task, task.number
                member.call = member.actor.run.remote(task)

    def _take_answer(self, member: _Member, queue: TaskQueue) -> None:
        import ray
        from ray import exceptions

        try:
            answer: Any = ray.get(member.call)
        except exceptions.RayTaskError as error:
            self._fail_run(_cause(error))
        except (exceptions.ActorUnschedulableError, exceptions.RuntimeEnvSetupError) as error:
            self._fail_run(JaxstyleError(f"no worker can be started: {_last_line(error)}"))
        except exceptions.RayError as error:
            self._lose(member, queue, error)
        else:
            if member.task is None:
                member.place, self._failed_starts = "{}, process {}".format(*answer), 0
                logger.info("worker %d: %s", member.number, member.place)
            else:
                self._keep(answer)
            member.task = member.call = None

    def _lose(self, member: _Member, queue: TaskQueue, error: Exception) -> None:
        """Take note that a worker died: keep what it has recorded, and put back the rest."""
        import ray

        # It may only be out of reach.
        ray.kill(member.actor)
        self._members.remove(member)
        if not member.place:
            self._failed_starts += 1
            if "import" in str(error) or "ModuleNotFound" in str(error):
                reason = "a machine of the cluster cannot import jaxstyle; install it on all."
                self._fail_run(JaxstyleError(f"{reason} {_last_line(error)}"))
            elif self._failed_starts >= _MAX_FAILED_STARTS:
                reason = f"{_MAX_FAILED_STARTS} workers died while they started"
                reason = f"{reason}, one after the other: {_last_line(error)}"
                self._fail_run(JaxstyleError(reason))
            return
        self._reporter.note(f"worker {member.number} ({member.place}) died; it is replaced")
        if member.task is None:
            return
        # The file was empty when this run began.
        ledger = Ledger(self._folder, Shard(), worker=member.number)
        recorded = {record["output"]: record for record in ledger.read_own()}
        outputs = {index: job.output for index, job in member.task.jobs.items()}
        done = {index: recorded[name] for index, name in outputs.items() if name in recorded}
        self._keep(done)
        for index in queue.put_back(member.task, done):
            reason = f"its worker died {MAX_DEATHS} times; is there enough memory?"
            self._own.fail(index, JaxstyleError(reason))

    def _keep(self, records: dict[int, Record]) -> None:
        """Report the records of finished jobs."""
        for index, record in records.items():
            self.outcomes.add(index, record)
            self._work += self._job_work[index]
            self._reporter.progress(self._work)
            report_record(self._reporter, record)

    def _end_members(self) -> None:
        """Let workers finish their current steps if the run was interrupted, and end them."""
        import ray
        from ray import exceptions

        calls = {m.call: m for m in self._members if m.task is not None}
        if calls and self._error is None:
            for member in calls.values():
                member.actor.stop.remote()
            ready, _ = ray.wait(list(calls), num_returns=len(calls), timeout=_STOP_SECONDS)
            for call in ready:
                with contextlib.suppress(exceptions.RayError):
                    records: Any = ray.get(call)
                    self._keep(records)
        for member in self._members:
            ray.kill(member.actor)
        self._members.clear()

    def _fail_run(self, error: Exception) -> None:
        self._stop, self._error = ExitCode.UNEXPECTED, error

    def interrupt(self) -> None:
        """Stop after the current chunks of the workers' steps; any thread may call it."""
        self._stop = self._stop or ExitCode.INTERRUPTED


def _cause(error: Any) -> Exception:
    """Return the exception that a worker raised."""
    return error.cause if isinstance(error.cause, JaxstyleError) else error


def _last_line(error: Exception) -> str:
    return printable(str(error).strip().splitlines()[-1], _REASON_LENGTH)
