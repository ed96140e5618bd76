"""`jaxstyle batch`, once its jobs are known: plan or run, then report."""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import jax

from jaxstyle import __version__
from jaxstyle.analysis.memory import available_bytes
from jaxstyle.batch.jobs import Job
from jaxstyle.batch.ledger import Ledger, Shard
from jaxstyle.batch.outcomes import Outcomes
from jaxstyle.batch.pending import scan_jobs
from jaxstyle.batch.plan import costs, size_batches
from jaxstyle.batch.report import write_report
from jaxstyle.batch.run import Batch, describe_plan, report_plan
from jaxstyle.cli.context import Options, RunContext
from jaxstyle.cli.live import LiveReporter
from jaxstyle.errors import ExitCode, WriteError
from jaxstyle.io.formats import MAX_PIXELS
from jaxstyle.io.remote import FilePath, is_remote
from jaxstyle.live.views import Page
from jaxstyle.options import Engine, Platform
from jaxstyle.reporting import Reporter

_MAX_ERRORS_SHOWN = 20
_MAX_SKIPPED_SHOWN = 4


@dataclass(frozen=True, kw_only=True)
class BatchOptions(Options):
    """Options of `jaxstyle batch` besides its jobs.

    Attributes:
      output: folder of the outputs.
      shard: part of the jobs to do, as `i/n`; `None` for what a launcher says.
      batch_size: images at once on a device, or `None` to choose by memory.
      overwrite: do all jobs again.
      dry_run: show the plan and do nothing.
      write_report: whether to write `report.html` and contact sheets.
      engine: what does the jobs: this process, or a Ray cluster.
      address: address of the cluster, or `None` for a new one.
      workers: number of workers of the cluster, or `None` to choose by its devices.
      platform: where the workers compute, or `None` for JAX's choice.
      max_pixels: largest image that is read.
      live: page that shows the batch, or `None`.
    """

    output: FilePath
    shard: str | None = None
    batch_size: int | None = None
    overwrite: bool = False
    dry_run: bool = False
    write_report: bool = True
    engine: Engine = "local"
    address: str | None = None
    workers: int | None = None
    platform: Platform | None = None
    max_pixels: int = MAX_PIXELS
    live: Page | None = None


def run_batch(
    options: BatchOptions, jobs: Sequence[Job], skipped: Sequence[FilePath] = ()
) -> ExitCode:
    """Do the jobs that are not done yet, or show the plan.

    Args:
      options: options of the command.
      jobs: all jobs.
      skipped: files beside the inputs that are not images, to be announced.

    Raises:
      WriteError: the folder cannot be written, or another process works on it.
    """
    folder, shard, source = options.output, Shard(), ""
    if options.shard is not None:
        shard = Shard.parse(options.shard)
    elif options.engine == "local":
        shard, source = Shard.of_process(), "SLURM's variables"
        if shard.count == 1:
            shard, source = Shard(jax.process_index() + 1, jax.process_count()), "JAX's processes"
    if options.engine == "local" and (options.address is not None or options.workers is not None):
        raise ValueError("`--address` and `--workers` need `--engine ray`.")
    if options.engine == "ray" and shard.count > 1:
        raise ValueError("`--engine ray` divides the jobs by itself; leave `--shard` out.")
    if not is_remote(folder) and folder.exists() and not folder.is_dir():
        raise WriteError(f"cannot write to {folder}: it is a file; name a folder.")
    with options.reporter() as reporter:
        if options.live is not None:
            reporter = LiveReporter(reporter, options.live, folder)
        if options.shard is None and shard.count > 1:
            reporter.note(f"part {shard.index} of {shard.count} of the jobs, by {source}")
        if skipped:
            reporter.note(_describe_skipped(skipped))
        needs_decoder = any(job.config.init == "adain" for job in jobs)
        context = RunContext.load(options, decoder=needs_decoder)
        if options.dry_run:
            return _show_plan(options, jobs, shard, context, reporter)
        with _engine(options, context, needs_decoder) as make_batch:
            batch = make_batch(
                jobs,
                folder,
                context.params,
                context.weights_id,
                reporter,
                shard=shard,
                batch_size=options.batch_size,
                overwrite=options.overwrite,
            )
            if isinstance(reporter, LiveReporter):
                reporter.view.on_stop(batch.interrupt)
            code = batch.run()
        outcomes = batch.outcomes
        if options.write_report:
            write_report(folder, shard, batch.jobs, outcomes)
        reporter.result(
            _summarize(folder, outcomes),
            jobs=len(outcomes),
            done=outcomes.done,
            failed=outcomes.failed,
        )
    return code


