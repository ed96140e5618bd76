"""Run thousands of small jobs in one process; print its memory and file handles.

    python scripts/soak.py --jobs 2000

The jobs are shared by several batches, one after the other. They have three shapes and the losses
that compile fastest; one content image in fifty is truncated, so that failures count too. Prints a
Markdown table and the growth per 1000 jobs after the first batch, which compiles the programs.
"""

import argparse
import os
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from jaxstyle import load_weights
from jaxstyle.batch.jobs import Defaults, Job, pair_jobs
from jaxstyle.batch.ledger import Shard
from jaxstyle.batch.run import Batch
from jaxstyle.host import enable_compilation_cache
from jaxstyle.io.provenance import file_id
from jaxstyle.io.weights import weights_path
from jaxstyle.reporting import Reporter

SHAPES = ((64, 64), (64, 48), (48, 64))
_TRUNCATED_EVERY = 50


class Sample(NamedTuple):
    """State of the process after a number of jobs."""

    jobs: int
    seconds: float
    mib: float
    handles: int
    threads: int
    maps: int


class Sampler(Reporter):
    """Samples the process every `every` jobs, and prints a row."""

    def __init__(self, every: int):
        super().__init__()
        self.samples: list[Sample] = []
        self._every, self._start, self._count = every, time.monotonic(), 0

    def item(self, text: str, *, failed: bool = False, **fields: Any) -> None:
        """Count a job."""
        super().item(text, failed=failed, **fields)
        self._count += 1
        if self._count % self._every == 0:
            self.samples.append(self._sample())
            print("| {} | {:.0f} | {:.1f} | {} | {} | {} |".format(*self.samples[-1]), flush=True)

    def _sample(self) -> Sample:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return Sample(
            self._count,
            time.monotonic() - self._start,
            pages * resource.getpagesize() / 2**20,
            len(os.listdir("/proc/self/fd")),  # noqa: PTH208
            threading.active_count(),
            Path("/proc/self/maps").read_bytes().count(b"\n"),
        )


def make_jobs(folder: Path, count: int, defaults: Defaults) -> list[Job]:
    """Write `count` content images and a style image; return their jobs."""
    random = np.random.default_rng(0)
    contents = []
    for number in range(count):
        path = folder / f"photo{number:05}.png"
        height, width = SHAPES[number % len(SHAPES)]
        coarse = random.integers(0, 256, (6, 8, 3), np.uint8)
        Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(path)
        if number % _TRUNCATED_EVERY == _TRUNCATED_EVERY - 1:
            path.write_bytes(path.read_bytes()[:-300])
        contents.append(path)
    style = folder / "style.png"
    Image.fromarray(random.integers(0, 256, (64, 64, 3), np.uint8)).save(style)
    return pair_jobs(contents, [style], defaults)


def print_growth(samples: Sequence[Sample]) -> None:
    """Print the growth per 1000 jobs, by a straight line."""
    if len(samples) < 2:
        return
    jobs = np.array([sample.jobs for sample in samples]) / 1000
    slopes = {
        name: np.polyfit(jobs, [getattr(sample, name) for sample in samples], 1)[0]
        for name in ("mib", "handles", "threads", "maps")
    }
    text = ", ".join(f"{slope:+.2f} {name}" for name, slope in slopes.items())
    print(f"\nGrowth per 1000 jobs: {text}.")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the jobs; return 1 if another number of them failed than was truncated."""
    parser = argparse.ArgumentParser(description="Run many small jobs in one process.")
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--batches", type=int, default=4, help="batches that share the jobs")
    parser.add_argument("--every", type=int, default=100, help="jobs per sample")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--init", default="content")
    args = parser.parse_args(argv)
    enable_compilation_cache()
    fields = {"size": args.size, "min_size": args.size, "steps": (args.steps,), "init": args.init,
              "style_loss": "gram", "style_layers": "relu1_1",
              "content_layers": "relu1_2"}  # fmt: skip
    sampler = Sampler(args.every)
    print("| jobs | s | MiB | file handles | threads | memory maps |\n|---|---|---|---|---|---|")
    params, weights, failed = load_weights(decoder=args.init == "adain"), weights_path(), 0
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        folder = Path(name)
        jobs = make_jobs(folder, args.jobs, Defaults("default", fields))
        for number in range(args.batches):
            part, out = Shard(number + 1, args.batches).of(jobs), folder / f"out{number}"
            batch = Batch(part, out, params, file_id(weights), sampler, shard=Shard())
            batch.run()
            failed += len(part) - batch.outcomes.done
    first = args.jobs // args.batches
    print_growth([sample for sample in sampler.samples if sample.jobs > first])
    print(f"{args.jobs - failed} done, {failed} failed.")
    return int(failed != args.jobs // _TRUNCATED_EVERY)


if __name__ == "__main__":
    sys.exit(main())
