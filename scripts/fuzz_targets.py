"""Targets of `fuzz.py`: each makes an input from random numbers, and says how to read it.

A target is a class with a `share` of the inputs. Its constructor makes base files in a folder;
`make` writes one input into another folder and returns a `Case`.
"""

import contextlib
import io
import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from random import Random
from typing import Any, NamedTuple

import h5py
import numpy as np
from fuzz_hdf5 import damage_hdf5, thin_network, write_network
from fuzz_pictures import damage_picture, make_pictures, write_special
from fuzz_texts import (
    FITTING,
    TEMPLATES,
    damage_bytes,
    damage_record,
    hostile,
    json_value,
    write_csv,
    write_toml,
)

from jaxstyle.errors import ExitCode, JaxstyleError


class RefusedError(Exception):
    """A command ended with one of the exit codes that a user can cause."""


class WrongError(Exception):
    """A wrong answer, e.g. two readers that disagree."""


class Case(NamedTuple):
    """One input.

    Attributes:
      run: reads it.
      refusals: exceptions that refuse it with a message.
      writes: pattern of the files that it may write, relative to its folder.
      removes: whether it may remove files.
      prints: patterns of the lines that it may print on stdout and stderr.
    """

    run: Callable[[], Any]
    refusals: tuple[type[BaseException], ...] = (JaxstyleError,)
    writes: str = ""
    removes: bool = False
    prints: tuple[str, str] = ("", "")


class Pictures:
    """`read_shape`, `read_image` and `read_thumbnail` on damaged pictures; they must agree."""

    share = 25

    def __init__(self, folder: Path):
        self._pictures = make_pictures()

    def make(self, random: Random, folder: Path) -> Case:
        path = folder / f"picture{random.choice(('', '.png', '.jpg', '.tif', '.gif', '.ps'))}"
        if random.random() < 0.005:
            write_special(random, path)
        else:
            path.write_bytes(damage_picture(random, self._pictures, damage_bytes))
        return Case(lambda: _read_three_times(path))


def _read_three_times(path: Path) -> None:
    from jaxstyle.io.images import read_image, read_shape, read_thumbnail

    results: dict[str, Any] = {}
    errors: dict[str, JaxstyleError] = {}

    def attempt(name: str, read: Callable[[], Any]) -> None:
        try:
            results[name] = read()
        except JaxstyleError as error:
            errors[name] = error

    attempt("shape", lambda: read_shape(path))
    # A large picture is never needed at its own size.
    height, width = results.get("shape", (0, 0))
    small = height * width < 2**22
    attempt("image", lambda: read_image(path, None if small else 512, alpha=True))
    attempt("thumbnail", lambda: read_thumbnail(path, 24))
    if "image" in errors:
        raise errors["image"]
    for name in errors:
        raise WrongError(
            f"read_image accepts what the reader of the {name} refuses: {errors[name]}"
        )
    image, thumbnail = results["image"], results["thumbnail"]
    if small and image.shape[:2] != (height, width):
        raise WrongError(f"read_shape says {(height, width)}, read_image {image.shape}")
    if image.dtype != np.float32 or not (np.min(image) >= 0 and np.max(image) <= 1):
        raise WrongError(f"values of {image.dtype} from {np.min(image)} to {np.max(image)}")
    landscape = image.shape[1] - image.shape[0], thumbnail.size[0] - thumbnail.size[1]
    if landscape[0] * landscape[1] < 0 or thumbnail.mode != "RGB":
        raise WrongError(f"image {image.shape}, thumbnail {thumbnail.size} {thumbnail.mode}")


