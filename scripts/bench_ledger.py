"""Time and memory that `jaxstyle batch` takes to see that a large batch is done.

    python scripts/bench_ledger.py --jobs 1000000

Makes a folder of small photographs, their results and a ledger of the whole batch, as if it had
run. Prints a Markdown table with a row for each command: one with everything done, one that finds
some results missing and lists them, and one that also writes the report. A million jobs take 10
GB of the disk, in two million files.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

from jaxstyle.batch.done import job_hash
from jaxstyle.batch.jobs import Defaults, Job, pair_jobs
from jaxstyle.io.atomic import file_sha256, file_stamp
from jaxstyle.io.provenance import FileId, file_id
from jaxstyle.io.weights import weights_path

# A process of its own, so that its peak memory is that of the command alone.
_RUN = """
import resource, sys
from jaxstyle.cli import main
code = main(sys.argv[1:])
usage = resource.getrusage(resource.RUSAGE_SELF)
print(code, usage.ru_utime + usage.ru_stime, usage.ru_maxrss)
"""


def make_files(folder: Path, count: int) -> list[Job]:
    """Make content images, results, a style image, and return the jobs."""
    contents = folder / "contents"
    (folder / "out").mkdir()
    contents.mkdir()
    style = folder / "style.png"
    Image.new("RGB", (32, 32), "gray").save(style)
    picture = style.read_bytes()
    paths = [contents / f"photograph-{number:07}.png" for number in range(count)]
    jobs = pair_jobs(paths, [style], Defaults("default", {"size": 512}))
    for job in jobs:
        job.content.write_bytes(picture)
        (folder / "out" / job.output).write_bytes(picture)
    return jobs


def make_ledger(folder: Path, jobs: list[Job], weights: FileId) -> None:
    """Write the ledger of a finished batch."""
    style = jobs[0].styles[0]
    sha256, style_stamp = file_sha256(style), file_stamp(style)
    terms = {f"style/relu{block}_1": 0.123456789 * block for block in range(1, 6)}
    facts = {"width": 32, "height": 32, "output_sha256": sha256}
    facts |= {"seconds": 1.234, "steps": 250, "loss": 5.43216789012, "terms": terms}
    facts |= {"curve": [float(f"{100 / step:.4g}") for step in range(1, 65)]}
    with (folder / "out" / "jobs.jsonl").open("w") as file:
        for job in jobs:
            ids = {
                "content": [{"file": job.content.name, "sha256": sha256}],
                "style": [{"file": style.name, "sha256": sha256}],
            }
            record = {
                "output": job.output,
                "job": job_hash(job, ids, weights),
                "status": "done",
                "output_stamp": file_stamp(folder / "out" / job.output),
                **facts,
                "inputs": ids,
                "stamps": {"content": [file_stamp(job.content)], "style": [style_stamp]},
                "jaxstyle": "0.2.0",
                "time": "2026-11-01T00:00:00Z",
            }
            file.write(json.dumps(record) + "\n")


def measure(folder: Path, name: str, *flags: str) -> None:
    """Run the command, and print a row."""
    arguments = ["batch", "contents", "style.png", "-o", "out", "--size", "512", *flags]
    command = [sys.executable, "-c", _RUN, *arguments]
    began = time.monotonic()
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    seconds = time.monotonic() - began
    code, cpu, kib = result.stdout.split()[-3:]
    (line,) = re.findall(r"^.*done before.*$", result.stdout + result.stderr, re.MULTILINE)
    gib = int(kib) / 2**20
    print(
        f"| {name} | {seconds:.1f} | {float(cpu):.1f} | {gib:.2f} | {code} | {line} |", flush=True
    )


def main(argv: list[str] | None = None) -> int:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--missing", type=int, default=100, help="one result in so many is missing")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="ledger-") as name:
        folder = Path(name)
        jobs = make_files(folder, args.jobs)
        make_ledger(folder, jobs, file_id(weights_path()))
        gib = (folder / "out" / "jobs.jsonl").stat().st_size / 2**30
        print(f"Ledger of {args.jobs} jobs: {gib:.2f} GiB\n")
        print("| command | s | CPU s | peak GiB | exit code | plan |\n|---|---|---|---|---|---|")
        measure(folder, "all done", "--no-report")
        measure(folder, "all done, with report")
        for job in jobs[:: args.missing]:
            (folder / "out" / job.output).unlink()
        measure(folder, f"one in {args.missing} missing, `--dry-run`", "--dry-run")
    return 0


if __name__ == "__main__":
    sys.exit(main())
