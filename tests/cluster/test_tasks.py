"""Which worker does which part of which group, and what happens to the tasks of dead workers."""

from pathlib import Path

import pytest

from jaxstyle.batch.jobs import Job
from jaxstyle.batch.plan import Group
from jaxstyle.cluster.tasks import MAX_DEATHS, TaskQueue
from jaxstyle.config import StyleConfig


@pytest.fixture
def queue():
    jobs = [Job(Path(f"{i}.png"), (Path("s.png"),), f"{i}.png", StyleConfig()) for i in range(10)]
    groups = [
        Group((32, 48), StyleConfig(), (0, 1, 2, 3, 4, 5, 6)),
        Group((48, 32), StyleConfig(), (7, 8, 9)),
    ]
    return TaskQueue(groups, jobs, workers=2, limit=2)


def drain(queue, current=None, others=()):
    while (task := queue.take(current, others)) is not None:
        yield task
        current = task.number


def test_every_job_is_in_one_task(queue):
    assert len(queue) == 6
    tasks = list(drain(queue))
    assert [task.group.jobs for task in tasks] == [(0, 1), (2, 3), (4, 5), (6,), (7, 8), (9,)]
    assert [list(task.jobs) for task in tasks] == [list(t.group.jobs) for t in tasks]
    assert len(queue) == 0


def test_paths_do_not_depend_on_the_working_folder(queue):
    job = queue.take(None, ()).jobs[0]
    assert job.content == Path("0.png").absolute()
    assert job.styles == (Path("s.png").absolute(),)


def test_workers_stay_with_their_group_and_apart(queue):
    first = queue.take(None, ())
    second = queue.take(None, [first.number])
    assert (first.number, second.number) == (0, 1)
    assert queue.take(first.number, [second.number]).number == 0
    # When a group is finished, its worker helps with another.
    assert [task.number for task in drain(queue, second.number, [0])] == [1, 0, 0]


def test_jobs_of_a_dead_worker_are_done_one_at_a_time(queue):
    task = queue.take(None, ())
    assert queue.put_back(task, done=[0]) == []
    assert [t.group.jobs for t in drain(queue, 0)][:4] == [(2, 3), (4, 5), (6,), (1,)]


def test_a_job_that_kills_its_workers_is_given_up(queue):
    tasks = list(drain(queue))
    lone = tasks[-1]
    for _ in range(MAX_DEATHS - 1):
        assert queue.put_back(lone, done=[]) == []
        lone = queue.take(lone.number, ())
    assert queue.put_back(lone, done=[]) == [9]
    assert len(queue) == 0
