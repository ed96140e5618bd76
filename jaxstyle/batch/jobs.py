"""Jobs of a batch, one `Job` per result, from folders, globs or a job file."""

import csv
import dataclasses
import io
import os
import re
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, get_args

from jaxstyle.batch.names import check_output_name, output_name
from jaxstyle.config import StyleConfig
from jaxstyle.errors import ImageReadError
from jaxstyle.io.atomic import RealPaths, check_name, name_limit
from jaxstyle.io.fields import FIELDS, read_fields
from jaxstyle.io.remote import FilePath, is_remote, to_path
from jaxstyle.io.texts import parse_toml, read_text
from jaxstyle.options import NAME_TEMPLATE, Init, Pairing, check_one_of, suggest
from jaxstyle.presets import PRESETS

_FILES = ("content", "style", "mask", "output")
_SHARED = ("styles", "config", "masks")
_COLUMNS = (*_FILES, "preset", *FIELDS)
# A path with fewer bytes has no part that is too long.
_MAX_BYTES_PER_CHARACTER = 4
# Largest job file, in bytes by its format and in jobs.
_MAX_BYTES, _MAX_JOBS = {".csv": 2**28, ".toml": 2**24}, 2_000_000


@dataclass(frozen=True)
class Job:
    """One result to compute.

    Attributes:
      content: file of the content image.
      styles: files of the style images; several are blended.
      output: path of the result relative to the output folder, with `/` as separator.
      config: configuration.
      masks: files of the masks, one per style image, or empty.
      start: file of the image to start from, or `None`.
    """

    content: FilePath
    styles: tuple[FilePath, ...]
    output: str
    config: StyleConfig
    masks: tuple[FilePath, ...] = ()
    start: FilePath | None = None

    @property
    def inputs(self) -> dict[str, tuple[FilePath, ...]]:
        """Input files by role: content, style, mask, start."""
        start = () if self.start is None else (self.start,)
        return {"content": (self.content,), "style": self.styles, "mask": self.masks,
                "start": start}  # fmt: skip


@dataclass(frozen=True)
class Defaults:
    """Options of all jobs, which a row of a job file may override.

    Attributes:
      preset: name of the preset.
      flags: fields of `StyleConfig` that replace those of the preset.
      start: file of the image to start from, or `None`.
    """

    preset: str
    flags: Mapping[str, Any]
    start: FilePath | None = None

    def config(self, preset: str | None = None, **fields: Any) -> StyleConfig:
        """Return the configuration of a job.

        Args:
          preset: preset of the job; that of the defaults if `None`.
          fields: fields of the job. They override `flags`, which override the preset.
        """
        return dataclasses.replace(PRESETS[preset or self.preset], **{**self.flags, **fields})


def pair_jobs(
    contents: Sequence[FilePath],
    styles: Sequence[FilePath],
    defaults: Defaults,
    *,
    pairing: Pairing = "cross",
    template: str = NAME_TEMPLATE,
    root: FilePath | None = None,
) -> list[Job]:
    """Combine content images and style images to jobs.

    Args:
      contents: files of the content images.
      styles: files of the style images.
      defaults: options of the jobs.
      pairing: `"cross"` combines every content image with every style image; `"each"` combines
        the first with the first, the second with the second, and so on.
      template: file name of the results, see `output_name`.
      root: folder that `{folder}` starts from, see `search_root`.

    Raises:
      ValueError: `pairing` is `"each"` and the numbers of images differ, or `output_name` raises.

    Example:
      >>> from pathlib import Path, PurePosixPath
      >>> from jaxstyle.batch.jobs import Defaults, pair_jobs
      >>> contents, styles = [Path("a.jpg"), Path("b.jpg")], [Path("s.jpg"), Path("t.jpg")]
      >>> [job.output for job in pair_jobs(contents, styles, Defaults("default", {}))]
      ['a_s.png', 'a_t.png', 'b_s.png', 'b_t.png']
    """
    if pairing == "each":
        if len(contents) != len(styles):
            raise ValueError(
                f"`--pair each` needs one style image per content image; there are "
                f"{len(contents)} content images and {len(styles)} style images."
            )
        pairs = list(zip(contents, styles, strict=True))
    else:
        pairs = [(content, style) for content in contents for style in styles]
    config = defaults.config()
    return [
        Job(
            content=content,
            styles=(style,),
            output=output_name(template, content, (style,), index, config, root=root),
            config=config,
            start=defaults.start,
        )
        for index, (content, style) in enumerate(pairs, start=1)
    ]


