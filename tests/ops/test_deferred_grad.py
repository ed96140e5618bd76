from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxstyle import features, gram_matrix
from jaxstyle.losses import content_loss
from jaxstyle.ops.deferred_grad import deferred_grad


def losses(x, known):
    gram = jnp.square(gram_matrix(x) - known["gram"]).mean()
    return {"gram": gram, "content": content_loss(x, known["map"])}


def chain(fork, x, known):
    """A network of two layers with losses of both."""
    x, first = fork(losses, jnp.maximum(x, 0.1), known)
    x, second = fork(losses, jnp.sin(3 * x), known)
    terms = first["gram"], first["content"], second["gram"], second["content"]
    return jnp.square(x).mean() + sum((k + 1) * term for k, term in enumerate(terms))


def plain(function, x, known):
    return x, function(x, known)


@pytest.fixture
def known(random):
    shapes = {"gram": (5, 5), "map": (4, 6, 5)}
    return {k: jnp.asarray(random.random(s), jnp.float32) for k, s in shapes.items()}


@pytest.fixture
def x(random):
    return jnp.asarray(random.random((4, 6, 5)), jnp.float32)


def test_values_and_gradients_are_those_of_the_plain_function(x, known):
    value, grads = jax.value_and_grad(partial(chain, deferred_grad), argnums=(0, 1))(x, known)
    expected, wanted = jax.value_and_grad(partial(chain, plain), argnums=(0, 1))(x, known)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-7), grads, wanted)


def test_gradient_goes_through_jit_and_vmap_and_the_gradient_itself(x, known):
    slope = jax.grad(partial(chain, deferred_grad))
    pair = jnp.stack([x, 1 - x])
    expected = jnp.stack([jax.grad(partial(chain, plain))(row, known) for row in pair])
    many = jax.jit(jax.vmap(slope, in_axes=(0, None)))
    np.testing.assert_allclose(many(pair, known), expected, rtol=1e-5, atol=1e-7)
    twice, wanted = (
        jax.grad(lambda x, f=f: jnp.vdot(jax.grad(partial(chain, f))(x, known), x))(x)
        for f in (deferred_grad, plain)
    )
    np.testing.assert_allclose(twice, wanted, rtol=1e-4, atol=1e-6)


def test_half_precision_stays_what_it_is(x, known):
    x = x.astype(jnp.bfloat16)
    assert jax.grad(partial(chain, deferred_grad))(x, known).dtype == jnp.bfloat16


def held(program, *arguments):
    return jax.jit(program).lower(*arguments).compile().memory_analysis().temp_size_in_bytes


def test_gradients_of_losses_are_not_held_until_the_network_has_come_back(params):
    layers = ("relu1_1", "relu2_1", "relu3_1", "relu4_1")
    image = jnp.full((256, 256, 3), 0.5)

    def loss(fork, params, image):
        def tap(_, x):
            return fork(lambda x, _: jnp.square(gram_matrix(x)).mean(), x, None)

        return sum(features(params, image, layers, tap=tap).values())

    slopes = (jax.grad(partial(loss, fork), argnums=1) for fork in (deferred_grad, plain))
    late, soon = (held(slope, params, image) for slope in slopes)
    assert late < 0.9 * soon
