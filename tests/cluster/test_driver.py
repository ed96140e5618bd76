"""What the driver of a cluster does when workers die, with a stub in the place of Ray."""

import sys
import types
from dataclasses import dataclass

import pytest

from jaxstyle.batch.jobs import Job
from jaxstyle.batch.ledger import Ledger, Shard
from jaxstyle.batch.plan import Group
from jaxstyle.cluster import engine
from jaxstyle.cluster.actor import ActorOptions
from jaxstyle.cluster.tasks import Task
from jaxstyle.config import StyleConfig
from jaxstyle.errors import JaxstyleError
from jaxstyle.reporting import Reporter


class RayError(Exception):
    pass


class RayTaskError(RayError):
    def __init__(self, cause):
        super().__init__(str(cause))
        self.cause = cause


class RayActorError(RayError):
    pass


class OutOfMemoryError(RayError):
    pass


class ActorUnschedulableError(RayError):
    pass


class RuntimeEnvSetupError(RayError):
    pass


@dataclass(eq=False)
class Call:
    """A call of an actor that is not answered yet."""

    actor: "StubActor"
    task: Task | None


class StubActor:
    """A worker whose calls are answered by `behave(number, task)`; a raised error is the answer."""

    def __init__(self, number, behave, folder):
        self.killed = False
        self.start = types.SimpleNamespace(remote=lambda: Call(self, None))
        self.run = types.SimpleNamespace(remote=lambda task: Call(self, task))
        self.stop = types.SimpleNamespace(remote=lambda: None)
        self._number, self._behave, self._folder = number, behave, folder

    def answer(self, task):
        if task is None:
            self._behave(self._number, None)
            return "host", 1
        ledger, records = Ledger(self._folder, Shard(), worker=self._number), {}
        for index, job in task.jobs.items():
            self._behave(self._number, index)
            records[index] = {"output": job.output, "status": "done", "loss": 1.0, "seconds": 1.0}
            ledger.append(records[index])
        return records


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs a batch of eight jobs on stub workers, and returns it with all actors."""

    def run(behave, *, workers=2):
        actors = []

        def remote(number, _):
            actors.append(StubActor(number, behave, tmp_path))
            return actors[-1]

        def get(call):
            return call.actor.answer(call.task)

        exceptions = types.SimpleNamespace(
            RayError=RayError,
            RayTaskError=RayTaskError,
            RayActorError=RayActorError,
            ActorUnschedulableError=ActorUnschedulableError,
            RuntimeEnvSetupError=RuntimeEnvSetupError,
        )
        ray = types.ModuleType("ray")
        ray.__dict__.update(
            exceptions=exceptions,
            get=get,
            kill=lambda actor: setattr(actor, "killed", True),
            # The newest call is ready first, so that the others find an empty queue.
            wait=lambda calls, **_: (calls[-1:], calls[:-1]),
        )
        monkeypatch.setitem(sys.modules, "ray", ray)
        monkeypatch.setattr(engine, "_POLL_SECONDS", 0.001)
        monkeypatch.setattr(engine, "cluster_resources", lambda n: ({"num_cpus": 1}, n))
        stub = types.SimpleNamespace(remote=remote)
        monkeypatch.setattr(engine, "remote_class", lambda *_: stub)
        names = [f"{number}.png" for number in range(8)]
        jobs = [Job(tmp_path / n, (tmp_path / "s.png",), n, StyleConfig(size=32)) for n in names]
        weights = {"file": "vgg19.h5", "sha256": "0"}
        options = ActorOptions(tmp_path, None, weights, False, "1", None, None, None, 10**6)
        batch = engine.ClusterBatch(
            jobs, tmp_path, {}, weights, Reporter(), shard=Shard(), workers=workers,
            options=options,
        )  # fmt: skip
        batch._pending = types.SimpleNamespace(failed={})
        batch._do([Group((32, 32), StyleConfig(size=32), tuple(range(8)))])
        return batch, actors

    return run


def once(number, index, error):
    """Return what raises an error the first time that a worker gets a job."""
    raised = []

    def behave(*call):
        if call == (number, index) and not raised:
            raised.append(error)
            raise error

    return behave


@pytest.mark.parametrize("index", range(8))
@pytest.mark.parametrize("error", [RayActorError("died"), OutOfMemoryError("killed")])
def test_jobs_of_a_dead_worker_are_done_by_others(run, tmp_path, index, error):
    for number in (0, 1):
        batch, actors = run(once(number, index, error))
        assert batch.outcomes.done == 8
        done = [record["output"] for record in Ledger(tmp_path, Shard()).read_own()]
        assert len(done) == len(set(done)) == 8
        assert all(actor.killed for actor in actors)
        (tmp_path / "jobs.jsonl").unlink()


def test_a_lone_worker_is_replaced_after_any_time(run, monkeypatch):
    died, seconds = once(0, 5, RayActorError("died")), [0.0]

    def behave(number, index):
        seconds[0] += 0 if index is None else 100
        died(number, index)

    clock = types.SimpleNamespace(monotonic=lambda: seconds[0])
    monkeypatch.setattr(engine, "time", clock)
    batch, actors = run(behave, workers=1)
    assert batch.outcomes.done == 8
    assert len(actors) == 2


def test_a_job_that_kills_every_worker_fails_alone(run):
    def behave(_, index):
        if index == 3:
            raise RayActorError("died")

    batch, _ = run(behave)
    assert (batch.outcomes.done, batch.outcomes.failed) == (7, 1)
    assert "its worker died 5 times" in batch.outcomes.records[3]["error"]


def start_fails(error):
    def behave(_, index):
        if index is None:
            raise error

    return behave


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            RayActorError("killed"),
            "10 workers died while they started, one after the other: killed",
        ),
        (RayActorError("ModuleNotFoundError: jaxstyle"), "cannot import jaxstyle"),
        (ActorUnschedulableError("no node"), "no worker can be started: no node"),
        (RayTaskError(JaxstyleError("another version")), "another version"),
    ],
)
def test_workers_that_cannot_start_end_the_batch(run, error, message):
    with pytest.raises(JaxstyleError, match=message):
        run(start_fails(error))
