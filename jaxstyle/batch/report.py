"""What came of a batch, to look at: `report.html`, which needs nothing beside it, and sheets."""

import base64
import html
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from jaxstyle.batch.jobs import Job
from jaxstyle.batch.ledger import Shard
from jaxstyle.errors import JaxstyleError
from jaxstyle.io import images
from jaxstyle.io.atomic import write_bytes

Record = dict[str, Any]

# Long edge of a thumbnail; pictures across and down a sheet.
_THUMBNAIL = 192
_ACROSS, _DOWN = 6, 8

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>jaxstyle: {title}</title>
<style>
body {{ font: 15px/1.4 system-ui, sans-serif; margin: 2rem auto; max-width: 1100px; padding: 0 1rem;
  color: #222; background: #fff; }}
table {{ border-collapse: collapse; width: 100%; table-layout: fixed; }}
col {{ width: 205px; }}
th {{ text-align: left; font-weight: 600; border-bottom: 2px solid #222; padding: .3rem .5rem; }}
td {{ border-bottom: 1px solid #ddd; padding: .5rem; vertical-align: top; }}
td.text {{ overflow-wrap: anywhere; }}
tr.failed td {{ background: #fdecea; }}
i.t {{ display: inline-block; background-size: 100% 100%; margin-right: .25rem; }}
small {{ color: #666; }}
svg {{ background: #f6f6f6; }}
{thumbnails}
</style>
</head>
<body>
<h1>{title}</h1>
<p>{summary}</p>
<table>
<colgroup><col><col><col><col style="width: 180px"><col style="width: auto"></colgroup>
<thead><tr><th>photograph</th><th>style</th><th>result</th><th>loss</th><th></th></tr></thead>
<tbody>
{rows}
</tbody>
</table>
</body>
</html>
"""


def write_report(
    folder: Path, shard: Shard, jobs: Sequence[Job], records: Sequence[Record]
) -> None:
    """Write `report.html` and `contact_sheet.jpg` into a batch's folder; of many, several sheets.

    Raises:
      WriteError: the disk is full, the folder read-only, ...
    """
    part = "" if shard.count == 1 else f"_{shard.index}_of_{shard.count}"
    by_output = {record["output"]: record for record in records}
    pairs = [(job, by_output[job.output]) for job in jobs if job.output in by_output]
    album = _Album()
    page = _page(folder, pairs, album)
    write_bytes(folder / f"report{part}.html", page.encode("utf-8", "backslashreplace"))
    done = [(job, record) for job, record in pairs if record["status"] == "done"]
    size = _ACROSS * _DOWN
    for number, begin in enumerate(range(0, len(done), size), start=1):
        sheet = _sheet(folder, done[begin : begin + size], album)
        suffix = f"_{number}" if len(done) > size else ""
        data = images.encode_image(sheet, "JPEG")
        write_bytes(folder / f"contact_sheet{part}{suffix}.jpg", data)


class _Album:
    """Thumbnails, each made once and numbered; a picture that cannot be read has none."""

    def __init__(self):
        self._pictures: dict[Path, tuple[int, Image.Image | None]] = {}

    def get(self, path: Path) -> tuple[int, Image.Image | None]:
        if path not in self._pictures:
            try:
                picture = images.read_thumbnail(path, _THUMBNAIL)
            except (JaxstyleError, OSError):
                picture = None
            self._pictures[path] = len(self._pictures), picture
        return self._pictures[path]

    def tag(self, path: Path) -> str:
        """HTML of a thumbnail; its pixels are in the style sheet, once."""
        number, picture = self.get(path)
        if picture is None:
            return "<small>no picture</small>"
        name = html.escape(path.name, quote=True)
        return f'<i class="t t{number}" role="img" title="{name}" aria-label="{name}"></i>'

    def style_sheet(self) -> Iterator[str]:
        for number, picture in self._pictures.values():
            if picture is not None:
                buffer = io.BytesIO()
                picture.save(buffer, "JPEG", quality=80)
                data = base64.b64encode(buffer.getvalue()).decode()
                width, height = picture.size
                yield (
                    f"i.t{number} {{ width: {width}px; height: {height}px; "
                    f"background-image: url(data:image/jpeg;base64,{data}); }}"
                )


def _page(folder: Path, pairs: Sequence[tuple[Job, Record]], album: _Album) -> str:
    done = [record for _, record in pairs if record["status"] == "done"]
    seconds = sum(record["seconds"] for record in done)
    summary = (
        f"{len(done)} of {len(pairs)} pictures done, {len(pairs) - len(done)} failed; "
        f"{seconds / 60:.1f} minutes of work."
    )
    rows = "\n".join(_row(folder, job, record, album) for job, record in pairs)
    return _PAGE.format(
        title=html.escape(folder.absolute().name),
        summary=summary,
        rows=rows,
        thumbnails="\n".join(album.style_sheet()),
    )


def _row(folder: Path, job: Job, record: Record, album: _Album) -> str:
    failed = record["status"] != "done"
    name = html.escape(record["output"])
    styles = " ".join(album.tag(path) for path in job.styles)
    if failed:
        result, curve = f"<b>failed</b><br>{html.escape(record['error'])}", ""
    else:
        result, curve = album.tag(folder / job.output), _curve(record["curve"])
    about = [name]
    if not failed:
        about += [
            f"{record['width']}×{record['height']}",
            f"{record['steps']} steps, {record['seconds']:.1f} s",
            f"loss {record['loss']:.4g}",
            *(f"{html.escape(k)} {v:.3g}" for k, v in record["terms"].items()),
        ]
    return (
        f'<tr class="{record["status"]}"><td>{album.tag(job.content)}</td><td>{styles}</td>'
        f'<td class="text">{result}</td><td>{curve}</td>'
        f'<td class="text"><small>{"<br>".join(about)}</small></td></tr>'
    )


def _curve(losses: Sequence[float]) -> str:
    """Loss over steps as SVG, on a logarithmic scale."""
    width, height = 160, 80
    logs = np.log10(np.maximum(losses, 1e-12))
    low, high = float(logs.min()), float(logs.max())
    across = np.linspace(2, width - 2, len(logs))
    down = 2 + (high - logs) / max(high - low, 1e-9) * (height - 4)
    points = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(across, down, strict=True))
    return (
        f'<svg width="{width}" height="{height}" role="img" aria-label="loss from '
        f'{losses[0]:.3g} to {losses[-1]:.3g}"><polyline points="{points}" fill="none" '
        f'stroke="#1a5fb4" stroke-width="1.5"/></svg><br><small>{10**high:.3g} to '
        f"{10**low:.3g}, log scale</small>"
    )


def _sheet(folder: Path, pairs: Sequence[tuple[Job, Record]], album: _Album) -> np.ndarray:
    """Results side by side, with their names."""
    cell, line = _THUMBNAIL + 8, 14
    across = min(_ACROSS, len(pairs))
    down = -(-len(pairs) // across)
    sheet = Image.new("RGB", (across * cell, down * (cell + line)), "white")
    draw = ImageDraw.Draw(sheet)
    for number, (job, record) in enumerate(pairs):
        x, y = number % across * cell + 4, number // across * (cell + line) + 4
        _, picture = album.get(folder / job.output)
        if picture is not None:
            inset = (_THUMBNAIL - picture.width) // 2, (_THUMBNAIL - picture.height) // 2
            sheet.paste(picture, (x + inset[0], y + inset[1]))
        name = record["output"].encode("ascii", "replace").decode()
        draw.text((x, y + _THUMBNAIL + 2), name[-31:], fill="black")
    return np.asarray(sheet, np.float32) / 255
