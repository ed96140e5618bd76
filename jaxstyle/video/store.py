"""Frames of a run on disk, so that a run that was killed goes on where it ended.

The folder holds `video.json`, what determines the results; a folder of PNG files per pass; and a
ledger as that of a batch, with a line for each finished frame.
"""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from jaxstyle.batch.ledger import Ledger, Shard
from jaxstyle.batch.locks import lock_output
from jaxstyle.errors import WriteError
from jaxstyle.io.atomic import write_bytes
from jaxstyle.io.images import encode_image

_RECORD = "video.json"


class FrameStore:
    """Results of a video's frames, as 8-bit images.

    The run that made a result also reads it back as it was stored: frames after a resume are
    the same as without.
    """

    def __init__(self, folder: Path):
        self._folder, self._ledger = folder, Ledger(folder, Shard())
        self._records = {record["output"]: record for record in self._ledger.read_own()}

    def __len__(self) -> int:
        """Return the number of frames of all passes."""
        return len(self._records)

    def get(self, number: int, frame: int) -> dict[str, Any] | None:
        """Return what `write` was told of a frame in pass `number`, or `None`."""
        name = _name(number, frame)
        return self._records.get(name) if (self._folder / name).is_file() else None

    def has(self, number: int, frame: int) -> bool:
        """Return whether a frame is finished in pass `number`."""
        return self.get(number, frame) is not None

    def path(self, number: int, frame: int) -> Path:
        """Return the file of a frame."""
        return self._folder / _name(number, frame)

    def read(self, number: int, frame: int) -> np.ndarray:
        """Return the result of a frame, `uint8[h, w, 3]`."""
        with Image.open(self.path(number, frame)) as image:
            return np.asarray(image)

    def write(self, number: int, frame: int, image: Any, **fields: Any) -> dict[str, Any]:
        """Store the result of a frame, RGB in [0, 1], then a record of it, which is returned.

        Raises:
          WriteError: it cannot be written.
        """
        path = self.path(number, frame)
        try:
            path.parent.mkdir(exist_ok=True)
        except OSError as error:
            raise WriteError(f"cannot write {path}: {error.strerror or error}.") from error
        write_bytes(path, encode_image(image, "PNG"))
        record = {**fields, "output": _name(number, frame)}
        self._ledger.append(record)
        self._records[record["output"]] = record
        return record


def _name(number: int, frame: int) -> str:
    return f"pass{number}/{frame + 1:06}.png"


@contextlib.contextmanager
def open_store(folder: Path, record: dict[str, Any]) -> Iterator[FrameStore]:
    """Open the folder of a run's frames, which is made if there is none.

    Args:
      folder: the folder.
      record: what determines the results; frames that it has must have been made with the same.

    Raises:
      WriteError: another process uses the folder, or it belongs to another run.
    """
    with lock_output(folder):
        path, text = folder / _RECORD, json.dumps(record, indent=2, sort_keys=True) + "\n"
        store = FrameStore(folder)
        if not path.exists() or not len(store):
            write_bytes(path, text.encode())
        elif path.read_bytes() != text.encode():
            raise WriteError(
                f"{folder} holds the frames of a run with other inputs or options; delete it, or "
                "give another output."
            )
        yield store
