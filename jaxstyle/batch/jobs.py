"""What a batch has to do: one `Job` per picture, from folders, globs or a job file."""

import csv
import dataclasses
import glob
import io
import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import Any, get_args

from jaxstyle.config import StyleConfig, parse_value
from jaxstyle.errors import ImageReadError
from jaxstyle.io.images import FORMATS
from jaxstyle.options import NAME_TEMPLATE, Init, Pairing
from jaxstyle.presets import PRESETS

RESERVED = "contact_sheet"
"""Beginning of the names of a batch's own pictures."""

# Endings of files that a folder is searched for; a glob or a job file may name any other.
_PICTURES = (*FORMATS, ".bmp", ".gif", ".avif", ".jp2", ".tga", ".ppm", ".pgm")
_FIELDS = {f.name: f for f in dataclasses.fields(StyleConfig)}
_FILES = ("content", "style", "mask", "output")
_COLUMNS = (*_FILES, "preset", *_FIELDS)


@dataclass(frozen=True)
class Job:
    """One picture to make.

    Attributes:
      content: the photograph.
      styles: the painting, or several to be blended.
      output: name of the result, relative to the batch's folder, with `/`.
      config: all options.
      masks: one per style, or none.
      start: picture to start from, or none.
    """

    content: Path
    styles: tuple[Path, ...]
    output: str
    config: StyleConfig
    masks: tuple[Path, ...] = ()
    start: Path | None = None

    @property
    def inputs(self) -> dict[str, tuple[Path, ...]]:
        """Its files, by their part."""
        start = () if self.start is None else (self.start,)
        return {"content": (self.content,), "style": self.styles, "mask": self.masks,
                "start": start}  # fmt: skip


@dataclass(frozen=True)
class Defaults:
    """Options of every job that does not say otherwise: a preset, flags on top, and a start."""

    preset: str
    flags: Mapping[str, Any]
    start: Path | None = None

    def config(self, preset: str | None = None, **fields: Any) -> StyleConfig:
        """The preset, the flags, then the fields of one job."""
        return dataclasses.replace(PRESETS[preset or self.preset], **{**self.flags, **fields})


def find_pictures(source: str, *, outside: Path | None = None) -> list[Path]:
    """Pictures of a folder (not of folders in it), a glob (`**` goes deeper), or one file.

    Args:
      source: as typed.
      outside: folder whose pictures are left out, as they are results.

    Raises:
      ImageReadError: there are none.
    """
    path = Path(source)
    if path.is_dir():
        found = [p for p in path.iterdir() if _is_picture(p)]
    elif glob.has_magic(source) and not path.exists():
        # `Path.glob` follows no links to folders, so that a loop of them ends.
        root = Path(path.anchor) if path.anchor else Path()
        found = [p for p in root.glob(str(path.relative_to(root))) if not p.is_dir()]
        # Whoever names an ending means it.
        named = path.suffix not in ("", ".*")
        found = [p for p in found if _is_picture(p) or (named and not p.name.startswith("."))]
    elif path.exists() or path.is_symlink():
        return [path]
    else:
        raise ImageReadError(f"{source} does not exist.")
    hidden = outside.resolve() if outside is not None else None
    # Of the folder alone: a picture may be a link, even one to nothing.
    folders = {p.parent: p.parent.resolve() for p in found}
    kept = [p for p in found if hidden not in (folders[p.parent], *folders[p.parent].parents)]
    if not kept:
        results = " but results of this batch" if found else ""
        raise ImageReadError(f"{source} holds no picture{results} ({', '.join(_PICTURES)}).")
    return sorted(kept)


def _is_picture(path: Path) -> bool:
    ours = path.name.startswith((".", RESERVED))
    return path.suffix.lower() in _PICTURES and not ours and not path.is_dir()


def pair(
    contents: Sequence[Path],
    styles: Sequence[Path],
    defaults: Defaults,
    *,
    pairing: Pairing = "cross",
    template: str = NAME_TEMPLATE,
) -> list[Job]:
    """Every photograph in every style (`cross`), or each in the style of its place (`each`).

    Raises:
      ValueError: `each` with other than one style per photograph; see `output_name`.
    """
    if pairing == "each":
        if len(contents) != len(styles):
            raise ValueError(
                f"`--pair each` needs one style per photograph; there are {len(contents)} "
                f"photographs and {len(styles)} styles."
            )
        pairs = list(zip(contents, styles, strict=True))
    else:
        pairs = [(content, style) for content in contents for style in styles]
    config = defaults.config()
    return [
        Job(
            content=content,
            styles=(style,),
            output=output_name(template, content, (style,), index, config),
            config=config,
            start=defaults.start,
        )
        for index, (content, style) in enumerate(pairs, start=1)
    ]


def output_name(
    template: str, content: Path, styles: Sequence[Path], index: int, config: StyleConfig
) -> str:
    """Name of a result: `template` with {content} {ext} {style} {index} {size} {seed} filled in.

    {content} and {style} are names without folder and ending, {ext} is the photograph's
    ending. `/` makes folders.

    Raises:
      ValueError: another field, or a name that leaves the output's folder.
    """
    values = {
        "content": content.stem,
        "ext": content.suffix.removeprefix("."),
        "style": "+".join(style.stem for style in styles),
        "index": index,
        "size": config.size,
        "seed": config.seed,
    }
    try:
        name = template.format_map(values)
    except (KeyError, ValueError, IndexError, AttributeError, TypeError):
        fields = ", ".join(f"{{{name}}}" for name in values)
        raise ValueError(f"`--name` is {template!r}; its fields may be {fields}.") from None
    return _inside(name)


