"""Tasks of a cluster: parts of groups, and which worker does which of them."""

import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from jaxstyle.batch.jobs import Job
from jaxstyle.batch.plan import Group
from jaxstyle.io.remote import FilePath, is_remote

MAX_DEATHS = 5
"""Number of workers that may die over a job alone before the job fails."""


@dataclass(frozen=True)
class Task:
    """Jobs of one group that a worker does in one go.

    Attributes:
      number: number of the group.
      group: the group, with these jobs only.
      jobs: the jobs by index.
    """

    number: int
    group: Group
    jobs: dict[int, Job]


class TaskQueue:
    """Tasks that no worker has taken yet, by group.

    Args:
      groups: groups of the pending jobs.
      jobs: all jobs.
      workers: number of workers.
      limit: largest number of jobs in a task.
    """

    def __init__(
        self,
        groups: Sequence[Group],
        jobs: Sequence[Job],
        *,
        workers: int,
        limit: int,
    ):
        self._groups, self._jobs = groups, jobs
        self._queues: list[deque[tuple[int, ...]]] = []
        self._deaths: dict[int, int] = {}
        for group in groups:
            count = max(1, min(limit, math.ceil(len(group.jobs) / workers)))
            parts = range(0, len(group.jobs), count)
            self._queues.append(deque(group.jobs[i : i + count] for i in parts))

    def __len__(self) -> int:
        return sum(map(len, self._queues))

    def take(self, current: int | None, others: Iterable[int]) -> Task | None:
        """Take the next task for a worker, so that each worker compiles few programs.

        Args:
          current: group of the worker's last task, which it continues if it can.
          others: groups that other workers work on.
        """
        sizes = {number: len(queue) for number, queue in enumerate(self._queues) if queue}
        if not sizes:
            return None
        if current not in sizes:
            free = [number for number in sizes if number not in set(others)]
            current = max(free or sizes, key=lambda number: sizes[number])
        return self._task(current, self._queues[current].popleft())

    def put_back(self, task: Task, done: Iterable[int]) -> list[int]:
        """Put back the jobs that a worker had not done when it died.

        Jobs are then done one at a time, so that a job that kills its worker is found.

        Args:
          task: the task of the dead worker.
          done: its jobs that have a record.

        Returns:
          Jobs that are given up, because their workers died too often.
        """
        left = [index for index in task.group.jobs if index not in set(done)]
        given_up = []
        for index in left:
            if len(task.group.jobs) == 1:
                self._deaths[index] = self._deaths.get(index, 0) + 1
            if self._deaths.get(index, 0) >= MAX_DEATHS:
                given_up.append(index)
            else:
                self._queues[task.number].append((index,))
        return given_up

    def _task(self, number: int, indices: tuple[int, ...]) -> Task:
        group = replace(self._groups[number], jobs=indices)
        return Task(
            number, group, {index: _with_absolute_paths(self._jobs[index]) for index in indices}
        )


def absolute(path: FilePath) -> FilePath:
    """Return a path that does not depend on the working folder; links are not followed."""
    return path if is_remote(path) else path.absolute()


def _with_absolute_paths(job: Job) -> Job:
    """Return a job whose paths do not depend on the working folder."""
    return replace(
        job,
        content=absolute(job.content),
        styles=tuple(map(absolute, job.styles)),
        masks=tuple(map(absolute, job.masks)),
        start=None if job.start is None else absolute(job.start),
    )
