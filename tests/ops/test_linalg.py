from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxstyle.losses.moments import Moments, gaussian
from jaxstyle.ops.linalg import eigh, inverse_root, root


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


@pytest.mark.parametrize("function", [root, partial(inverse_root, cutoff=1e-6)])
def test_gradient_of_roots_agrees_with_finite_differences(random, function):
    with jax.enable_x64(True):
        # Two of the eigenvalues are equal: eigenvectors are not differentiable there.
        basis = np.linalg.qr(random.normal(size=(4, 4)))[0]
        m = (basis * [1.0, 1.0, 2.0, 4.0]) @ basis.T
        check_grads(lambda m: function(jnp.asarray(0.5 * (m + m.mT))), (jnp.asarray(m),), order=1)


def test_root_and_inverse_root_of_a_matrix_without_full_rank(random):
    x = random.normal(size=(2, 5))
    m = jnp.asarray(x.T @ x, jnp.float32)
    np.testing.assert_allclose(root(m) @ root(m), m, atol=1e-5)
    np.testing.assert_allclose(inverse_root(m, 1e-4) @ root(m) @ m, m, atol=1e-4)


@pytest.mark.parametrize("function", [root, partial(inverse_root, cutoff=1e-6)])
@pytest.mark.parametrize("scale", [0.0, 1e-12, 1.0, 1e6])
def test_gradient_of_roots_is_finite_where_eigenvalues_are_equal_or_0(function, scale):
    m = scale * jnp.diag(jnp.array([1.0, 1.0, 0.0, 0.0]))
    grad = jax.jit(jax.grad(lambda m: function(m).sum()))(m)
    assert jnp.isfinite(grad).all()


def test_every_lapack_call_takes_one_matrix(random):
    def roots(mean, second):
        return gaussian(Moments(mean, second)).root

    mean, second = jnp.zeros((2, 3, 5)), jnp.broadcast_to(jnp.eye(5), (2, 3, 5, 5))
    for function in (roots, jax.vmap(roots)):
        text = jax.jit(function).lower(mean, second).as_text()
        calls = [line for line in text.splitlines() if "syevd" in line]
        assert calls
        assert all("(tensor<5x5xf32>)" in call for call in calls)
