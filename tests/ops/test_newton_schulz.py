import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxstyle.ops import newton_schulz
from jaxstyle.ops.newton_schulz import root_trace, root_traces

SIZES = (3, 8, 5, 8, 2)


def covariances(random, sizes=SIZES, batch=()):
    factors = [random.normal(size=(*batch, c, 2 * c)).astype(np.float32) for c in sizes]
    return [jnp.asarray(scale * x @ x.swapaxes(-1, -2)) for scale, x in enumerate(factors, 1)]


def test_root_trace_is_the_sum_of_singular_values(random):
    y = random.normal(size=(6, 9)).astype(np.float32)
    left, singular, _ = np.linalg.svd(y, full_matrices=False)
    trace, grad = jax.value_and_grad(root_trace)(jnp.asarray(y @ y.T))
    np.testing.assert_allclose(trace, singular.sum(), rtol=1e-4)
    np.testing.assert_allclose(grad, 0.5 * (left / singular) @ left.T, rtol=1e-3, atol=1e-5)


def test_blocks_share_as_few_matrices_as_possible():
    assert newton_schulz._place_blocks([64, 128, 256, 512, 512]) == [
        (2, 384),
        (2, 256),
        (2, 0),
        (0, 0),
        (1, 0),
    ]


@pytest.mark.parametrize("batch", [(), (2, 3)])
def test_roots_together_equal_roots_in_turn(random, batch):
    ms = covariances(random, batch=batch)
    for together, in_turn in zip(
        newton_schulz._roots_together(ms), newton_schulz._roots_in_turn(ms), strict=True
    ):
        for a, b in zip(together, in_turn, strict=True):
            assert a.shape == b.shape
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_a_matrix_of_zeros_does_not_change_the_others(random):
    ms = covariances(random)
    traces, inverse_roots = newton_schulz._roots_together([*ms, jnp.zeros((4, 4))])
    assert all(jnp.isfinite(leaf).all() for leaf in (*traces, *inverse_roots))
    assert traces[-1] == 0
    np.testing.assert_allclose(jnp.stack(traces[:-1]), jnp.stack(root_traces(ms)), rtol=1e-4)


def test_gradients_of_several_traces_are_those_of_each(random):
    ms, weights = covariances(random), jnp.arange(1.0, 6.0)
    grads = jax.jit(jax.grad(lambda ms: jnp.vdot(weights, jnp.stack(root_traces(ms)))))(ms)
    for m, weight, grad in zip(ms, weights, grads, strict=True):
        expected = weight * jax.grad(root_trace)(m)
        np.testing.assert_allclose(grad, expected, rtol=1e-4, atol=1e-6)


def test_platforms_get_the_form_that_suits_them(random):
    text = {
        platform: jax.jit(root_traces)
        .trace(covariances(random))
        .lower(lowering_platforms=(platform,))
        .as_text()
        for platform in ("cpu", "tpu", "cuda")
    }
    assert "stablehlo.while" in text["cpu"]
    assert "stablehlo.while" not in text["tpu"] + text["cuda"]
