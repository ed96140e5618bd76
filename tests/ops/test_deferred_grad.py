from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxstyle import features, gram_matrix
from jaxstyle.losses import content_loss
from jaxstyle.ops.deferred_grad import deferred_grad


def losses(x, targets):
    gram = jnp.square(gram_matrix(x) - targets["gram"]).mean()
    return {"gram": gram, "content": content_loss(x, targets["map"])}


def chain(apply, x, targets):
    """A chain of two layers with two losses each."""
    x, first = apply(losses, jnp.maximum(x, 0.1), targets)
    x, second = apply(losses, jnp.sin(3 * x), targets)
    terms = first["gram"], first["content"], second["gram"], second["content"]
    return jnp.square(x).mean().astype(first["gram"].dtype) + sum(
        (k + 1) * term for k, term in enumerate(terms)
    )


def plain(function, x, targets):
    return x, function(x, targets)


@pytest.fixture
def targets(random):
    shapes = {"gram": (5, 5), "map": (4, 6, 5)}
    return {k: jnp.asarray(random.random(s), jnp.float32) for k, s in shapes.items()}


@pytest.fixture
def x(random):
    return jnp.asarray(random.random((4, 6, 5)), jnp.float32)


@pytest.mark.slow
def test_values_and_gradients_equal_those_of_the_plain_function(x, targets):
    value, grads = jax.value_and_grad(partial(chain, deferred_grad), argnums=(0, 1))(x, targets)
    expected, expected_grads = jax.value_and_grad(partial(chain, plain), argnums=(0, 1))(x, targets)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7), grads, expected_grads)


@pytest.mark.slow
def test_gradient_supports_jit_vmap_and_a_second_gradient(x, targets):
    grad = jax.grad(partial(chain, deferred_grad))
    pair = jnp.stack([x, 1 - x])
    expected = jnp.stack([jax.grad(partial(chain, plain))(row, targets) for row in pair])
    many = jax.jit(jax.vmap(grad, in_axes=(0, None)))
    np.testing.assert_allclose(many(pair, targets), expected, rtol=1e-5, atol=1e-7)
    twice, expected_twice = (
        jax.grad(lambda x, f=f: jnp.vdot(jax.grad(partial(chain, f))(x, targets), x))(x)
        for f in (deferred_grad, plain)
    )
    np.testing.assert_allclose(twice, expected_twice, rtol=1e-4, atol=1e-6)


def test_gradient_of_bfloat16_is_bfloat16(x, targets):
    x = x.astype(jnp.bfloat16)
    assert jax.grad(partial(chain, deferred_grad))(x, targets).dtype == jnp.bfloat16


def temp_bytes(program, *arguments):
    return jax.jit(program).lower(*arguments).compile().memory_analysis().temp_size_in_bytes


@pytest.mark.slow
def test_loss_gradients_are_not_all_stored_at_once(params):
    layers = ("relu1_1", "relu2_1", "relu3_1", "relu4_1")
    image = jnp.full((256, 256, 3), 0.5)

    def loss(apply, params, image):
        def tap(_, x):
            return apply(lambda x, _: jnp.square(gram_matrix(x)).mean(), x, None)

        return sum(features(params, image, layers, tap=tap).values())

    grads = (jax.grad(partial(loss, apply), argnums=1) for apply in (deferred_grad, plain))
    deferred, undeferred = (temp_bytes(grad, params, image) for grad in grads)
    assert deferred < 0.9 * undeferred