def read_job_file(path: FilePath, defaults: Defaults, template: str = NAME_TEMPLATE) -> list[Job]:
    """Read jobs from a `.csv` file with one line per job, or a `.toml` file with `[[job]]` tables.

    The columns are `content`, `style`, `mask`, `output`, `preset` and the fields of
    `StyleConfig`; `content` and `style` are required. `style` and `mask` may name several files,
    separated by `;` or in a TOML list. A TOML file may have a table `[defaults]`. Input files
    are relative to the folder of the job file.

    Args:
      path: the job file.
      defaults: options of jobs that do not set them.
      template: file name of results without an `output`, see `output_name`.

    Raises:
      ImageReadError: the file cannot be read.
      ValueError: the file, a column or a value is invalid; the message names file and line.
    """
    text = read_text(path, _MAX_BYTES[path.suffix.lower()])
    rows = _toml_rows(path, text) if path.suffix.lower() == ".toml" else _csv_rows(path, text)
    jobs, shared = [], {}
    for index, (place, row) in enumerate(rows, start=1):
        if index > _MAX_JOBS:
            raise ValueError(f"{path} has more than {_MAX_JOBS} jobs; split it.")
        try:
            job = _parse_job(path.parent, row, index, defaults, template)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path}, {place}: {error}") from None
        # Equal values of a million jobs are kept once.
        same = {name: shared.setdefault(v, v) for name in _SHARED if (v := getattr(job, name))}
        jobs.append(dataclasses.replace(job, **same))
    if not jobs:
        raise ValueError(f"{path} contains no jobs; add at least one.")
    return jobs


