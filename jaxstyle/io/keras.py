"""Weights of VGG19 as Keras released them, to the leaves of `jaxstyle.weights`."""

import re
from pathlib import Path

import h5py
import numpy as np

from jaxstyle.errors import WeightsError
from jaxstyle.vgg19 import PARAM_SHAPES

Tree = dict[str, dict[str, np.ndarray]]

CONVS: tuple[str, ...] = tuple(name for name in PARAM_SHAPES if name.startswith("conv"))
"""Names of the 16 convolutions, shallow to deep."""

CAFFE_COLOR = {
    # RGB in [0, 1] to BGR in [0, 255] minus the mean pixel of ImageNet: the space of the
    # original Caffe release, which Keras' weights share.
    "kernel": np.fliplr(np.eye(3, dtype=np.float32)) * np.float32(255),
    "bias": -np.array([103.939, 116.779, 123.68], np.float32),
}
"""The color map of weights that descend from Caffe's."""


def from_keras(path: Path) -> Tree:
    """Leaves from a Keras file of VGG19, with or without its classifier.

    Reads the layout of Keras 1 and 2 (`block1_conv1/...`, as in the release
    `vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5` and in whole saved models) and that of
    Keras 3 (`layers/conv2d_3/vars/0`, files named `.weights.h5`).

    Raises:
      WeightsError: the file is unreadable or holds no VGG19.
    """
    found: dict[str, list[np.ndarray]] = {name: [] for name in CONVS}

    def visit(name: str, item: h5py.Group | h5py.Dataset) -> None:
        conv = _keras_layer(name)
        if conv in found and isinstance(item, h5py.Dataset):
            found[conv].append(np.asarray(item[()], np.float32))

    try:
        with h5py.File(path, "r") as file:
            file.visititems(visit)
    except FileNotFoundError:
        raise WeightsError(f"{path} does not exist.") from None
    except OSError as error:
        raise WeightsError(
            f"{path} is not a whole HDF5 file. Keras' weights end in .h5; those of PyTorch are "
            "converted by scripts/convert_vgg19.py of the source tree."
        ) from error
    tree: Tree = {"color": dict(CAFFE_COLOR)}
    for name, arrays in found.items():
        by_rank = {array.ndim: array for array in arrays}
        shapes = {leaf: array.shape for leaf, array in _leaves(by_rank).items()}
        if len(arrays) != 2 or shapes != PARAM_SHAPES[name]:
            raise WeightsError(f"{path} holds no {name} of VGG19; found {shapes or 'nothing'}.")
        tree[name] = _leaves(by_rank)
    return tree


def _leaves(by_rank: dict[int, np.ndarray]) -> dict[str, np.ndarray]:
    names = {4: "kernel", 1: "bias"}
    return {name: by_rank[rank] for rank, name in names.items() if rank in by_rank}


def _keras_layer(name: str) -> str | None:
    """Our name of the convolution that a data set belongs to, by its path in the file."""
    if name.startswith("optimizer"):
        return None
    if old := re.search(r"(?:^|/)block([1-5])_conv([1-4])/", name):
        return f"conv{old[1]}_{old[2]}"
    if new := re.search(r"(?:^|/)layers/conv2d(?:_(\d+))?/vars/[01]$", name):
        index = int(new[1] or 0)
        return CONVS[index] if index < len(CONVS) else None
    return None
