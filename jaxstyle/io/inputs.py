"""Style images and masks at the sizes that a run uses, and images from stdin."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from jaxstyle import pyramid
from jaxstyle.config import StyleConfig
from jaxstyle.errors import ImageReadError, JaxstyleError
from jaxstyle.io import images
from jaxstyle.io.atomic import temporary_folder
from jaxstyle.io.remote import FilePath

# The float32 pixels of larger masks would need much memory, so they are reduced first.
_WHOLE_PIXELS = 12_500_000
_MAX_STDIN = 2**30

STDIN = Path("-")
"""Path that stands for stdin."""


@contextlib.contextmanager
def copy_stdin() -> Iterator[Path]:
    """Copy stdin to a temporary file, and name it `stdin` in the errors of the block.

    Raises:
      ImageReadError: stdin is a terminal, closed, or longer than an image may be.
    """
    stream = getattr(sys.stdin, "buffer", None)
    if stream is None or stream.isatty():
        raise ImageReadError("`-` reads an image from stdin; pipe or redirect one into it.")
    with temporary_folder() as folder:
        path = folder / "stdin"
        with path.open("wb") as file:
            while data := stream.read(2**20):
                file.write(data)
                if file.tell() > _MAX_STDIN:
                    raise ImageReadError(
                        f"stdin has more than {_MAX_STDIN >> 20} MiB; save it to a file and name "
                        "that."
                    )
        try:
            yield path
        except (JaxstyleError, ValueError) as error:
            error.args = (str(error).replace(str(path), "stdin"),)
            raise


def read_style(path: FilePath, picture: tuple[int, int], config: StyleConfig) -> np.ndarray:
    """Read a style image at the size that `pyramid.style_shape` computes, or as it is if smaller.

    Args:
      path: file of the style image.
      picture: height and width of the result.
      config: options of the run.

    Raises:
      ImageReadError: the file cannot be read.
      ValueError: the image is too small for the style layers.
    """
    min_side = pyramid.min_style_side(config)

    def target(shape: tuple[int, int]) -> tuple[int, int]:
        if min(shape) < min_side:
            raise ValueError(
                f"style image {path} is {shape[1]}x{shape[0]}; its layers need both sides at "
                f"least {min_side}. Use a larger image or choose shallower layers."
            )
        return min(shape, pyramid.style_shape(shape, picture, config))

    return images.read_image_as(path, target)


def read_mask(
    path: FilePath, picture: tuple[int, int], *, may_be_black: bool = False
) -> np.ndarray:
    """Read a mask at the size of the result. Its values are brightness times opacity.

    Args:
      path: file of the mask.
      picture: height and width of the result.
      may_be_black: whether it may be black everywhere.

    Raises:
      ImageReadError: the file cannot be read.
      ValueError: the mask has another aspect ratio than the result, or is black everywhere.
    """

    def target(shape: tuple[int, int]) -> tuple[int, int]:
        large = shape[0] * shape[1] > _WHOLE_PIXELS and max(shape) > 2 * max(picture)
        return pyramid.fit_shape(shape, 2 * max(picture)) if large else shape

    pixels = images.read_image_as(path, target, alpha=True)
    mask = pixels[..., :3].mean(axis=-1)
    if pixels.shape[-1] == 4:
        mask = mask * pixels[..., 3]
    check_proportions(path, mask.shape, picture)
    if not may_be_black and not mask.any():
        raise ValueError(
            f"mask {path} is black everywhere, so its style has no effect; paint its region white."
        )
    return images.resize(mask[..., None], picture)[..., 0]


def read_start(path: FilePath, picture: tuple[int, int], shape: tuple[int, int]) -> np.ndarray:
    """Read an image to start from.

    Args:
      path: file of the image.
      picture: height and width of the result.
      shape: height and width to resample to.

    Raises:
      ImageReadError: the file cannot be read.
      ValueError: the image has another aspect ratio than the result.
    """

    def target(file_shape: tuple[int, int]) -> tuple[int, int]:
        check_proportions(path, file_shape, picture)
        return shape

    return images.read_image_as(path, target)


def check_proportions(path: FilePath, shape: tuple[int, ...], picture: tuple[int, int]) -> None:
    """Raise `ValueError` unless an image has the aspect ratio of the content image.

    Args:
      path: file of the image, named in the message.
      shape: height, width, ... of the image.
      picture: height and width of the content image.
    """
    scaled_shape = pyramid.fit_shape(shape, max(picture))
    difference = max(abs(a - b) for a, b in zip(scaled_shape, picture, strict=True))
    # Rounding may change a side by one pixel.
    if difference > 1 + 0.01 * max(picture):
        raise ValueError(
            f"{path} is {shape[1]}x{shape[0]}; its aspect ratio must match the content image's "
            f"({picture[1]}x{picture[0]}). Crop it."
        )
