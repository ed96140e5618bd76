"""Reader of the VGG19 weights that Keras released."""

import re
from pathlib import Path

import h5py
import numpy as np

from jaxstyle.errors import WeightsError, printable
from jaxstyle.io.hdf5 import find_datasets, open_hdf5, read_values
from jaxstyle.vgg19 import PARAM_SHAPES

Tree = dict[str, dict[str, np.ndarray]]

CONVS: tuple[str, ...] = tuple(name for name in PARAM_SHAPES if name.startswith("conv"))
"""Names of the 16 convolutions, shallow to deep."""

CAFFE_COLOR = {
    # RGB in [0, 1] to BGR in [0, 255] minus the ImageNet mean, as in the original Caffe release,
    # from which the Keras weights derive.
    "kernel": np.fliplr(np.eye(3, dtype=np.float32)) * np.float32(255),
    "bias": -np.array([103.939, 116.779, 123.68], np.float32),
}
"""Color map of weights that derive from the Caffe release."""

# Names of the leaves, by their number of dimensions.
_LEAVES = {4: "kernel", 1: "bias"}
_ADVICE = (
    "Keras weights end in .h5; for PyTorch weights use scripts/convert_vgg19.py from the source "
    "tree"
)


def from_keras(path: Path) -> Tree:
    """Return the parameters in a Keras file of VGG19, with or without its classifier.

    Supports the layout of Keras 1 and 2 (`block1_conv1/...`, as in the release
    `vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5` and in saved models) and that of Keras 3
    (`layers/conv2d_3/vars/0`, in files named `.weights.h5`).

    Args:
      path: the Keras file.

    Returns:
      A nested dict with the shapes of `jaxstyle.vgg19.PARAM_SHAPES`, in float32.

    Raises:
      WeightsError: the file is unreadable or does not contain VGG19.
    """
    datasets: dict[str, list[h5py.Dataset]] = {name: [] for name in CONVS}
    params: Tree = {"color": dict(CAFFE_COLOR)}
    with open_hdf5(path, _ADVICE) as file:
        for dataset_name, dataset in find_datasets(file):
            conv = _layer_name(dataset_name)
            if conv in datasets:
                datasets[conv].append(dataset)
        for name, found in datasets.items():
            leaves = {_LEAVES.get(dataset.ndim, "?"): dataset for dataset in found}
            shapes = {leaf: dataset.shape for leaf, dataset in leaves.items()}
            if len(found) != 2 or shapes != PARAM_SHAPES[name]:
                raise WeightsError(
                    f"weights file {path} has no {name} with the shapes of VGG19 (found "
                    f"{printable(shapes or 'nothing', 120)}); use a Keras file of VGG19."
                )
            params[name] = {
                leaf: read_values(dataset, PARAM_SHAPES[name][leaf]).astype(np.float32)
                for leaf, dataset in leaves.items()
            }
    return params


def _layer_name(dataset: str) -> str | None:
    """Return the name of the convolution that a dataset belongs to, from its path in the file."""
    if dataset.startswith("optimizer"):
        return None
    if keras2 := re.search(r"(?:^|/)block([1-5])_conv([1-4])/", dataset):
        return f"conv{keras2[1]}_{keras2[2]}"
    if keras3 := re.search(r"(?:^|/)layers/conv2d(?:_(\d+))?/vars/[01]$", dataset):
        index = int(keras3[1] or 0)
        return CONVS[index] if index < len(CONVS) else None
    return None
