"""The objective of Gatys et al. (2016) in PyTorch: the reference of tests and benchmarks.

Uses the same weights as jaxstyle (HWIO kernels, a color map) and images `[h, w, 3]`, or
`[n, h, w, 3]` for the sum of the losses of `n` images.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812

BLOCKS = (2, 2, 4, 4, 4)
Tensors = Mapping[str, tuple[torch.Tensor, torch.Tensor]]


def to_torch(params: Mapping[str, Mapping[str, Any]], like: torch.Tensor) -> Tensors:
    """Convert all kernels and biases to tensors with the dtype and device of `like`."""
    tensors = {}
    for name, leaves in params.items():
        kernel, bias = (torch.from_numpy(np.array(leaves[k])).to(like) for k in ("kernel", "bias"))
        kernel = kernel.permute(3, 2, 0, 1).contiguous() if kernel.ndim == 4 else kernel
        tensors[name] = kernel, bias
    return tensors


def features(
    weights: Tensors, image: torch.Tensor, layers: Sequence[str]
) -> dict[str, torch.Tensor]:
    """Compute feature maps `[..., c, h, w]` of `[..., h, w, 3]`: zero padding, max pooling."""
    kernel, bias = weights["color"]
    x = (image @ kernel + bias).movedim(-1, -3)
    maps = {}
    for block, convs in enumerate(BLOCKS, start=1):
        for i in range(1, convs + 1):
            x = F.conv2d(x, *weights[f"conv{block}_{i}"], padding=1)
            maps[f"conv{block}_{i}"] = x
            x = F.relu(x, inplace=f"conv{block}_{i}" not in layers)
            maps[f"relu{block}_{i}"] = x
            if maps.keys() >= set(layers):
                return {name: maps[name] for name in layers}
        x = F.max_pool2d(x, 2)
        maps[f"pool{block}"] = x
    return {name: maps[name] for name in layers}


def gram(features: torch.Tensor) -> torch.Tensor:
    """Compute the Gram matrix, averaged over positions."""
    flat = features.flatten(-2)
    return flat @ flat.mT / flat.shape[-1]


class Objective:
    """Weighted sum of mean squared differences of features and of Gram matrices.

    Args:
      weights: weights from `to_torch`.
      content: content image.
      style: style image.
      content_weights: coefficient of each content layer.
      style_weights: coefficient of each style layer.
    """

    def __init__(
        self,
        weights: Tensors,
        content: torch.Tensor,
        style: torch.Tensor,
        content_weights: Mapping[str, float],
        style_weights: Mapping[str, float],
    ):
        self._weights = weights
        self._content_weights, self._style_weights = content_weights, style_weights
        with torch.no_grad():
            self._content_targets = features(weights, content, list(content_weights))
            style_maps = features(weights, style, list(style_weights))
            self._style_targets = {name: gram(maps) for name, maps in style_maps.items()}

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        """Compute the loss of an image, or the sum of the losses of several."""
        maps = features(self._weights, image, [*self._content_weights, *self._style_weights])
        total = torch.zeros((), dtype=image.dtype, device=image.device)
        for name, weight in self._content_weights.items():
            difference = maps[name] - self._content_targets[name]
            total = total + weight * difference.square().mean((-3, -2, -1))
        for name, weight in self._style_weights.items():
            difference = gram(maps[name]) - self._style_targets[name]
            total = total + weight * difference.square().mean((-2, -1))
        return total.sum()
