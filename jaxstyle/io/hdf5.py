"""Reading HDF5 files of unknown origin: what a file declares is checked before its values are read.

Links, external storage and virtual datasets are refused, so that no other file is read.
"""

import contextlib
import itertools
import math
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from jaxstyle.errors import WeightsError, printable

_MAX_OBJECTS = 10_000
_MAX_CHUNKS = 10_000
_MAX_CHUNK_BYTES = 2**26
_MAX_ATTRIBUTES = 100
_MAX_TEXT = 10_000
_DEFLATE = h5py.h5z.FILTER_DEFLATE
_FILTERS = {h5py.h5z.FILTER_SHUFFLE, _DEFLATE, h5py.h5z.FILTER_FLETCHER32}


def check_file(path: Path, origin: str = "", advice: str = "correct the path") -> None:
    """Check that a weights file can be opened, without waiting for a pipe or a device.

    Args:
      path: the weights file.
      origin: where the path comes from, for the message.
      advice: what to do if the file does not exist.

    Raises:
      WeightsError: the file is missing, unreadable, or not a regular file.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise WeightsError(f"weights file {path}{origin} is not a regular file; name a file.")
        path.open("rb").close()
    except FileNotFoundError:
        raise WeightsError(f"weights file {path}{origin} does not exist; {advice}.") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise WeightsError(f"cannot read weights file {path}{origin}: {reason}.") from error


@contextlib.contextmanager
def open_hdf5(path: Path, advice: str = "copy it again") -> Iterator[h5py.File]:
    """Open an HDF5 file for reading. Any failure in the block is a `WeightsError`.

    Args:
      path: the file.
      advice: what to do if it is damaged.

    Raises:
      WeightsError: the file is missing, damaged, or not an HDF5 file.
    """
    check_file(path)
    try:
        with h5py.File(path, "r") as file:
            yield file
    except (WeightsError, MemoryError):
        raise
    except Exception as error:
        # The exception class of h5py depends on the damage, and its messages span several lines.
        size = path.stat().st_size if path.exists() else 0
        raise WeightsError(
            f"weights file {path} ({size} bytes) is not a complete HDF5 file; {advice}."
        ) from error


def find_dataset(file: h5py.File, name: str) -> h5py.Dataset | None:
    """Return the dataset of a name, or None.

    Raises:
      WeightsError: a part of the name is a link.
    """
    item = file
    for part in name.split("/"):
        item = _member(item, part) if isinstance(item, h5py.Group) else None
    return item if isinstance(item, h5py.Dataset) else None


def find_datasets(file: h5py.File) -> Iterator[tuple[str, h5py.Dataset]]:
    """Yield the names and the datasets of a file.

    Raises:
      WeightsError: the file contains a link, or very many objects.
    """
    pending: list[tuple[str, h5py.Group]] = [("", file)]
    seen: set[h5py.Group] = set()
    count = 0
    while pending:
        prefix, group = pending.pop()
        # Hard links can form a cycle.
        if group in seen:
            continue
        seen.add(group)
        for part in group:
            count += 1
            if count > _MAX_OBJECTS:
                raise WeightsError(
                    f"weights file {file.filename} has more than {_MAX_OBJECTS} objects; "
                    "use a file of VGG19 alone."
                )
            # h5py returns names that are not UTF-8 as bytes; VGG19 has none.
            if not isinstance(part, str):
                continue
            item, name = _member(group, part), f"{prefix}{part}"
            if isinstance(item, h5py.Dataset):
                yield name, item
            elif isinstance(item, h5py.Group):
                pending.append((f"{name}/", item))


def _member(group: h5py.Group, part: str) -> h5py.HLObject | None:
    link = group.get(part, getlink=True)
    if link is None:
        return None
    if not isinstance(link, h5py.HardLink):
        raise WeightsError(
            f"weights file {group.file.filename}: {_shown(group, part)} is a link; "
            "copy the file with its links resolved."
        )
    return group[part]


def read_values(dataset: h5py.Dataset, shape: tuple[int, ...]) -> np.ndarray:
    """Return the values of a dataset, as stored.

    Args:
      dataset: dataset of float16, float32 or float64.
      shape: its required shape.

    Raises:
      WeightsError: it has another shape or dtype, its values are stored in another file, or a
        value is not finite in float32.
    """
    problem = _shape_problem(dataset, shape) or _storage_problem(dataset)
    if problem is None:
        values = dataset[()]
        # Values beyond float32 become infinite.
        with np.errstate(over="ignore"):
            if np.isfinite(values.astype(np.float32)).all():
                return values
        problem = "contains values that are not finite in float32; convert the weights again."
    name = _shown(dataset)
    raise WeightsError(f"weights file {dataset.file.filename}: {name} {problem}")


def _shape_problem(dataset: h5py.Dataset, shape: tuple[int, ...]) -> str | None:
    if dataset.shape != shape:
        return f"has shape {printable(dataset.shape, 80)}; it must be {shape}."
    if dataset.dtype.kind != "f" or dataset.dtype.itemsize not in (2, 4, 8):
        dtype = printable(dataset.dtype, 40)
        return f"has dtype {dtype}; it must be float16, float32 or float64."
    return None


def _storage_problem(dataset: h5py.Dataset) -> str | None:
    plist = dataset.id.get_create_plist()
    if dataset.is_virtual or plist.get_external_count():
        return "keeps its values in another file; store them in this one."
    filters = [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]
    if not _FILTERS.issuperset(filters) or len(set(filters)) != len(filters):
        return f"is compressed with the HDF5 filters {filters}; store it with gzip, or plainly."
    if dataset.chunks is None:
        return None
    chunk_bytes = math.prod(dataset.chunks) * dataset.dtype.itemsize
    if chunk_bytes > _MAX_CHUNK_BYTES or dataset.id.get_num_chunks() > _MAX_CHUNKS:
        return (
            f"is stored in chunks of shape {printable(dataset.chunks, 80)}; store it in one chunk."
        )
    stored: list[h5py.h5d.StoreInfo] = []
    dataset.id.chunk_iter(stored.append)
    deflate = 1 << filters.index(_DEFLATE) if _DEFLATE in filters else 0
    for chunk in stored:
        # Filters add a few bytes. A set bit of the mask means that a filter was left out.
        inflates = deflate and not chunk.filter_mask & deflate
        if chunk.size > 2 * chunk_bytes + 64 or (
            inflates and _inflates_beyond(dataset, chunk, chunk_bytes)
        ):
            return "has a chunk that is longer than declared; copy the file again."
    return None


def _inflates_beyond(dataset: h5py.Dataset, chunk: h5py.h5d.StoreInfo, limit: int) -> bool:
    """Return whether a compressed chunk exceeds its size; HDF5 itself inflates without limit."""
    _, raw = dataset.id.read_direct_chunk(chunk.chunk_offset)
    return len(zlib.decompressobj().decompress(raw, limit + 1)) > limit


def read_attributes(file: h5py.File) -> dict[str, str]:
    """Return the attributes of a file that are texts of at most 10 000 characters."""
    attributes = {}
    for name in itertools.islice(file.attrs, _MAX_ATTRIBUTES):
        attribute = file.attrs.get_id(name)
        text = h5py.check_string_dtype(attribute.dtype)
        if attribute.shape == () and text and (text.length or 0) <= _MAX_TEXT:
            value = _text(file.attrs[name])
            if len(value) <= _MAX_TEXT:
                attributes[_text(name)] = value
    return attributes


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _shown(item: h5py.HLObject, part: str = "") -> str:
    name = f"{item.name or ''}/{part}" if part else item.name or "a dataset"
    return printable(name.lstrip("/"), 80)
