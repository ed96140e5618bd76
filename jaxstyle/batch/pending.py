"""What of a list of jobs is left to do."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jaxstyle import pyramid
from jaxstyle.batch.jobs import Job
from jaxstyle.batch.ledger import Ledger, Record, is_done, job_hash
from jaxstyle.batch.plan import Group, make_groups, snap
from jaxstyle.errors import ImageReadError, JaxstyleError
from jaxstyle.io import images
from jaxstyle.io.provenance import FileId, InputIds, input_ids


@dataclass
class PendingJobs:
    """What is left of a list of jobs, after what is done and what cannot be read.

    Attributes:
      groups: the rest, with indices into the list.
      inputs: files of a job, by index.
      hashes: of all that decides what a job's picture is, by index.
      done: records of what was done before, by index.
      failed: why a job cannot be done, by index.
    """

    groups: list[Group] = field(default_factory=list)
    inputs: dict[int, InputIds] = field(default_factory=dict)
    hashes: dict[int, str] = field(default_factory=dict)
    done: dict[int, Record] = field(default_factory=dict)
    failed: dict[int, JaxstyleError] = field(default_factory=dict)


def scan_jobs(
    jobs: Sequence[Job], folder: Path, weights: FileId, ledger: Ledger, *, overwrite: bool
) -> PendingJobs:
    """What of `jobs` is left to do: reads headers, inputs' hashes and the ledger."""
    todo, cache, records = PendingJobs(), {}, ledger.read()
    open_jobs = []
    for index, job in enumerate(jobs):
        try:
            todo.inputs[index] = input_ids(job.inputs, cache)
            todo.hashes[index] = job_hash(job, todo.inputs[index], weights)
            known = [
                record
                for record in records.get(job.output, ())
                if not overwrite and is_done(record, todo.hashes[index], folder)
            ]
            if known:
                todo.done[index] = known[-1]
                continue
            size = images.read_shape(job.content)
            pyramid.levels(snap(size, job.config.size), job.config)
            open_jobs.append((index, job, size))
        except OSError as error:
            why = f"{error.filename or job.content} cannot be read: {error.strerror or error}."
            todo.failed[index] = ImageReadError(why)
        except JaxstyleError as error:
            todo.failed[index] = error
        except ValueError as error:
            todo.failed[index] = ImageReadError(f"{job.content}: {error}")
    todo.groups = make_groups(open_jobs)
    return todo
