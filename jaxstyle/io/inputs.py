"""Pictures read from files at the sizes at which a run looks at them."""

from pathlib import Path

import numpy as np

from jaxstyle import pyramid
from jaxstyle.config import StyleConfig
from jaxstyle.io import images


def read_style(path: Path, picture: tuple[int, int], config: StyleConfig) -> np.ndarray:
    """A painting no larger than it will be looked at.

    Raises:
      ImageReadError: the file cannot be read.
      ValueError: it is too small for its layers.
    """
    style = images.read_image(path)
    needed = pyramid.min_style_side(config)
    if min(style.shape[:2]) < needed:
        raise ValueError(
            f"painting {path} is {style.shape[1]}x{style.shape[0]}; its layers need both sides at "
            f"least {needed}. Take a larger one or choose shallower layers."
        )
    return images.resize(style, pyramid.style_shape(style.shape, picture, config))


def read_mask(path: Path, picture: tuple[int, int]) -> np.ndarray:
    """A mask at the size of the picture: brightness times opacity.

    Raises:
      ImageReadError: the file cannot be read.
      ValueError: it is of other proportions than the picture, or black everywhere.
    """
    pixels = images.read_image(path, alpha=True)
    mask = pixels[..., :3].mean(axis=-1)
    if pixels.shape[-1] == 4:
        mask = mask * pixels[..., 3]
    check_proportions(path, mask.shape, picture)
    if not mask.any():
        raise ValueError(f"mask {path} is black everywhere, so its style would act nowhere.")
    return images.resize(mask[..., None], picture)[..., 0]


def check_proportions(path: Path, shape: tuple[int, ...], picture: tuple[int, int]) -> None:
    """Raise `ValueError` unless a file of the shape `shape` has the picture's proportions."""
    fitted = pyramid.fit_shape(shape, max(picture))
    # Rounding may differ by a pixel.
    if max(abs(a - b) for a, b in zip(fitted, picture, strict=True)) > 1 + 0.01 * max(picture):
        raise ValueError(
            f"{path} is {shape[1]}x{shape[0]}, of other proportions than the picture "
            f"({picture[1]}x{picture[0]}); crop it to them."
        )
