"""Comparison with PyTorch on the same weights, image and loss.

Needs torch: `pip install '.[convert]'`.
"""

import importlib

import jax
import numpy as np
import pytest
from conftest import IMAGES

from jaxstyle import StyleConfig, features, make_targets, read_image, total_loss
from jaxstyle.io.keras import CONVS
from jaxstyle.vgg19 import transform_kernels

torch = pytest.importorskip("torch", reason="torch is an extra: pip install '.[convert]'")
# Not `importorskip`: with torch installed, failing to import this script is an error.
torch_reference = importlib.import_module("torch_reference")


def relative_error(values, expected):
    return np.linalg.norm(np.asarray(values) - expected) / np.linalg.norm(expected)


@pytest.fixture(scope="module")
def image():
    return read_image(IMAGES / "coffee.jpg", 128)


@pytest.fixture(params=["plain", "transformed"])
def weights(request, params):
    """Return the weights as loaded, or with the transformed kernels of the optimization loop."""
    return params if request.param == "plain" else transform_kernels(params, CONVS)


@pytest.mark.slow
def test_all_sixteen_convolutions_match_pytorch(params, image):
    x = torch.from_numpy(image)
    expected = torch_reference.features(torch_reference.to_torch(params, x), x, CONVS)
    for name, values in features(params, image, CONVS).items():
        reference = expected[name].permute(1, 2, 0).numpy()
        # The two sum float32 products in different orders.
        assert relative_error(values, reference) < 1e-5, name


@pytest.mark.slow
def test_gradient_of_the_total_loss_matches_pytorch(params, weights, image):
    config = StyleConfig(padding="zeros", tv_weight=0, style_loss="gram")
    content = read_image(IMAGES / "chelsea.jpg", 128)
    content = np.ascontiguousarray(content[: image.shape[0], : image.shape[1]])
    style = read_image(IMAGES / "cafe_terrace.jpg", 128)
    image = np.ascontiguousarray(image[: content.shape[0], : content.shape[1]])
    targets = make_targets(params, content, [style], config)
    loss, grad = jax.value_and_grad(lambda x: total_loss(weights, x, targets, config.weights)[0])(
        image
    )
    x = torch.from_numpy(image).requires_grad_()
    reference = torch_reference.Objective(
        torch_reference.to_torch(params, x),
        torch.from_numpy(content),
        torch.from_numpy(style),
        config.weights.content,
        config.weights.style,
    )(x)
    reference.backward()
    np.testing.assert_allclose(loss, reference.item(), rtol=1e-5)
    assert relative_error(grad, x.grad.numpy()) < 1e-4