@contextlib.contextmanager
def _engine(
    options: BatchOptions, context: RunContext, decoder: bool
) -> Iterator[Callable[..., Batch]]:
    """Connect to what does the jobs; return the class of the batch."""
    if options.engine == "local":
        yield Batch
        return
    # Ray is slow to import, and optional.
    from jaxstyle.cluster import engine, session
    from jaxstyle.cluster.tasks import absolute

    actor_options = engine.ActorOptions(
        folder=absolute(options.output),
        weights=options.weights and options.weights.absolute(),
        weights_id=context.weights_id,
        decoder=decoder,
        version=__version__,
        platform=options.platform,
        cache=os.environ.get("JAX_COMPILATION_CACHE_DIR"),
        batch_size=options.batch_size,
        max_pixels=options.max_pixels,
    )
    with session.connect(options.address):
        yield partial(engine.ClusterBatch, workers=options.workers, options=actor_options)


def _describe_skipped(skipped: Sequence[FilePath]) -> str:
    files = "1 file" if len(skipped) == 1 else f"{len(skipped)} files"
    names = ", ".join(path.name for path in skipped[:_MAX_SKIPPED_SHOWN])
    more = ", ..." if len(skipped) > _MAX_SKIPPED_SHOWN else ""
    return f"{files} skipped: {names}{more} (no suffix of an image)"


def _summarize(folder: FilePath, outcomes: Outcomes) -> str:
    count = f"{outcomes.done} of {len(outcomes)} images done, {outcomes.failed} failed"
    lines = [f"{folder}: {count}"]
    failed = [r for _, r in sorted(outcomes.records.items()) if r["status"] != "done"]
    lines += [f"  {record['output']}: {record['error']}" for record in failed[:_MAX_ERRORS_SHOWN]]
    if outcomes.failed > _MAX_ERRORS_SHOWN:
        more = outcomes.failed - _MAX_ERRORS_SHOWN
        lines.append(f"  ... and {more} more, see report.html and jobs.jsonl")
    return "\n".join(lines)


def _show_plan(
    options: BatchOptions,
    jobs: Sequence[Job],
    shard: Shard,
    context: RunContext,
    reporter: Reporter,
) -> ExitCode:
    """Print the groups of a batch with their memory and time."""
    ledger, exact = Ledger(options.output, shard), len(jobs) == 1
    jobs = shard.of(list(jobs))
    pending = scan_jobs(
        jobs,
        options.output,
        context.weights_id,
        ledger,
        overwrite=options.overwrite,
        exact=exact,
    )
    groups = size_batches(pending.groups, context.params, options.batch_size)
    report_plan(reporter, groups, pending, len(jobs))
    reporter.row(describe_plan(groups, pending, len(jobs)))
    seconds = 0.0
    for group, cost in zip(groups, costs(groups, context.params), strict=True):
        seconds += cost.seconds * group.work
        height, width = group.shape
        peak = group.batch * cost.bytes
        reporter.row(
            f"  {width}x{height}: {len(group.jobs)} images, {group.batch} at once, "
            f"{peak / 2**30:.2f} GiB of {available_bytes() / 2**30:.0f}",
            shape=group.shape,
            jobs=len(group.jobs),
            batch=group.batch,
            bytes=peak,
        )
    device = jax.local_devices()[0].device_kind
    reporter.row(f"about {seconds / 60:.0f} min on {device}", seconds=seconds, device=device)
    for index, error in pending.failed.items():
        reporter.row(
            f"  {jobs[index].output}: {error}", output=jobs[index].output, error=str(error)
        )
    return ExitCode.SOME_JOBS_FAILED if pending.failed else ExitCode.OK
