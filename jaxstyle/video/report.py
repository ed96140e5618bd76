"""Report of a video: a page with a strip of frames and curves, or the same numbers as JSON."""

import base64
import html
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from jaxstyle.analysis.curve import draw_curve
from jaxstyle.io.atomic import write_bytes

STRIP = 6
"""Number of frames in the strip."""

Pair = tuple[UInt8[np.ndarray, "h w 3"], UInt8[np.ndarray, "h w 3"]]


def strip_numbers(count: int) -> list[int]:
    """Return the numbers of the frames in the strip of a video of `count` frames.

    Example:
      >>> from jaxstyle.video.report import strip_numbers
      >>> strip_numbers(11), strip_numbers(2)
      ([0, 2, 4, 6, 8, 10], [0, 1])
    """
    return sorted({round(n) for n in np.linspace(0, count - 1, STRIP)})


def write_report(
    path: Path,
    summary: Mapping[str, Any],
    provenance: Mapping[str, Any],
    records: Sequence[Mapping[str, Any]],
    strip: Iterable[Pair],
) -> None:
    """Write the report of a video.

    Args:
      path: file to write, .html or .json.
      summary: fields of the result.
      provenance: what determines the result.
      records: the record of each frame, in order.
      strip: frames and results to show.

    Raises:
      WriteError: it cannot be written.
    """
    if path.suffix.lower() == ".json":
        report = {**provenance, **summary, "frames": list(records)}
        write_bytes(path, (json.dumps(report, indent=2) + "\n").encode())
        return
    losses = [record["loss"] for record in records if record["loss"] is not None]
    changes = [record["change"] for record in records if record["change"] is not None]
    curves = []
    if losses:
        curves.append(f"<h2>Loss of each frame</h2>{draw_curve(losses)}")
    if changes:
        curve = draw_curve(changes, "change", logarithmic=False)
        text = "Difference to the frames before, where the flow is reliable (RMS, of 255)"
        curves.append(f"<h2>{text}</h2>{curve}<small>; mean {np.mean(changes):.3g}</small>")
    shots = [number for number, record in enumerate(records, 1) if record["new_shot"]]
    template = Template((files("jaxstyle.video") / "report.html").read_text())
    page = template.substitute(
        title=html.escape(summary["output"]["file"]),
        summary=f"{len(records)} frames in {summary['seconds'] / 60:.1f} minutes; shots begin at "
        f"frames {', '.join(map(str, shots[:50]))}{' ...' if len(shots) > 50 else ''}.",
        strip="\n".join(f"<div>{_tag(frame)}{_tag(result)}</div>" for frame, result in strip),
        curves="\n".join(curves),
        options=html.escape(json.dumps(provenance, indent=2)),
    )
    write_bytes(path, page.encode("utf-8", "backslashreplace"))


def _tag(pixels: np.ndarray) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=88)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="" src="data:image/jpeg;base64,{data}">'
