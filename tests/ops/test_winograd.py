from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import arrays
from jax.test_util import check_grads

from jaxstyle.ops import winograd
from jaxstyle.ops.conv import conv3x3

# Whole tiles, partial tiles, less than one tile, a batch, and many tiles.
SHAPES = [(1, 8, 12), (1, 9, 7), (2, 5, 6), (1, 2, 1), (3, 4, 4), (2, 30, 33)]


@pytest.mark.slow
@pytest.mark.parametrize("padding", ["zeros", "edge", "reflect"])
@pytest.mark.parametrize("shape", SHAPES)
def test_winograd_equals_the_direct_convolution_and_its_gradient(random, shape, padding):
    if padding == "reflect" and 1 in shape[1:]:
        shape = (*shape[:2], 2)
    x, kernel, y = arrays(random, (*shape, 5), (3, 3, 5, 6), (*shape, 6))
    conv = partial(conv3x3, kernel=kernel, bias=jnp.zeros(6), padding=padding)
    expected, vjp = jax.vjp(conv, x)
    actual, actual_vjp = jax.vjp(partial(conv, transformed=winograd.transform(kernel)), x)
    for a, b in ((actual, expected), (*actual_vjp(y), *vjp(y))):
        np.testing.assert_allclose(a, b, atol=2e-5 * float(jnp.abs(b).max()))


def apply(function, *arrays):
    """Call a function of JAX arrays with NumPy arrays."""
    return function(*map(jnp.asarray, arrays))


@pytest.mark.slow
def test_winograd_is_twice_differentiable(random):
    with jax.enable_x64(True):
        x, kernel = (jnp.asarray(random.normal(size=s)) for s in ((1, 5, 4, 2), (3, 3, 2, 3)))
        u = winograd.transform(kernel)
        y = winograd.convolve(x, u)
        for function, maps in ((winograd.convolve, x), (winograd.convolve_transposed, y)):
            check_grads(partial(apply, function), (maps, u), 2)


@pytest.mark.slow
def test_rounding_error_is_small_with_many_channels(random):
    x, kernel = arrays(random, (1, 32, 32, 256), (3, 3, 256, 256))
    expected = conv3x3(x, kernel, jnp.zeros(256))
    actual = conv3x3(x, kernel, jnp.zeros(256), transformed=winograd.transform(kernel))
    assert jnp.linalg.norm(actual - expected) < 1e-5 * jnp.linalg.norm(expected)