class Weights:
    """`load_weights`, and `weights info`, `verify` and `convert`, on damaged HDF5 files."""

    share = 3

    def __init__(self, folder: Path):
        from jaxstyle.cli import commands  # noqa: F401

        thin_network()
        self._bases = {}
        for keras in (False, True):
            path = folder / f"{keras}.h5"
            write_network(path, keras=keras)
            self._bases[keras] = path
        (folder / "secret.bin").write_bytes(bytes(2**20))

    def make(self, random: Random, folder: Path) -> Case:
        from jaxstyle.io.weights import load_weights

        kind = random.choice(("load", "load", "info", "verify", "convert", "convert"))
        path = folder / "weights.h5"
        base = self._bases[kind == "convert"]
        shutil.copy(base, path)
        if random.random() < 0.8:
            with h5py.File(path, "r+") as file:
                damage_hdf5(random, file, base.parent / "secret.bin")
        if random.random() < 0.5:
            # Headers are in front; the end holds few of them.
            data = path.read_bytes()
            cut = random.choice((64, 1024, 16_384, len(data)))
            path.write_bytes(damage_bytes(random, data[:cut]) + data[cut:])
        if kind == "load":
            return Case(lambda: load_weights(path))
        argv = ["weights", kind, str(path)]
        if kind == "convert":
            argv += [str(folder / "out.h5"), "--dtype", "float32"]
        return Case(
            lambda: _command(argv),
            writes=r"out\.h5",
            prints=(r"[^\x00-\x1f\x7f-\x9f]*", r"jaxstyle: .+"),
        )


class Jobs:
    """Job files, templates and searches for pictures."""

    share = 14

    def __init__(self, folder: Path):
        from jaxstyle.batch import jobs

        self._columns = jobs._COLUMNS

    def make(self, random: Random, folder: Path) -> Case:
        for name in ("photo.png", "style.png"):
            (folder / name).write_bytes(b"")
        template = random.choice(TEMPLATES) if random.random() < 0.5 else "{content}_{style}.png"
        if random.random() < 0.2:
            source = hostile(random)
            return Case(lambda: _find_jobs(source, template, folder), (JaxstyleError, ValueError))
        suffix = random.choice((".csv", ".toml"))
        rows = [self._row(random) for _ in range(random.choice((0, 1, 1, 2, 3)))]
        text = write_csv(random, rows) if suffix == ".csv" else write_toml(random, rows)
        data = text.encode("utf-8", "surrogatepass")
        if random.random() < 0.2:
            data = damage_bytes(random, data)
        path = folder / f"jobs{suffix}"
        path.write_bytes(data)
        return Case(lambda: _read_jobs(path, template, folder), (JaxstyleError, ValueError))

    def _row(self, random: Random) -> dict[str, str]:
        row = {"content": "photo.png", "style": "style.png"}
        for name in random.sample(self._columns, random.choice((0, 0, 1, 2))):
            row[name] = hostile(random) if random.random() < 0.5 else FITTING.get(name, "1")
        if random.random() < 0.05:
            row[hostile(random)] = hostile(random)
        return row


def _read_jobs(path: Path, template: str, folder: Path) -> None:
    from jaxstyle.batch.jobs import Defaults, check_jobs, read_job_file

    jobs = read_job_file(path, Defaults("default", {}), template)
    _check_outputs(jobs)
    check_jobs(jobs, folder / "out")


def _find_jobs(source: str, template: str, folder: Path) -> None:
    from jaxstyle.batch.find import find_images
    from jaxstyle.batch.jobs import Defaults, check_jobs, pair_jobs

    found = find_images(source)
    jobs = pair_jobs(found, found, Defaults("default", {}), template=template)
    _check_outputs(jobs)
    check_jobs(jobs, folder / "out")


def _check_outputs(jobs: list[Any]) -> None:
    for job in jobs:
        if len(job.output) > 2**16:
            raise WrongError(f"an output has a name of {len(job.output)} characters")
        path = PurePosixPath(job.output)
        if path.is_absolute() or ".." in path.parts or not path.suffix:
            raise WrongError(f"output {job.output!r} is not a file in the folder")


