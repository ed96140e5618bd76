import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxstyle.ops import pooling
from jaxstyle.ops.pooling import average_pool, max_pool


@pytest.mark.parametrize("shape", [(4, 6, 3), (2, 5, 7, 3)])
def test_pooling_equals_its_definition(random, shape):
    x = random.normal(size=shape).astype(np.float32)
    *batch, h, w, c = shape
    even = x[..., : h // 2 * 2, : w // 2 * 2, :]
    windows = even.reshape(*batch, h // 2, 2, w // 2, 2, c)
    np.testing.assert_array_equal(max_pool(jnp.asarray(x)), windows.max((-4, -2)))
    np.testing.assert_allclose(average_pool(jnp.asarray(x)), windows.mean((-4, -2)), rtol=1e-6)


@pytest.mark.parametrize("pool", [pooling._max_with_position, pooling._max_of_windows])
@pytest.mark.parametrize("shape", [(4, 6, 3), (2, 4, 6, 3)])
def test_gradient_of_max_pooling_goes_to_the_first_maximum_of_each_window(random, shape, pool):
    # Whole numbers, so that windows have several maxima.
    x = jnp.asarray(random.integers(-2, 3, size=shape), jnp.float32)
    cotangent = jnp.asarray(random.normal(size=(*shape[:-3], 2, 3, 3)), jnp.float32)
    y, vjp = jax.vjp(pool, x)
    (x_bar,) = vjp(cotangent)
    expected = np.zeros(shape, np.float32)
    for *batch, i, j, c in np.ndindex(*y.shape):
        places = [(*batch, 2 * i + k, 2 * j + m, c) for k in (0, 1) for m in (0, 1)]
        first = max(places, key=lambda place: x[place])
        assert y[(*batch, i, j, c)] == x[first]
        expected[first] = cotangent[(*batch, i, j, c)]
    np.testing.assert_array_equal(x_bar, expected)


def test_max_pooling_keeps_one_byte_per_window_for_its_gradient():
    _, vjp = jax.vjp(pooling._max_with_position, jnp.ones((8, 8, 16)))
    assert sum(leaf.nbytes for leaf in jax.tree.leaves(vjp)) == 4 * 4 * 16


@pytest.mark.parametrize("platform", ["cpu", "tpu", "cuda"])
def test_only_tpus_pool_by_windows(platform):
    pool = jax.jit(jax.grad(lambda x: max_pool(x).sum()))
    text = pool.trace(jnp.ones((4, 6, 3))).lower(lowering_platforms=(platform,)).as_text()
    assert ("select_and_scatter" in text) == (platform == "tpu")
