"""The objective of Gatys et al. in PyTorch, written from the paper: the yardstick for tests.

Takes the same weights as jaxstyle (HWIO kernels, a color map) and images `[h, w, 3]`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812

BLOCKS = (2, 2, 4, 4, 4)


def features(
    params: Mapping[str, Mapping[str, Any]], image: torch.Tensor, layers: Sequence[str]
) -> dict[str, torch.Tensor]:
    """Feature maps `[c, h, w]` of an image `[h, w, 3]`: zero padding, max pooling."""

    def tensor(layer: str, leaf: str) -> torch.Tensor:
        return torch.from_numpy(np.array(params[layer][leaf], np.float32)).to(image)

    x = (image @ tensor("color", "kernel") + tensor("color", "bias")).permute(2, 0, 1)[None]
    found = {}
    for block, convs in enumerate(BLOCKS, start=1):
        for i in range(1, convs + 1):
            name = f"conv{block}_{i}"
            kernel = tensor(name, "kernel").permute(3, 2, 0, 1)
            x = F.conv2d(x, kernel, tensor(name, "bias"), padding=1)
            found[name] = x[0]
            x = F.relu(x)
            found[f"relu{block}_{i}"] = x[0]
        x = F.max_pool2d(x, 2)
        found[f"pool{block}"] = x[0]
    return {name: found[name] for name in layers}


def gram(features: torch.Tensor) -> torch.Tensor:
    """Gram matrix averaged over positions."""
    flat = features.flatten(1)
    return flat @ flat.T / flat.shape[1]


def loss(
    params: Mapping[str, Mapping[str, Any]],
    image: torch.Tensor,
    content: torch.Tensor,
    style: torch.Tensor,
    content_weights: Mapping[str, float],
    style_weights: Mapping[str, float],
) -> torch.Tensor:
    """Weighted sum of mean squared differences of features and of Gram matrices."""
    found = features(params, image, [*content_weights, *style_weights])
    with torch.no_grad():
        kept = features(params, content, list(content_weights))
        painted = features(params, style, list(style_weights))
    total = torch.zeros((), dtype=image.dtype)
    for name, weight in content_weights.items():
        total = total + weight * F.mse_loss(found[name], kept[name])
    for name, weight in style_weights.items():
        total = total + weight * F.mse_loss(gram(found[name]), gram(painted[name]))
    return total