class Ledgers:
    """The ledger of a batch, and its report, on damaged lines and damaged results."""

    share = 4

    def __init__(self, folder: Path):
        from PIL import Image

        from jaxstyle.batch import report
        from jaxstyle.batch.done import job_hash
        from jaxstyle.batch.jobs import Defaults, pair_jobs
        from jaxstyle.io.atomic import file_sha256
        from jaxstyle.io.provenance import input_ids

        assert report
        self._folder = folder / "ledger"
        self._folder.mkdir()
        for name, color in (("photo.png", "red"), ("other.png", "blue"), ("style.png", "gray")):
            Image.new("RGB", (24, 20), color).save(self._folder / name)
        contents = [self._folder / "photo.png", self._folder / "other.png"]
        self._jobs = pair_jobs(
            contents, [self._folder / "style.png"], Defaults("default", {"size": 32})
        )
        self._weights = {"file": "vgg19.h5", "sha256": "0" * 64}
        self._picture = (self._folder / "photo.png").read_bytes()
        self._records = []
        for job in self._jobs:
            inputs = input_ids(job.inputs)
            self._records.append(
                {"output": job.output, "job": job_hash(job, inputs, self._weights),
                 "status": "done", "width": 24, "height": 20, "steps": 3, "seconds": 1.5,
                 "output_sha256": file_sha256(self._folder / "photo.png"), "loss": 0.5,
                 "terms": {"content": 0.2, "style/relu1_1": 0.3}, "curve": [3.0, 1.0, 0.5],
                 "inputs": inputs, "jaxstyle": "0", "time": "2026-01-01T00:00:00Z"}
            )  # fmt: skip

    def make(self, random: Random, folder: Path) -> Case:
        out = folder / "out"
        out.mkdir()
        for job in self._jobs:
            (out / job.output).write_bytes(self._picture)
        lines = []
        for _ in range(random.randrange(1, 5)):
            record = dict(random.choice(self._records))
            for name in random.sample(sorted(record), random.choice((0, 1, 1, 2))):
                if random.random() < 0.2:
                    del record[name]
                else:
                    record[name] = json_value(random)
            lines.append(json.dumps(record).encode())
        data = b"\n".join(lines) + random.choice((b"\n", b"\n", b""))
        if random.random() < 0.5:
            data = damage_bytes(random, data)
        name = random.choice(("jobs.jsonl", "jobs.jsonl", "jobs.1-of-2.jsonl", "jobs.x.jsonl"))
        (out / name).write_bytes(data)
        if random.random() < 0.05:
            write_special(random, out / "jobs.2-of-2.jsonl", waits=False)
        if random.random() < 0.2:
            (out / self._jobs[0].output).write_bytes(damage_bytes(random, self._picture))
        writes = r"out/(report|contact_sheet).*\.(html|jpg)|out/jobs\.jsonl|out"
        return Case(lambda: self._report(out), writes=writes)

    def _report(self, folder: Path) -> None:
        from jaxstyle.batch.ledger import Ledger, Shard
        from jaxstyle.batch.pending import scan_jobs
        from jaxstyle.batch.report import write_report

        ledger = Ledger(folder, Shard())
        pending = scan_jobs(self._jobs, folder, self._weights, ledger, overwrite=False)
        ledger.remove_outputs([folder / job.output for job in self._jobs])
        write_report(folder, Shard(), self._jobs, pending.outcomes)
        ledger.append({"output": self._jobs[0].output, "status": "failed", "error": "x"})
        if self._jobs[0].output not in {record["output"] for record in ledger.read()}:
            raise WrongError("a record that was appended is not read")


