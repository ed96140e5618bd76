"""Reports of a batch: `report.html`, a single file, and contact sheets."""

import base64
import html
import io
from collections.abc import Iterator, Sequence
from importlib.resources import files
from string import Template

import numpy as np
from PIL import Image

from jaxstyle.analysis.curve import draw_curve
from jaxstyle.analysis.grid import draw_grid
from jaxstyle.batch.jobs import Job
from jaxstyle.batch.ledger import Record, Shard
from jaxstyle.batch.outcomes import Outcomes
from jaxstyle.errors import JaxstyleError
from jaxstyle.io import images
from jaxstyle.io.atomic import remove_partials, write_bytes
from jaxstyle.io.remote import FilePath, is_remote

_THUMBNAIL_SIZE = 192
_SHEET_COLUMNS, _SHEET_ROWS = 6, 8
_CAPTION_LENGTH = 30


def write_report(folder: FilePath, shard: Shard, jobs: Sequence[Job], outcomes: Outcomes) -> None:
    """Write `report.html` and `contact_sheet.jpg` into a batch's folder.

    Large batches get several numbered sheets. Of more than a thousand jobs, the page and the
    sheets show those whose records `outcomes` keeps.

    Raises:
      WriteError: the disk is full, the folder is read-only, ...
    """
    part = "" if shard.count == 1 else f"_{shard.index}_of_{shard.count}"
    pairs = [(jobs[index], record) for index, record in sorted(outcomes.records.items())]
    thumbnails = _Thumbnails()
    page = _render_page(folder, pairs, outcomes, thumbnails)
    outputs = [record["output"] for _, record in pairs if record["status"] == "done"]
    size = _SHEET_COLUMNS * _SHEET_ROWS
    begins = range(0, len(outputs), size)
    report = folder / f"report{part}.html"
    numbers = [f"_{n}" for n in range(1, len(begins) + 1)] if len(begins) > 1 else [""]
    sheets = [folder / f"contact_sheet{part}{number}.jpg" for number in numbers]
    remove_partials(folder, [path.name for path in (report, *sheets)])
    write_bytes(report, page.encode("utf-8", "backslashreplace"))
    for path, begin in zip(sheets, begins, strict=False):
        sheet = _draw_sheet(folder, outputs[begin : begin + size], thumbnails)
        write_bytes(path, images.encode_image(sheet, "JPEG"))


class _Thumbnails:
    """Thumbnails by path, each made once and numbered; `None` for a file that cannot be read."""

    def __init__(self):
        self._images: dict[FilePath, tuple[int, Image.Image | None]] = {}

    def get(self, path: FilePath) -> tuple[int, Image.Image | None]:
        if path not in self._images:
            try:
                image = images.read_thumbnail(path, _THUMBNAIL_SIZE)
            except (JaxstyleError, OSError, MemoryError):
                image = None
            self._images[path] = len(self._images), image
        return self._images[path]

    def tag(self, path: FilePath) -> str:
        """Return the HTML of a thumbnail, whose pixels are in the style sheet."""
        number, image = self.get(path)
        if image is None:
            return "<small>no image</small>"
        name = html.escape(path.name, quote=True)
        return f'<i class="t t{number}" role="img" title="{name}" aria-label="{name}"></i>'

    def style_sheet(self) -> Iterator[str]:
        for number, image in self._images.values():
            if image is not None:
                buffer = io.BytesIO()
                image.save(buffer, "JPEG", quality=80)
                data = base64.b64encode(buffer.getvalue()).decode()
                width, height = image.size
                yield (
                    f"i.t{number} {{ width: {width}px; height: {height}px; "
                    f"background-image: url(data:image/jpeg;base64,{data}); }}"
                )


def _render_page(
    folder: FilePath,
    pairs: Sequence[tuple[Job, Record]],
    outcomes: Outcomes,
    thumbnails: _Thumbnails,
) -> str:
    count = outcomes.done + outcomes.failed
    summary = (
        f"{outcomes.done} of {count} images done, {outcomes.failed} failed; "
        f"{outcomes.seconds / 60:.1f} minutes of work."
    )
    if len(pairs) < count:
        summary += f" Shown are {len(pairs)}, spread over the list; jobs.jsonl has all."
    rows = "\n".join(_render_row(folder, job, record, thumbnails) for job, record in pairs)
    template = Template((files("jaxstyle.batch") / "report.html").read_text())
    return template.substitute(
        title=html.escape(folder.name if is_remote(folder) else folder.absolute().name),
        summary=summary,
        rows=rows,
        thumbnails="\n".join(thumbnails.style_sheet()),
    )


def _render_row(folder: FilePath, job: Job, record: Record, thumbnails: _Thumbnails) -> str:
    styles = " ".join(thumbnails.tag(path) for path in job.styles)
    facts = [html.escape(record["output"])]
    if record["status"] != "done":
        result, curve = f"<b>failed</b><br>{html.escape(record['error'])}", ""
    else:
        result = thumbnails.tag(folder / job.output)
        curve = draw_curve(record["curve"])
        facts += [
            f"{record['width']}×{record['height']}",
            f"{record['steps']} steps, {record['seconds']:.1f} s",
            f"loss {record['loss']:.4g}",
            *(f"{html.escape(k)} {v:.3g}" for k, v in record["terms"].items()),
        ]
    return (
        f'<tr class="{record["status"]}"><td>{thumbnails.tag(job.content)}</td><td>{styles}</td>'
        f'<td class="text">{result}</td><td>{curve}</td>'
        f'<td class="text"><small>{"<br>".join(facts)}</small></td></tr>'
    )


def _draw_sheet(folder: FilePath, outputs: Sequence[str], thumbnails: _Thumbnails) -> np.ndarray:
    """Draw results side by side, with their names below."""
    cells = []
    for output in outputs:
        _, image = thumbnails.get(folder / output)
        image = image or Image.new("RGB", (_THUMBNAIL_SIZE, _THUMBNAIL_SIZE), "white")
        caption = output.encode("ascii", "replace").decode()
        if len(caption) > _CAPTION_LENGTH:
            caption = f"...{caption[3 - _CAPTION_LENGTH :]}"
        cells.append((np.asarray(image, np.float32) / 255, caption))
    rows = [cells[i : i + _SHEET_COLUMNS] for i in range(0, len(cells), _SHEET_COLUMNS)]
    return draw_grid(rows)
