"""The jobs of a batch that are not done yet."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jaxstyle import pyramid
from jaxstyle.analysis.memory import check_memory, fit_tile
from jaxstyle.batch.jobs import Job
from jaxstyle.batch.ledger import Ledger, Record, is_done, job_hash
from jaxstyle.batch.plan import Group, make_groups, snap
from jaxstyle.errors import ImageReadError, JaxstyleError
from jaxstyle.io import images
from jaxstyle.io.provenance import FileId, InputIds, input_ids


@dataclass
class PendingJobs:
    """A list of jobs, sorted into pending, done, and failed ones.

    Attributes:
      groups: groups of the pending jobs, as indices into the list.
      inputs: names and hashes of the input files, by index.
      hashes: hash of everything that determines a job's result, by index.
      done: records of the jobs that are done, by index.
      failed: errors of the jobs that cannot be done, by index.
    """

    groups: list[Group] = field(default_factory=list)
    inputs: dict[int, InputIds] = field(default_factory=dict)
    hashes: dict[int, str] = field(default_factory=dict)
    done: dict[int, Record] = field(default_factory=dict)
    failed: dict[int, JaxstyleError] = field(default_factory=dict)


def scan_jobs(
    jobs: Sequence[Job],
    folder: Path,
    weights: FileId,
    ledger: Ledger,
    *,
    overwrite: bool,
    exact: bool = False,
) -> PendingJobs:
    """Find the jobs that are not done yet.

    Reads the image headers, hashes the input files, and compares both with the ledger.

    Args:
      jobs: all jobs of this process.
      folder: output folder of the batch.
      weights: name and hash of the weights file.
      ledger: records of earlier runs.
      overwrite: treat no job as done.
      exact: stylize each image at the shape of its result.
    """
    pending, file_hashes, records = PendingJobs(), {}, ledger.read()
    open_jobs = []
    for index, job in enumerate(jobs):
        try:
            pending.inputs[index] = input_ids(job.inputs, file_hashes)
            pending.hashes[index] = job_hash(job, pending.inputs[index], weights)
            done = [
                record
                for record in records.get(job.output, ())
                if not overwrite and is_done(record, pending.hashes[index], folder)
            ]
            if done:
                pending.done[index] = done[-1]
                continue
            shape = images.read_shape(job.content)
            result_shape = pyramid.fit_shape(shape, job.config.size)
            check_memory(result_shape, fit_tile(result_shape, job.config))
            pyramid.levels(result_shape if exact else snap(shape, job.config.size), job.config)
            open_jobs.append((index, job, shape))
        except OSError as error:
            reason = f"{error.filename or job.content} cannot be read: {error.strerror or error}."
            pending.failed[index] = ImageReadError(reason)
        except JaxstyleError as error:
            pending.failed[index] = error
        except ValueError as error:
            pending.failed[index] = ImageReadError(f"{job.content}: {error}")
    pending.groups = make_groups(open_jobs, exact=exact)
    return pending