class Checkpoint:
    """Checkpoints on damaged folders."""

    share = 1

    def __init__(self, folder: Path):
        import jax.numpy as jnp

        from jaxstyle import StyleConfig
        from jaxstyle.loop.driver import Progress
        from jaxstyle.optimize import init, make_optimizer, run

        self._folder = folder / "checkpoint"
        self._config = StyleConfig(size=32, steps=(3,), optimizer="adam")
        self._plan = [((16, 16), 3)]

        def loss_fn(image: Any) -> Any:
            loss = jnp.mean(image**2)
            return loss, {"content": loss, "tv": loss}

        optimizer = make_optimizer("adam", 0.02)
        state, trace = run(loss_fn, optimizer, init(jnp.full((16, 16, 3), 0.5), optimizer), 3)
        progress = Progress(3, 3, 0, 0, np.asarray(trace.loss[-1]), state.image, state, trace)
        checkpoints = self._open(self._folder)
        checkpoints.watch(lambda _: False)(progress)
        checkpoints.close()
        self._shape = jnp.shape(state.image)

    def make(self, random: Random, folder: Path) -> Case:
        target = folder / "checkpoint"
        shutil.copytree(self._folder, target)
        for _ in range(random.choice((1, 1, 2))):
            paths = sorted(target.rglob("*"), key=_without_random_name)
            if not paths:
                break
            path = random.choice(paths)
            kind = random.randrange(6)
            if kind == 0:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            elif kind == 1:
                path.rename(path.with_name(random.choice(("1", "2", "x", "tmp", "0003", "³"))))
            elif kind == 2 and path.is_dir():
                write_special(random, path / random.choice(("x", "9", "zarr.json")), waits=False)
            elif path.is_file():
                path.write_bytes(damage_bytes(random, path.read_bytes()))
        return Case(
            lambda: self._restore(target), (JaxstyleError, ValueError), r"checkpoint.*", True
        )

    def _open(self, folder: Path) -> Any:
        from jaxstyle.io.checkpoint import Checkpoints

        options = {"every": 60.0, "warn": lambda text: None}
        return Checkpoints(folder, {"x": 1}, self._config, self._plan, **options)

    def _restore(self, folder: Path) -> None:
        checkpoints = self._open(folder)
        resume = checkpoints.resume
        checkpoints.close()
        if resume is None:
            return
        image = np.asarray(resume.image)
        if image.shape != self._shape or image.dtype != np.float32 or resume.step > resume.steps:
            raise WrongError(f"resumes at step {resume.step} from {image.dtype} {image.shape}")


def _without_random_name(path: Path) -> tuple[str, int]:
    """Return what a file is called in every checkpoint, and its size."""
    return re.sub(r"[0-9a-f]{16,}", "#", str(path)), path.lstat().st_size


class Commands:
    """Command lines with hostile flags and values, which end before any work."""

    share = 7

    def __init__(self, folder: Path):
        from jaxstyle.cli import commands
        from jaxstyle.cli.parser import make_parser

        assert commands
        self._flags = {}
        groups: Any = make_parser()._subparsers
        for name, parser in groups._group_actions[0].choices.items():
            self._flags[name] = [flag for a in parser._actions for flag in a.option_strings]

    def make(self, random: Random, folder: Path) -> Case:
        for name in ("photo.png", "style.png"):
            (folder / name).write_bytes(random.choice((b"", b"\x89PNG\r\n\x1a\n", b"GIF89a")))
        name = random.choice((*self._flags, "weights"))
        argv = [name]
        # No weights, so that no command begins to compile.
        bad_weights = ["--weights", random.choice(("missing.h5", "photo.png"))]
        places = {"stylize": 2, "preview": 2, "texture": 1, "reconstruct": 1, "batch": 2,
                  "layers": 2, "score": 3, "plan": 0, "rerun": 1, "completion": 1}  # fmt: skip
        if name == "weights":
            argv.append(random.choice(("info", "verify", "convert", hostile(random))))
            argv += [random.choice(("photo.png", hostile(random))) for _ in range(2)]
        else:
            argv += [
                random.choice(("photo.png", "style.png", hostile(random)))
                for _ in range(places.get(name, 1))
            ]
            if name not in ("plan", "completion"):
                argv += ["-o", random.choice(("out.png", "out", hostile(random)))]
        for _ in range(random.randrange(4)):
            argv.append(random.choice(self._flags[name] or ["--x"]))
            if random.random() < 0.9:
                argv.append(hostile(random))
        argv += bad_weights if name not in ("weights", "completion") else []
        if random.random() < 0.1:
            argv.insert(random.randrange(len(argv)), hostile(random))
        prints = (r".*" if {"-h", "--help", "--version"} & {*argv} else "", r"jaxstyle: .+")
        return Case(lambda: _command(argv), prints=prints)


