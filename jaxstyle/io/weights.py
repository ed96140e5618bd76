"""Weights files in HDF5, verified against their checksum when they are read.

A file holds one network: a float16 or float32 dataset per leaf (`conv1_1/kernel`, HWIO), and
the attributes `source`, `license`, `normalization` and `sha256` (of the leaves).
This module never unpickles; `scripts/convert_vgg19.py` converts PyTorch files.
"""

import hashlib
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import jax
import jax.numpy as jnp
import numpy as np

from jaxstyle.adain import DECODER_SHAPES
from jaxstyle.errors import WeightsError
from jaxstyle.io.atomic import write_bytes
from jaxstyle.io.hdf5 import (
    check_file,
    find_dataset,
    open_hdf5,
    read_attributes,
    read_values,
)
from jaxstyle.vgg19 import PARAM_SHAPES

Arrays = Mapping[str, Mapping[str, np.ndarray]]
Shapes = Mapping[str, Mapping[str, tuple[int, ...]]]

ENVIRONMENT = "JAXSTYLE_WEIGHTS"
"""Environment variable with the path of a weights file that replaces the embedded one."""

_PACKAGE = Path(__file__).parent.parent
# Start of the SHA-256 of the release whose features the embedded decoder was trained to invert.
_ENCODER_SHA256 = "804ca283"
# A wheel has the files inside the package, a checkout beside it.
_WEIGHTS_FOLDERS = (_PACKAGE / "weights", _PACKAGE.parent / "weights")


def weights_path(path: str | os.PathLike[str] | None = None) -> Path:
    """Return the weights file to use: `path`, else `$JAXSTYLE_WEIGHTS`, else the embedded one.

    Raises:
      WeightsError: the file does not exist, or is not a regular file.
    """
    requested = path or os.environ.get(ENVIRONMENT)
    if requested:
        file = Path(requested)
        origin = "" if path else f" (from ${ENVIRONMENT})"
        check_file(file, origin, "correct the path, or remove it to use the embedded weights")
        return file
    return _embedded_path("vgg19.h5")


def _embedded_path(name: str) -> Path:
    for folder in _WEIGHTS_FOLDERS:
        if (folder / name).is_file():
            return folder / name
    raise WeightsError(
        f"the embedded weights file {name} is missing; reinstall jaxstyle, or give a VGG19 file "
        f"with --weights or ${ENVIRONMENT}."
    )


def load_weights(
    path: str | os.PathLike[str] | None = None, *, decoder: bool = False
) -> dict[str, dict[str, Any]]:
    """Load the VGG19 weights as float32, as stored; see also `limit_filters`.

    Args:
      path: a weights file of jaxstyle; by default `$JAXSTYLE_WEIGHTS` or the embedded file.
      decoder: add the AdaIN decoder under the key `"decoder"`.

    Returns:
      `{"conv1_1": {"kernel": ..., "bias": ...}, ..., "color": {...}}`; kernels are HWIO.

    Raises:
      WeightsError: the file is missing, damaged, or of another network; or `decoder` is set and
        the decoder was trained for other weights.

    Example:
      >>> import jaxstyle
      >>> params = jaxstyle.load_weights()
      >>> sorted(params)[:4]
      ['color', 'conv1_1', 'conv1_2', 'conv2_1']
      >>> params["conv1_1"]["kernel"].shape, params["conv1_1"]["bias"].shape
      ((3, 3, 3, 64), (64,))
    """
    path = weights_path(path)
    arrays, attributes = read_weights(path)
    params: dict[str, Any] = jax.tree.map(_float32, arrays)
    if decoder:
        if not attributes.get("source_sha256", "").startswith(_ENCODER_SHA256):
            raise WeightsError(
                f"the AdaIN decoder requires the embedded weights, not {path}; use those, or "
                "an `init` other than 'adain'."
            )
        arrays, _ = read_weights(_embedded_path("adain_decoder.h5"), DECODER_SHAPES)
        params["decoder"] = jax.tree.map(_float32, arrays)
    return params


def _float32(leaf: np.ndarray) -> jax.Array:
    return jnp.asarray(np.asarray(leaf, np.float32))


def read_weights(
    path: Path, shapes: Shapes = PARAM_SHAPES
) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, str]]:
    """Return the leaves and attributes of a weights file, as stored.

    Args:
      path: the weights file.
      shapes: shapes of the required leaves.

    Raises:
      WeightsError: the file is unreadable, a leaf is missing, has another shape or dtype, is a
        link or is not finite, or the checksum does not match.
    """
    with open_hdf5(path) as file:
        attributes = read_attributes(file)
        leaves = {
            layer: {
                name: _read_leaf(file, path, f"{layer}/{name}", shape)
                for name, shape in group.items()
            }
            for layer, group in shapes.items()
        }
    expected = attributes.get("sha256")
    if expected is not None and expected != checksum(leaves):
        raise WeightsError(
            f"weights file {path} is damaged: its values do not match its checksum; copy it again."
        )
    return leaves, attributes


def _read_leaf(file: h5py.File, path: Path, name: str, shape: tuple[int, ...]) -> np.ndarray:
    dataset = find_dataset(file, name)
    if dataset is None:
        raise WeightsError(
            f"weights file {path} has no {name}, so it is not a VGG19 file of jaxstyle; "
            "`jaxstyle weights convert` converts Keras files."
        )
    return read_values(dataset, shape)


def write_weights(
    path: Path, params: Mapping[str, Mapping[str, Any]], dtype: str = "float16", **attributes: str
) -> None:
    """Write a weights file atomically.

    Args:
      path: file to create or replace.
      params: weights, as in `load_weights`.
      dtype: dtype of kernels and biases; the color map is always float32. `float16` halves the
        file size and changes features by less than 0.2 %.
      attributes: attributes of the file, e.g. `source`, `license`, `normalization`.

    Raises:
      WeightsError: a value is not finite, or is too large for `dtype`.
      WriteError: the file cannot be written.
    """
    leaves = {
        layer: {
            # float16 would round the large means in the color map by up to 1/16.
            name: _cast(leaf, "float32" if layer == "color" else dtype)
            for name, leaf in group.items()
        }
        for layer, group in params.items()
    }
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for layer, group in leaves.items():
            for name, leaf in group.items():
                if not np.isfinite(leaf).all():
                    lossy = dtype == "float16" and np.isfinite(params[layer][name]).all()
                    advice = "use float32" if lossy else "correct the source"
                    raise WeightsError(f"{layer}/{name} is not finite as {leaf.dtype}; {advice}.")
                file.create_dataset(
                    f"{layer}/{name}", data=leaf, shuffle=True, compression=9, chunks=leaf.shape
                )
        file.attrs.update({**attributes, "dtype": dtype, "sha256": checksum(leaves)})
    write_bytes(path, buffer.getvalue())


def _cast(leaf: Any, dtype: str) -> np.ndarray:
    # Values too large for float16 become infinite; `write_weights` rejects them.
    with np.errstate(over="ignore"):
        return np.asarray(leaf, dtype)


def checksum(leaves: Arrays) -> str:
    """Return the SHA-256 of the names, shapes, dtypes and values of all leaves, by name."""
    digest = hashlib.sha256()
    for layer in sorted(leaves):
        for name in sorted(leaves[layer]):
            leaf = np.ascontiguousarray(leaves[layer][name])
            digest.update(f"{layer}/{name} {leaf.shape} {leaf.dtype.str} ".encode())
            digest.update(leaf.tobytes())
    return digest.hexdigest()
