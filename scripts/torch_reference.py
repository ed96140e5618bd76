"""The objective of Gatys et al. in PyTorch, from the paper: what tests and benchmarks measure by.

Takes the same weights as jaxstyle (HWIO kernels, a color map) and images `[h, w, 3]`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812

BLOCKS = (2, 2, 4, 4, 4)
Tensors = Mapping[str, tuple[torch.Tensor, torch.Tensor]]


def to_torch(params: Mapping[str, Mapping[str, Any]], like: torch.Tensor) -> Tensors:
    """Kernel and bias of every layer as tensors of the type and on the device of `like`."""
    found = {}
    for name, leaves in params.items():
        kernel, bias = (torch.from_numpy(np.array(leaves[k])).to(like) for k in ("kernel", "bias"))
        found[name] = kernel.permute(3, 2, 0, 1).contiguous() if kernel.ndim == 4 else kernel, bias
    return found


def features(
    weights: Tensors, image: torch.Tensor, layers: Sequence[str]
) -> dict[str, torch.Tensor]:
    """Feature maps `[c, h, w]` of an image `[h, w, 3]`: zero padding, max pooling."""
    kernel, bias = weights["color"]
    x = (image @ kernel + bias).permute(2, 0, 1)[None]
    found = {}
    for block, convs in enumerate(BLOCKS, start=1):
        for i in range(1, convs + 1):
            x = F.conv2d(x, *weights[f"conv{block}_{i}"], padding=1)
            found[f"conv{block}_{i}"] = x[0]
            x = F.relu(x, inplace=f"conv{block}_{i}" not in layers)
            found[f"relu{block}_{i}"] = x[0]
            if found.keys() >= set(layers):
                return {name: found[name] for name in layers}
        x = F.max_pool2d(x, 2)
        found[f"pool{block}"] = x[0]
    return {name: found[name] for name in layers}


def gram(features: torch.Tensor) -> torch.Tensor:
    """Gram matrix averaged over positions."""
    flat = features.flatten(1)
    return flat @ flat.T / flat.shape[1]


class Objective:
    """Weighted sum of mean squared differences of features and of Gram matrices.

    Args:
      weights: from `to_torch`.
      content: the photograph.
      style: the painting.
      content_weights: coefficient of each layer.
      style_weights: coefficient of each layer.
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
            self._kept = features(weights, content, list(content_weights))
            painted = features(weights, style, list(style_weights))
            self._painted = {name: gram(maps) for name, maps in painted.items()}

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        """The loss of an image."""
        found = features(self._weights, image, [*self._content_weights, *self._style_weights])
        total = torch.zeros((), dtype=image.dtype, device=image.device)
        for name, weight in self._content_weights.items():
            total = total + weight * F.mse_loss(found[name], self._kept[name])
        for name, weight in self._style_weights.items():
            total = total + weight * F.mse_loss(gram(found[name]), self._painted[name])
        return total
