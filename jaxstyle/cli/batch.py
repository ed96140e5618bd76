"""`jaxstyle batch`, once its jobs are known: plan or run, then report."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from jaxstyle.analysis.cost import available_bytes
from jaxstyle.batch.jobs import Job
from jaxstyle.batch.ledger import Ledger, Shard
from jaxstyle.batch.pending import scan_jobs
from jaxstyle.batch.plan import costs, size_batches
from jaxstyle.batch.report import write_report
from jaxstyle.batch.reporting import Events, make_reporter, plan_line
from jaxstyle.batch.run import Batch
from jaxstyle.errors import ExitCode, WriteError
from jaxstyle.host import enable_compilation_cache
from jaxstyle.io import weights
from jaxstyle.io.provenance import FileId, file_id
from jaxstyle.types import Params


def run_batch(args: argparse.Namespace, jobs: Sequence[Job], shard: Shard) -> ExitCode:
    """Do the jobs that are not done, or with `--dry-run` say what they are.

    Raises:
      WriteError: the folder cannot be written, or another process is at work on it.
    """
    folder: Path = args.output
    if folder.exists() and not folder.is_dir():
        raise WriteError(f"cannot write to {folder}: it is a file; name a folder.")
    enable_compilation_cache()
    guessed = any(job.config.init == "adain" for job in jobs)
    params = weights.load_weights(args.weights, decoder=guessed)
    weights_id = file_id(weights.weights_path(args.weights))
    if args.dry_run:
        return _show_plan(args, shard.of(list(jobs)), folder, params, weights_id, shard)
    with make_reporter(args.log_format, quiet=args.quiet) as tell:
        batch = Batch(
            jobs,
            folder,
            params,
            weights_id,
            tell,
            shard=shard,
            batch_size=args.batch_size,
            overwrite=args.overwrite,
        )
        code = batch.run()
    known = [record for record in batch.records if record is not None]
    if args.report:
        write_report(folder, shard, batch.jobs, known)
    if not args.quiet and args.log_format == "text":
        print(_summary(folder, known, len(batch.jobs)), file=sys.stderr)
    return code


def _summary(folder: Path, records: Sequence[dict[str, Any]], jobs: int) -> str:
    failed = [record for record in records if record["status"] != "done"]
    done = len(records) - len(failed)
    lines = [f"{folder}: {done} of {jobs} pictures done, {len(failed)} failed"]
    lines += [f"  {record['output']}: {record['error']}" for record in failed[:20]]
    if len(failed) > 20:
        lines.append(f"  ... and {len(failed) - 20} more, see report.html and jobs.jsonl")
    return "\n".join(lines)


def _show_plan(
    args: argparse.Namespace,
    jobs: Sequence[Job],
    folder: Path,
    params: Params,
    weights_id: FileId,
    shard: Shard,
) -> ExitCode:
    todo = scan_jobs(jobs, folder, weights_id, Ledger(folder, shard), overwrite=args.overwrite)
    groups = size_batches(todo.groups, params, args.batch_size)
    events = Events() if args.log_format == "json" else None
    say = print if events is None else events.say
    if events is None:
        say(plan_line(groups, len(jobs), len(todo.done)))
    else:
        events.planned(groups, len(jobs), len(todo.done))
    seconds = 0.0
    for group, cost in zip(groups, costs(groups, params), strict=True):
        seconds += cost.seconds * group.work
        height, width = group.shape
        say(
            f"  {width}x{height}: {len(group.jobs)} pictures, {group.batch} at once, "
            f"{group.batch * cost.bytes / 2**30:.2f} GiB of {available_bytes() / 2**30:.0f}"
        )
    say(f"about {seconds / 60:.0f} min on {jax.devices()[0].device_kind}")
    for index, error in todo.failed.items():
        say(f"  {jobs[index].output}: {error}")
    return ExitCode.SOME_JOBS_FAILED if todo.failed else ExitCode.OK
