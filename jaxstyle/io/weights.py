"""Weights files: HDF5 that carries its own origin and checksum, checked as it is read.

One file holds one network: a float16 or float32 data set per leaf (`conv1_1/kernel`,
HWIO), and attributes `source`, `license`, `normalization`, `sha256` (of the leaves).
Nothing is unpickled here; PyTorch's files are converted by `scripts/convert_vgg19.py`.
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
from jaxstyle.vgg19 import PARAM_SHAPES

Arrays = Mapping[str, Mapping[str, np.ndarray]]
Shapes = Mapping[str, Mapping[str, tuple[int, ...]]]

ENVIRONMENT = "JAXSTYLE_WEIGHTS"
"""Environment variable with the path of a weights file to use instead of the embedded one."""

_HERE = Path(__file__).parent.parent
# Start of the SHA-256 of the release whose features the embedded decoder was trained to turn back.
_ENCODER = "804ca283"
# In a wheel the files lie inside the package, in a checkout beside it.
_FOLDERS = (_HERE / "weights", _HERE.parent / "weights")


def weights_path(path: str | os.PathLike[str] | None = None) -> Path:
    """Path of the weights file in use: `path`, else `$JAXSTYLE_WEIGHTS`, else the embedded one.

    Raises:
      WeightsError: there is no file there.
    """
    given = path or os.environ.get(ENVIRONMENT)
    if given:
        found = Path(given)
        if not found.is_file():
            where = "" if path else f" (from ${ENVIRONMENT})"
            raise WeightsError(
                f"weights file {found}{where} does not exist; leave it out for the embedded one."
            )
        return found
    return _embedded("vgg19.h5")


def _embedded(name: str) -> Path:
    for folder in _FOLDERS:
        if (folder / name).is_file():
            return folder / name
    raise WeightsError(
        f"the embedded weights file {name} is missing; install jaxstyle again, or name a VGG19 "
        f"with --weights or ${ENVIRONMENT}."
    )


def load_weights(
    path: str | os.PathLike[str] | None = None, *, decoder: bool = False, limit: float = 6.0
) -> dict[str, dict[str, Any]]:
    """VGG19's weights, float32: `{"conv1_1": {"kernel": ..., "bias": ...}, ..., "color": ...}`.

    Args:
      path: a file in this package's format; by default `$JAXSTYLE_WEIGHTS` or the embedded one.
      decoder: also the weights of AdaIN's decoder, as `"decoder"`; it fits limits from 5.5 on.
      limit: norm of a filter at most, in medians of its layer, see `limit_filters`;
        infinity for the weights as they are stored.

    Raises:
      WeightsError: the file is missing, damaged, or holds another network; with `decoder`, it
        is not the one that the decoder was trained for.
    """
    path = weights_path(path)
    arrays, attributes = read_weights(path)
    params: dict[str, Any] = jax.tree.map(_float32, limit_filters(arrays, limit))
    if decoder:
        if not attributes.get("source_sha256", "").startswith(_ENCODER):
            raise WeightsError(f"AdaIN's decoder fits the embedded weights, not those of {path}.")
        arrays, _ = read_weights(_embedded("adain_decoder.h5"), DECODER_SHAPES)
        params["decoder"] = jax.tree.map(_float32, arrays)
    return params


def limit_filters(params: Arrays, limit: float) -> dict[str, dict[str, np.ndarray]]:
    """Weights whose filters have at most `limit` times the median norm of their layer.

    A filter that hardly ever fires has a huge scale where its mean activation was made 1: in the
    embedded weights number 291 of conv4_2 has 37 times the median norm. When it does fire, in one
    place, the content loss doubles within a step, and Adam's second moments remember that for a
    hundred steps, in which a region as wide as the receptive field stands still as speckle. What
    is taken from a filter is given to the next layer's kernel, so that only its own map changes,
    by a known factor.
    """
    limited = {name: dict(leaves) for name, leaves in params.items()}
    convs = [name for name in limited if name.startswith("conv")]
    scale = np.ones(3, np.float32)
    for name in sorted(convs):
        kernel = np.asarray(params[name]["kernel"], np.float32)
        norms = np.linalg.norm(kernel.reshape(-1, kernel.shape[-1]), axis=0)
        kernel = kernel / scale[:, None]
        scale = np.minimum(1, limit * np.median(norms) / np.maximum(norms, 1e-30))
        limited[name] = {"kernel": kernel * scale, "bias": params[name]["bias"] * scale}
    return limited


def _float32(leaf: np.ndarray) -> jax.Array:
    return jnp.asarray(np.asarray(leaf, np.float32))


def read_weights(
    path: Path, shapes: Shapes = PARAM_SHAPES
) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, str]]:
    """Leaves and attributes of a weights file, as stored.

    Args:
      path: the file.
      shapes: shape of every leaf that must be there.

    Raises:
      WeightsError: the file is unreadable, a leaf is missing or of another shape, or the
        checksum does not fit.
    """
    try:
        with h5py.File(path, "r") as file:
            attributes = {name: str(value) for name, value in file.attrs.items()}
            leaves = {
                layer: {
                    name: _leaf(file, path, f"{layer}/{name}", shape)
                    for name, shape in group.items()
                }
                for layer, group in shapes.items()
            }
    except (OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        # What h5py raises depends on the bytes that are wrong; its messages are of its C
        # library, and run over several lines.
        size = path.stat().st_size if path.exists() else 0
        raise WeightsError(
            f"weights file {path} ({size} bytes) is not a whole HDF5 file; copy it again."
        ) from error
    expected = attributes.get("sha256")
    if expected is not None and expected != checksum(leaves):
        raise WeightsError(
            f"weights file {path} is damaged: its values do not fit its checksum; copy it again."
        )
    return leaves, attributes


def _leaf(file: h5py.File, path: Path, name: str, shape: tuple[int, ...]) -> np.ndarray:
    dataset = file.get(name)
    if not isinstance(dataset, h5py.Dataset):
        raise WeightsError(
            f"weights file {path} has no {name}, so it is not a VGG19 of jaxstyle's; "
            "`jaxstyle weights convert` reads those of Keras."
        )
    if dataset.shape != shape:
        raise WeightsError(f"weights file {path}: {name} is {dataset.shape}; VGG19's is {shape}.")
    values = dataset[()]
    if not np.isfinite(values).all():
        raise WeightsError(f"weights file {path}: {name} holds values that are not finite.")
    return values


def write_weights(
    path: Path, params: Mapping[str, Mapping[str, Any]], dtype: str = "float16", **attributes: str
) -> None:
    """Write a weights file: kernels and biases as `dtype`, the color map as float32.

    Args:
      path: where to; replaced if it is there.
      params: leaves, as in `load_weights`.
      dtype: `float16` halves the file and moves features by less than 2e-3 of their size.
      attributes: e.g. `source`, `license`, `normalization`.

    Raises:
      WeightsError: a value is not finite, or too large for `dtype`.
      WriteError: the file cannot be written.
    """
    leaves = {
        layer: {
            # The color map holds large means, which float16 would round by 1/16.
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
                    raise WeightsError(f"{layer}/{name} is not finite as {dtype}; use float32.")
                file.create_dataset(
                    f"{layer}/{name}", data=leaf, shuffle=True, compression=9, chunks=leaf.shape
                )
        file.attrs.update({**attributes, "dtype": dtype, "sha256": checksum(leaves)})
    write_bytes(path, buffer.getvalue())


def _cast(leaf: Any, dtype: str) -> np.ndarray:
    # What float16 cannot hold becomes inf, which is looked for before it is written.
    with np.errstate(over="ignore"):
        return np.asarray(leaf, dtype)


def checksum(leaves: Arrays) -> str:
    """SHA-256 over names, shapes, dtypes and values of all leaves, in the order of names."""
    digest = hashlib.sha256()
    for layer in sorted(leaves):
        for name in sorted(leaves[layer]):
            leaf = np.ascontiguousarray(leaves[layer][name])
            digest.update(f"{layer}/{name} {leaf.shape} {leaf.dtype.str} ".encode())
            digest.update(leaf.tobytes())
    return digest.hexdigest()
