"""HDF5 files for `fuzz.py`: VGG19 in a few kilobytes, and damage to its structure."""

import contextlib
from pathlib import Path
from random import Random
from typing import Any

import h5py
import numpy as np

from jaxstyle.io.keras import CONVS
from jaxstyle.vgg19 import PARAM_SHAPES

_TEXTS = ("", "x", "\x1b[2J\x1b]0;owned\x07", "a\nb\r", "é", "x" * 60_000, "\0", "0" * 64)


def thin_network() -> None:
    """Divide the channels of VGG19 by 16 in this process, so that a file is read in no time."""
    for layer, leaves in PARAM_SHAPES.items():
        if layer != "color":
            for name, shape in leaves.items():
                leaves[name] = tuple(max(3, n // 16) if n > 3 else n for n in shape)


def write_network(path: Path, *, keras: bool) -> None:
    """Write a network whose datasets have the right shapes, but no values: HDF5 fills in zeros.

    Args:
      path: file to create.
      keras: use the layout of Keras 2.
    """
    with h5py.File(path, "w") as file:
        for layer, leaves in PARAM_SHAPES.items():
            if keras and layer not in CONVS:
                continue
            group = f"block{layer[4]}_conv{layer[6]}" if keras else layer
            for name, shape in leaves.items():
                dtype = "float32" if keras or layer == "color" else "float16"
                dataset = f"{group}/{group}/{name}:0" if keras else f"{group}/{name}"
                file.create_dataset(dataset, shape, dtype, chunks=shape, compression=9)
        file.attrs.update(source="fuzz", license="none", normalization="none", dtype="float16")


def damage_hdf5(random: Random, file: h5py.File, secret: Path) -> None:
    """Replace datasets, links and attributes by others that a file may contain.

    Args:
      random: decides about everything.
      file: file to change.
      secret: a file outside, to which links may point.
    """
    names: list[str] = []
    file.visititems(
        lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None
    )
    for _ in range(random.choice((1, 1, 2, 3))):
        # Early ones are read first, so that a refusal comes soon.
        name = random.choice(sorted(names)[: random.choice((2, 6, len(names)))])
        # HDF5 itself rejects some of the damage.
        with contextlib.suppress(OSError, ValueError, TypeError, RuntimeError, KeyError):
            if random.random() < 0.25:
                _add_attribute(random, file if random.random() < 0.7 else file[name])
                continue
            item: Any = file[name]
            if not isinstance(item, h5py.Dataset):
                continue
            shape = item.shape
            if random.random() < 0.9:
                del file[name]
            random.choice((_add_dataset, _add_dataset, _add_link, _add_storage))(
                random, file, name, shape, secret
            )


def _add_attribute(random: Random, item: Any) -> None:
    name = random.choice(("sha256", "source", "source_sha256", "dtype", *_TEXTS))
    item.attrs[name] = random.choice(
        (random.choice(_TEXTS), 1, float("nan"), b"\xff\xfe", np.zeros(5000), np.void(b"\x1b[2J"),
         h5py.Empty("f"), item.ref, [b"a", b"b"], np.zeros((), [("a", "f4")]), True, 1j)
    )  # fmt: skip


def _add_dataset(
    random: Random, file: h5py.File, name: str, shape: tuple[int, ...], secret: Path
) -> None:
    """Add a dataset with another dtype, shape, filter or fill value."""
    dtype: Any = random.choice(
        ("f2", "f4", "f8", ">f4", "i1", "u8", "i4", "?", "c8", "S7", "V5", np.dtype([("a", "f4")]),
         h5py.string_dtype(), h5py.vlen_dtype("f4"), h5py.ref_dtype, h5py.enum_dtype({"A": 1}),
         np.dtype(("f4", (2,))), np.longdouble, "M8[s]")
    )  # fmt: skip
    kind = random.randrange(5)
    options: dict[str, Any] = {}
    if kind == 0:
        shape = random.choice(((), (0,), (2**40,), (2**20, 2**20), (*shape, 1), shape[::-1], (3,)))
        dtype = random.choice(("f4", dtype))
    elif kind == 1:
        dtype = "f4"
        options["fillvalue"] = random.choice((np.nan, np.inf, -np.inf, 1e38, 1e-45))
    elif kind == 2:
        options.update(chunks=tuple(1 if s > 3 else s for s in shape) if shape else None)
        options["compression"] = random.choice(("gzip", "lzf", "szip", 32_001, 305))
        options["allow_unknown_filter"] = True
    elif kind == 3:
        options["maxshape"] = (None,) * len(shape)
    file.create_dataset(name, shape, dtype, **options)


def _add_link(
    random: Random, file: h5py.File, name: str, shape: tuple[int, ...], secret: Path
) -> None:
    kind = random.randrange(6)
    if kind == 0:
        file[name] = h5py.SoftLink(random.choice((f"/{name}", "/", "/missing", "/color/kernel")))
    elif kind == 1:
        file[name] = h5py.ExternalLink(
            random.choice((str(secret), "weights.h5", "/dev/zero", "missing.h5")), f"/{name}"
        )
    elif kind == 2:
        file.create_group(name)
    elif kind == 3:
        file[name] = file["/"]
    elif kind == 4:
        file[name] = np.dtype("f4")
    else:
        deep = name + "/x" * random.choice((2, 500))
        file.create_group(deep)


def _add_storage(
    random: Random, file: h5py.File, name: str, shape: tuple[int, ...], secret: Path
) -> None:
    """Add a dataset whose values lie in another file."""
    if random.random() < 0.5:
        source = random.choice((str(secret), "/dev/zero", "missing.bin", "../base/secret.bin"))
        file.create_dataset(name, shape, "f4", external=[(source, 0, h5py.h5f.UNLIMITED)])
        return
    layout = h5py.VirtualLayout(shape, "f4")
    source = random.choice((str(secret), ".", "missing.h5"))
    layout[...] = h5py.VirtualSource(source, name, shape)
    file.create_virtual_dataset(name, layout)