def _inside(name: str) -> str:
    """The name of an output, checked to stay in its folder."""
    path = PurePosixPath(name.replace(os.sep, "/"))
    if path.is_absolute() or ".." in path.parts or not path.name or "\0" in name:
        raise ValueError(f"output {name!r} leaves the output's folder; give a name inside of it.")
    if path.suffix.lower() not in FORMATS:
        raise ValueError(f"output {name!r} must end in {', '.join(FORMATS)}.")
    if len(path.parts) == 1 and path.name.startswith(RESERVED):
        raise ValueError(f"output {name!r} is a name that the batch keeps for itself.")
    return str(path)


def read_job_file(path: Path, defaults: Defaults, template: str = NAME_TEMPLATE) -> list[Job]:
    """Jobs of a table: `.csv` with a line per job, or `.toml` with a `[[job]]` per job.

    Columns are `content`, `style`, `mask` (several separated by `;`, in TOML a list),
    `output`, `preset` and every field of `StyleConfig`; only the first two are needed. A
    TOML file may have a table `[defaults]`. Files are relative to the job file's folder.

    Raises:
      ImageReadError: the file cannot be read.
      ValueError: the file, a column or a value is wrong; file, line and way out are named.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 (byte {error.start}); save it as UTF-8.") from None
    except OSError as error:
        raise ImageReadError(f"cannot read {path}: {error.strerror}.") from None
    rows = _toml_rows(path, text) if path.suffix.lower() == ".toml" else _csv_rows(path, text)
    jobs = []
    for index, (place, row) in enumerate(rows, start=1):
        try:
            jobs.append(_job(path.parent, row, index, defaults, template))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path}, {place}: {error}") from None
    if not jobs:
        raise ValueError(f"{path} holds no jobs.")
    return jobs


def _csv_rows(path: Path, text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text), restkey="", strict=True, skipinitialspace=True)
    try:
        for row in reader:
            place = f"line {reader.line_num}"
            if row.get(""):
                raise ValueError(f"{path}, {place}: more cells than the header has columns.")
            yield place, {k.strip(): v.strip() for k, v in row.items() if v and v.strip()}
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: {error}.") from None


def _toml_rows(path: Path, text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path}: {error}") from None
    jobs, common = table.pop("job", []), table.pop("defaults", {})
    if table or not isinstance(jobs, list) or not isinstance(common, dict):
        raise ValueError(f"{path} must hold [[job]] tables, and at most one table [defaults].")
    for index, row in enumerate(jobs, start=1):
        yield f"job {index}", {**common, **row}


def _job(folder: Path, row: dict[str, Any], index: int, defaults: Defaults, template: str) -> Job:
    for name in row:
        if name not in _COLUMNS:
            near = get_close_matches(name, _COLUMNS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"columns are {', '.join(_COLUMNS)}."
            raise ValueError(f"unknown column {name!r}; {hint}")
    for name in ("content", "style"):
        if not row.get(name):
            raise ValueError(f"it has no {name!r}.")
    preset = row.get("preset")
    if preset is not None and preset not in PRESETS:
        raise ValueError(f"`preset` is {preset!r}; it must be one of {', '.join(PRESETS)}.")
    start = None if row.get("init") else defaults.start
    if row.get("init") and row["init"] not in get_args(Init):
        start = folder / str(row.pop("init"))
    fields = {
        name: parse_value(name, value) if isinstance(value, str) else value
        for name, value in row.items()
        if name in _FIELDS
    }
    config = defaults.config(preset, **fields)
    content, styles = folder / str(row["content"]), _paths(folder, row["style"])
    masks = _paths(folder, row.get("mask", ()))
    if masks and len(masks) != len(styles):
        raise ValueError(f"{len(masks)} masks for {len(styles)} styles; give one for each.")
    if "output" in row:
        output = _inside(str(row["output"]))
    else:
        output = output_name(template, content, styles, index, config)
    return Job(content, styles, output, config, masks, start)


def _paths(folder: Path, value: Any) -> tuple[Path, ...]:
    names = value.split(";") if isinstance(value, str) else value
    return tuple(folder / str(name).strip() for name in names if str(name).strip())


def check_jobs(jobs: Sequence[Job], folder: Path) -> None:
    """Raise where a batch cannot be meant, before any work is done.

    Raises:
      ImageReadError: inputs are missing.
      ValueError: two jobs have one output, or an output would overwrite an input.
    """
    taken: dict[str, Job] = {}
    inputs = {path for job in jobs for paths in job.inputs.values() for path in paths}
    # `Path.resolve` raises on links that go in circles.
    resolved = {os.path.realpath(path) for path in inputs}
    for job in jobs:
        # Some file systems take upper and lower case for the same.
        other = taken.setdefault(job.output.casefold(), job)
        if other is not job:
            raise ValueError(
                f"{other.content} in {other.styles[0]} and {job.content} in {job.styles[0]} would "
                f"both be {job.output!r}; tell them apart by --name, e.g. "
                "'{content}_{ext}_{style}_{index}.png'."
            )
        if os.path.realpath(folder / job.output) in resolved:
            raise ValueError(f"output {job.output!r} would overwrite an input of the batch.")
    missing = sorted(path for path in inputs if not path.exists() and not path.is_symlink())
    if missing:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise ImageReadError(f"{missing[0]} does not exist{more}.")
