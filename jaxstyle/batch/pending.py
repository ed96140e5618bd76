"""The jobs of a batch that are not done yet."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from jaxstyle import pyramid
from jaxstyle.analysis.memory import check_memory, fit_tile
from jaxstyle.batch.done import DoneCheck
from jaxstyle.batch.jobs import Job
from jaxstyle.batch.ledger import Ledger
from jaxstyle.batch.outcomes import Outcomes
from jaxstyle.batch.plan import Group, make_groups, snap
from jaxstyle.errors import ImageReadError, JaxstyleError
from jaxstyle.io import images
from jaxstyle.io.provenance import FileId
from jaxstyle.io.remote import FilePath


@dataclass
class PendingJobs:
    """A list of jobs, sorted into pending, done, and failed ones.

    Attributes:
      groups: groups of the pending jobs, as indices into the list.
      outcomes: the jobs that are done.
      failed: errors of the jobs that cannot be done, by index.
    """

    outcomes: Outcomes
    groups: list[Group] = field(default_factory=list)
    failed: dict[int, JaxstyleError] = field(default_factory=dict)


def scan_jobs(
    jobs: Sequence[Job],
    folder: FilePath,
    weights: FileId,
    ledger: Ledger,
    *,
    overwrite: bool,
    exact: bool = False,
) -> PendingJobs:
    """Find the jobs that are not done yet.

    Reads the ledger, and the image headers of the jobs that are not done.

    Args:
      jobs: all jobs of this process.
      folder: output folder of the batch.
      weights: name and hash of the weights file.
      ledger: records of earlier runs.
      overwrite: treat no job as done.
      exact: stylize each image at the shape of its result.
    """
    pending, open_jobs, checked = PendingJobs(Outcomes(len(jobs))), [], set()
    if not overwrite:
        _find_done(jobs, DoneCheck(folder, weights), ledger, pending.outcomes)
    for index, job in enumerate(jobs):
        if pending.outcomes.is_done(index):
            continue
        try:
            shape = images.read_shape(job.content)
            program = shape, job.config
            if program not in checked:
                result_shape = pyramid.fit_shape(shape, job.config.size)
                check_memory(result_shape, fit_tile(result_shape, job.config))
                pyramid.levels(result_shape if exact else snap(shape, job.config.size), job.config)
                checked.add(program)
            open_jobs.append((index, job, shape))
        except OSError as error:
            reason = f"{error.filename or job.content} cannot be read: {error.strerror or error}."
            pending.failed[index] = ImageReadError(reason)
        except JaxstyleError as error:
            pending.failed[index] = error.with_traceback(None)
        except ValueError as error:
            pending.failed[index] = ImageReadError(f"{job.content}: {error}")
    pending.groups = make_groups(open_jobs, exact=exact)
    return pending


def _find_done(jobs: Sequence[Job], is_done: DoneCheck, ledger: Ledger, outcomes: Outcomes) -> None:
    """Add the jobs that the ledger shows to be done; of several records the last one counts."""
    by_output = {job.output: index for index, job in enumerate(jobs)}
    for record in ledger.read():
        index = by_output.get(record["output"])
        if index is not None and is_done(record, jobs[index]):
            outcomes.add(index, record)
