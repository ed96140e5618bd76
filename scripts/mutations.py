"""Break the package in many ways, one at a time, and see whether the tests notice.

    python scripts/mutations.py --jobs 2               # all
    python scripts/mutations.py --area reader          # one area
    python scripts/mutations.py --name L-BFGS          # whatever has L-BFGS in its name

Each mutation replaces a piece of text that occurs once in the package, in a copy of it, and runs
the tests that should notice. Prints a Markdown table; the exit code is 1 if one is not noticed.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from typing import NamedTuple

from mutation_table import MUTATIONS, Mutation

ROOT = Path(__file__).parent.parent


class Finding(NamedTuple):
    """Whether a mutation was noticed, by which test, and after how many seconds."""

    mutation: Mutation
    verdict: str
    test: str
    seconds: float


def copy_package(folder: Path) -> Path:
    """Copy what the tests need into `folder`."""
    for name in ("jaxstyle", "tests", "scripts"):
        ignored = shutil.ignore_patterns("__pycache__", "weights")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder / name)
    (folder / "weights").symlink_to(ROOT / "weights")
    return folder


def run_tests(folder: Path, tests: Sequence[str]) -> subprocess.CompletedProcess:
    """Run tests in a copy of the package until one fails; slow ones only if they are named."""
    cache = str(folder.parent / "cache")
    env = {
        **os.environ,
        "PYTHONPATH": str(folder),
        # A changed file of equal size and time would be taken for the compiled one.
        "PYTHONDONTWRITEBYTECODE": "1",
        "XDG_CACHE_HOME": cache,
        "JAX_COMPILATION_CACHE_DIR": cache,
    }
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    if not any("::" in test for test in tests):
        command += ["-m", "not slow"]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)


def find_place(folder: Path, mutation: Mutation) -> Path | None:
    """Return the file that contains the mutation's text, if it occurs once in the package."""
    texts = {path: path.read_text() for path in sorted((folder / "jaxstyle").rglob("*.py"))}
    places = [path for path, text in texts.items() for _ in range(text.count(mutation.old))]
    return places[0] if len(places) == 1 else None


def examine(folder: Path, mutation: Mutation) -> Finding:
    """Apply a mutation, run its tests, and undo it."""
    began = time.perf_counter()
    path = find_place(folder, mutation)
    if path is None:
        return Finding(mutation, "text not found", "", 0.0)
    original = path.read_text()
    path.write_text(original.replace(mutation.old, mutation.new))
    try:
        done = run_tests(folder, mutation.tests)
    finally:
        path.write_text(original)
    lines = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    test = lines[0].split(" - ")[0].split("::", 1)[-1] if lines else ""
    # Code 1 is a failed test; others say that pytest could not run them.
    verdict = {0: "**NOT noticed**", 1: "noticed"}.get(done.returncode, "**tests do not run**")
    if done.returncode > 1:
        print(done.stdout[-2000:], done.stderr[-2000:], file=sys.stderr)
    return Finding(mutation, verdict, test, time.perf_counter() - began)


def check_unbroken(folder: Path, mutations: Sequence[Mutation]) -> None:
    """Exit unless all tests pass without a mutation."""
    names = {test for mutation in mutations for test in mutation.tests}
    single = {name for name in names if "::" in name}
    for tests in (sorted(single), sorted(names - single)):
        done = run_tests(folder, tests) if tests else None
        if done is not None and done.returncode:
            sys.exit(f"the tests fail without a mutation:\n{done.stdout[-5000:]}")


def main(argv: Sequence[str] | None = None) -> int:
    """Examine all mutations; return 1 if one is not noticed."""
    parser = argparse.ArgumentParser(description="Break the package; see if the tests notice.")
    parser.add_argument("--area", help="only mutations of this area")
    parser.add_argument("--name", default="", help="only mutations with this in their name")
    parser.add_argument("--jobs", type=int, default=2, help="copies of the package at once")
    args = parser.parse_args(argv)
    mutations = [m for m in MUTATIONS if args.area in (None, m.area) and args.name in m.name]
    with tempfile.TemporaryDirectory(prefix="mutations-") as name:
        copies: Queue[Path] = Queue()
        for number in range(args.jobs):
            copies.put(copy_package(Path(name, str(number))))
        folder = copies.get()
        check_unbroken(folder, mutations)
        copies.put(folder)

        def examine_in_a_copy(mutation: Mutation) -> Finding:
            folder = copies.get()
            try:
                return examine(folder, mutation)
            finally:
                copies.put(folder)

        print("| area | what is broken | verdict | first test that fails | s |")
        print("|---|---|---|---|---|")
        verdicts = []
        with ThreadPoolExecutor(args.jobs) as pool:
            for mutation, verdict, test, seconds in pool.map(examine_in_a_copy, mutations):
                verdicts.append(verdict)
                row = (mutation.area, mutation.name, verdict, f"`{test}`", f"{seconds:.0f}")
                print(f"| {' | '.join(row)} |", flush=True)
    noticed = verdicts.count("noticed")
    print(f"\n{noticed} of {len(verdicts)} mutations noticed.")
    return int(noticed < len(verdicts))


if __name__ == "__main__":
    sys.exit(main())