def _csv_rows(path: FilePath, text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    # With `newline=None`, lines may end in LF, CRLF or CR.
    reader = csv.reader(io.StringIO(text, newline=None), strict=True, skipinitialspace=True)
    header: list[str] = []
    try:
        for cells in reader:
            cells = [cell.strip() for cell in cells]
            place = f"line {reader.line_num}"
            if not any(cells):
                continue
            if not header:
                header = cells
                for name in header:
                    if name and header.count(name) > 1:
                        raise ValueError(f"{path}, {place}: column {name!r} occurs twice.")
                continue
            row = dict(zip(header, cells, strict=False))
            if row.pop("", "") or any(cells[len(header) :]):
                raise ValueError(f"{path}, {place}: more cells than the header has columns.")
            yield place, {name: cell for name, cell in row.items() if cell}
    except csv.Error as error:
        raise ValueError(f"{path}, line {reader.line_num}: {error}.") from None


def _toml_rows(path: FilePath, text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    table = parse_toml(path, text)
    jobs, common = table.pop("job", []), table.pop("defaults", {})
    wrong = list(table)
    wrong += [] if isinstance(common, dict) else ["defaults"]
    wrong += [] if isinstance(jobs, list) else ["job"]
    if wrong:
        raise ValueError(
            f"{path}{_line_of(text, wrong[0])}: {wrong[0]!r} is not expected here; the file must "
            "contain only [[job]] tables and at most one [defaults]."
        )
    for index, row in enumerate(jobs, start=1):
        place = f"job {index}"
        if not isinstance(row, dict):
            value = reprlib.repr(row)
            raise ValueError(
                f"{path}{_line_of(text, 'job')}, {place}: it is {value}; write it as a [[job]] "
                "table."
            )
        yield place, {**common, **row}


def _line_of(text: str, key: str) -> str:
    """Return the place of a top-level key in a TOML file for a message, or nothing."""
    pattern = rf"^[ \t]*\[{{0,2}}[ \t]*[\"']?{re.escape(key)}\b"
    match = re.search(pattern, text, re.MULTILINE)
    return f", line {text.count(chr(10), 0, match.start()) + 1}" if match else ""


def _parse_job(
    folder: FilePath, row: dict[str, Any], index: int, defaults: Defaults, template: str
) -> Job:
    for name in row:
        if name not in _COLUMNS:
            hint = suggest(name, _COLUMNS, f"columns are {', '.join(_COLUMNS)}.")
            raise ValueError(f"unknown column {name!r}; {hint}")
    for name in ("content", "output", "init", "preset"):
        if not isinstance(row.get(name, ""), str):
            raise ValueError(f"`{name}` is {reprlib.repr(row[name])}; it must be text.")
    styles, masks = (_parse_paths(folder, row, name) for name in ("style", "mask"))
    for name, given in (("content", row.get("content")), ("style", styles)):
        if not given:
            raise ValueError(f"`{name}` is missing; every job needs it.")
    preset = row.get("preset")
    if preset is not None:
        check_one_of("preset", preset, PRESETS)
    start = None if row.get("init") else defaults.start
    if row.get("init") and row["init"] not in get_args(Init):
        start = _join(folder, row.pop("init"))
    fields = read_fields({name: value for name, value in row.items() if name in FIELDS})
    config = defaults.config(preset, **fields)
    content = _join(folder, row["content"])
    if any("\0" in str(path) for path in (content, *styles, *masks, start)):
        raise ValueError("a file name contains a NUL character; remove it.")
    if masks and len(masks) != len(styles):
        raise ValueError(
            f"{len(masks)} masks for {len(styles)} styles; give one mask per style image."
        )
    if "output" in row:
        output = check_output_name(row["output"])
    else:
        output = output_name(template, content, styles, index, config, root=folder)
    return Job(content, styles, output, config, masks, start)


def _parse_paths(folder: FilePath, row: dict[str, Any], column: str) -> tuple[FilePath, ...]:
    value = row.get(column, "")
    names = value.split(";") if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        value = reprlib.repr(value)
        raise ValueError(f"`{column}` is {value}; it must be a file name or a list of them.")
    return tuple(_join(folder, name.strip()) for name in names if name.strip())


def _join(folder: FilePath, name: str) -> FilePath:
    """Return the path of a file that is relative to a folder, unless it is a URL."""
    return to_path(name) if "://" in name else folder / name


def check_jobs(jobs: Sequence[Job], folder: FilePath) -> None:
    """Raise if the jobs conflict or their inputs are missing.

    Args:
      jobs: all jobs of a batch.
      folder: output folder.

    Raises:
      ImageReadError: input files are missing.
      ValueError: two jobs have the same output, or an output would overwrite an input or is a
        folder of another one.
      WriteError: the name of an output is too long.
    """
    first_by_output: dict[str, Job] = {}
    limit = name_limit(folder)
    inputs = {path for job in jobs for paths in job.inputs.values() for path in paths}
    real_path = RealPaths()
    input_paths = {real_path(path) for path in inputs}
    for job in jobs:
        # Some file systems ignore case.
        first = first_by_output.setdefault(job.output.casefold(), job)
        if first is not job:
            other = first.content != job.content
            names = "{folder}/{content}_{ext}_{style}.png" if other else "{content}_{index}.png"
            raise ValueError(
                f"{first.content} in {first.styles[0]} and {job.content} in {job.styles[0]} would "
                f"both be {job.output!r}; use another `--name`, for example {names!r}."
            )
        if len(job.output) * _MAX_BYTES_PER_CHARACTER > limit:
            check_name(Path(job.output), limit)
        if real_path(f"{folder}/{job.output}") in input_paths:
            raise ValueError(
                f"output {job.output!r} would overwrite an input; use another name or folder."
            )
    for job in jobs:
        if "/" not in job.output:
            continue
        for parent in PurePosixPath(job.output.casefold()).parents:
            if blocking := first_by_output.get(str(parent)):
                raise ValueError(
                    f"output {job.output!r} needs a folder where {blocking.output!r} is a file; "
                    "use another `--name`."
                )
    # Unlike `Path.exists`, this does not raise for a name that is too long.
    local = (path for path in inputs if not is_remote(path))
    missing = sorted(path for path in local if not os.path.lexists(path))
    if missing:
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise ImageReadError(f"{missing[0]} does not exist{more}.")
