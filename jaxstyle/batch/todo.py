"""What of a list of jobs is left to do."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jaxstyle import images, pyramid
from jaxstyle.batch.jobs import Job
from jaxstyle.batch.ledger import Hashes, Ledger, Record, input_hashes, is_done, job_hash
from jaxstyle.batch.plan import Group, make_groups, snap
from jaxstyle.errors import ImageReadError, JaxstyleError


@dataclass
class Todo:
    """What is left of a list of jobs, after what is done and what cannot be read.

    Attributes:
      groups: the rest, with indices into the list.
      hashes: of the inputs, and of the whole job, by index.
      done: records of what was done before, by index.
      failed: why a job cannot be done, by index.
    """

    groups: list[Group] = field(default_factory=list)
    hashes: dict[int, tuple[Hashes, str]] = field(default_factory=dict)
    done: dict[int, Record] = field(default_factory=dict)
    failed: dict[int, JaxstyleError] = field(default_factory=dict)


def look(
    jobs: Sequence[Job], folder: Path, weights_sha256: str, ledger: Ledger, *, overwrite: bool
) -> Todo:
    """What of `jobs` is left to do: reads headers, inputs' hashes and the ledger."""
    todo, cache, records = Todo(), {}, ledger.read()
    open_jobs = []
    for index, job in enumerate(jobs):
        try:
            hashes = input_hashes(job, cache)
            todo.hashes[index] = hashes, job_hash(job, hashes, weights_sha256)
            known = [
                record
                for record in records.get(job.output, ())
                if not overwrite and is_done(record, todo.hashes[index][1], folder)
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