class Records:
    """Configuration files, and images and reports whose metadata is damaged or hostile."""

    share = 5

    def __init__(self, folder: Path):
        from PIL import Image

        from jaxstyle import StyleConfig
        from jaxstyle.cli import commands
        from jaxstyle.io.provenance import input_ids, provenance
        from jaxstyle.io.weights import weights_path

        assert commands
        (folder / "records").mkdir()
        self._folder = folder / "records"
        inputs = {role: [self._folder / f"{role}.png"] for role in ("content", "style")}
        for (path,) in inputs.values():
            Image.new("RGB", (24, 20), "red").save(path)
        weights = {"file": weights_path(None).name, "sha256": "0" * 64}
        origin = provenance("stylize", StyleConfig(size=32), input_ids(inputs), weights)
        self._record = json.loads(json.dumps(origin)) | {"strength": 1, "sets": [{"relu1_1": 1}]}

    def make(self, random: Random, folder: Path) -> Case:
        for path in self._folder.iterdir():
            shutil.copy(path, folder)
        kind = random.choice(("png", "jpg", "json", "toml"))
        path = folder / f"a.{kind}"
        path.write_bytes(self._toml(random) if kind == "toml" else self._json(random, kind))
        argv = ["rerun", str(path)]
        if kind in ("json", "toml") or random.random() < 0.3:
            # No weights, so that no command begins to compile.
            argv = ["stylize", "content.png", "style.png", "-o", "out.png", "--config", str(path)]
            argv += ["--weights", "missing.h5"]
        return Case(lambda: _command(argv), prints=(r"[^\x00-\x1f\x7f-\x9f]*", r"jaxstyle: .+"))

    def _json(self, random: Random, kind: str) -> bytes:
        """Return a report or an image with a record that has been changed."""
        from jaxstyle.io.images import encode_image

        text = damage_record(random, self._record)
        if kind == "json":
            return text.encode("utf-8", "surrogatepass")
        format = {"png": "PNG", "jpg": "JPEG"}[kind]
        data = encode_image(np.full((20, 24, 3), 0.5), format, metadata={"jaxstyle": text})
        return damage_bytes(random, data) if random.random() < 0.2 else data

    def _toml(self, random: Random) -> bytes:
        names = random.sample((*self._record["config"], "preset", "tile"), random.randrange(4))
        row = {n: random.choice((hostile(random), FITTING.get(n, "1"))) for n in names}
        if random.random() < 0.1:
            row[hostile(random)] = hostile(random)
        data = write_toml(random, [row]).replace("[[job]]\n", "").encode("utf-8", "surrogatepass")
        return damage_bytes(random, data) if random.random() < 0.2 else data


def _command(argv: list[str]) -> None:
    from jaxstyle.cli import main

    text = io.StringIO()
    with contextlib.redirect_stderr(text):
        code = main(argv)
    sys.stderr.write(text.getvalue())
    if code == ExitCode.UNEXPECTED:
        error = RuntimeError(text.getvalue())
        error.add_note(f"argv: {argv}")
        raise error
    if code:
        raise RefusedError(f"exit code {code}")


TARGETS: dict[str, Any] = {
    "pictures": Pictures,
    "weights": Weights,
    "jobs": Jobs,
    "ledgers": Ledgers,
    "checkpoints": Checkpoint,
    "commands": Commands,
    "records": Records,
}
"""Targets by name."""
