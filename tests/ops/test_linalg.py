import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxstyle.losses.moments import Moments, gaussian
from jaxstyle.ops.linalg import eigh


def symmetric(random, *shape):
    m = jnp.asarray(random.normal(size=(*shape, shape[-1])), jnp.float32)
    return m + m.swapaxes(-1, -2)


@pytest.mark.parametrize(
    "transform", [lambda f: f, jax.jit, jax.vmap, lambda f: jax.vmap(jax.vmap(f))]
)
def test_eigh_equals_numpy(random, transform):
    m = symmetric(random, 2, 3, 5)
    values, vectors = transform(eigh)(m)
    np.testing.assert_allclose(values, np.linalg.eigh(m)[0], atol=1e-5)
    np.testing.assert_allclose((vectors * values[..., None, :]) @ vectors.mT, m, atol=1e-5)


@pytest.mark.slow
def test_gradient_agrees_with_finite_differences(random):
    with jax.enable_x64(True):
        m = np.asarray(symmetric(random, 2, 4), np.float64)

        def invariants(m):
            values, vectors = eigh(jnp.asarray(m + m.mT))
            # Eigenvectors are unique only up to sign; these values do not depend on it.
            return values, (vectors * jnp.exp(values)[..., None, :]) @ vectors.mT

        check_grads(invariants, (m,), order=1)


def test_every_lapack_call_takes_one_matrix(random):
    def roots(mean, second):
        return gaussian(Moments(mean, second)).root

    mean, second = jnp.zeros((2, 3, 5)), jnp.broadcast_to(jnp.eye(5), (2, 3, 5, 5))
    for function in (roots, jax.vmap(roots)):
        text = jax.jit(function).lower(mean, second).as_text()
        calls = [line for line in text.splitlines() if "syevd" in line]
        assert calls
        assert all("(tensor<5x5xf32>)" in call for call in calls)
