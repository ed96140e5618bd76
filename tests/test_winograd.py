from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import arrays
from jax.test_util import check_grads

from jaxstyle import winograd
from jaxstyle.conv import conv3x3

# Multiples of a tile and not, smaller than a tile, a batch, many tiles.
SHAPES = [(1, 8, 12), (1, 9, 7), (2, 5, 6), (1, 2, 1), (3, 4, 4), (2, 30, 33)]


@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_the_convolution(random, shape):
    x, kernel = arrays(random, (*shape, 5), (3, 3, 5, 6))
    expected = conv3x3(x, kernel, jnp.zeros(6))
    found = winograd.convolve(x, winograd.transform(kernel))
    np.testing.assert_allclose(found, expected, atol=2e-5 * float(jnp.abs(expected).max()))


@pytest.mark.parametrize("shape", SHAPES)
def test_its_transpose_is_the_gradient_of_the_maps(random, shape):
    x, kernel, y = arrays(random, (*shape, 5), (3, 3, 5, 6), (*shape, 6))
    u = winograd.transform(kernel)
    _, vjp = jax.vjp(lambda x: conv3x3(x, kernel, jnp.zeros(6)), x)
    (expected,) = vjp(y)
    found = winograd.convolve_transposed(y, u)
    np.testing.assert_allclose(found, expected, atol=2e-5 * float(jnp.abs(expected).max()))


def apply(function, *arrays):
    """A function of JAX's arrays, of NumPy's."""
    return function(*map(jnp.asarray, arrays))


def test_it_is_differentiable_to_any_order(random):
    with jax.enable_x64(True):
        x, kernel = (jnp.asarray(random.normal(size=s)) for s in ((1, 5, 4, 2), (3, 3, 2, 3)))
        u = winograd.transform(kernel)
        y = winograd.convolve(x, u)
        for function, maps in ((winograd.convolve, x), (winograd.convolve_transposed, y)):
            check_grads(partial(apply, function), (maps, u), 2)


def test_rounding_stays_small_at_the_network_s_depth(random):
    x, kernel = arrays(random, (1, 32, 32, 256), (3, 3, 256, 256))
    expected = conv3x3(x, kernel, jnp.zeros(256))
    found = winograd.convolve(x, winograd.transform(kernel))
    assert jnp.linalg.norm(found - expected) < 1e-5 * jnp.linalg.norm(expected)
