import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import arrays
from jax.test_util import check_grads

from jaxstyle.ops.conv import conv3x3

MODES = {"zeros": "constant", "reflect": "reflect", "edge": "edge"}


def by_hand(x, kernel, bias, mode):
    """The definition: a sum over nine shifted maps."""
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)), mode=mode)
    h, w, _ = x.shape
    total = sum(padded[i : i + h, j : j + w] @ kernel[i, j] for i in range(3) for j in range(3))
    return total + bias


@pytest.mark.parametrize("shape", [(5, 7), (2, 4), (3, 2), (1, 5), (6, 1), (1, 1)])
@pytest.mark.parametrize("padding", MODES)
def test_conv_is_a_sum_over_nine_shifted_maps(random, padding, shape):
    if padding == "reflect" and 1 in shape:
        return  # There is nothing to reflect.
    x, kernel, bias = arrays(random, (*shape, 3), (3, 3, 3, 4), (4,))
    expected = by_hand(*map(np.asarray, (x, kernel, bias)), MODES[padding])
    np.testing.assert_allclose(conv3x3(x, kernel, bias, padding=padding), expected, atol=1e-5)


@pytest.mark.parametrize(("first", "same_as"), [(True, "edge"), (False, "zeros")])
def test_edge_first_repeats_edges_in_the_first_layer_alone(random, first, same_as):
    x, kernel, bias = arrays(random, (5, 7, 3), (3, 3, 3, 4), (4,))
    out = conv3x3(x, kernel, bias, padding="edge_first", first=first)
    np.testing.assert_array_equal(out, conv3x3(x, kernel, bias, padding=same_as))


@pytest.mark.parametrize("padding", [*MODES, "edge_first"])
def test_gradients_agree_with_finite_differences(random, padding):
    with jax.enable_x64(True):
        x, kernel, bias = (
            jnp.asarray(random.normal(size=shape)) for shape in ((4, 5, 2), (3, 3, 2, 3), (3,))
        )
        check_grads(
            lambda *args: conv3x3(*map(jnp.asarray, args), padding=padding),
            (x, kernel, bias),
            2,
            modes=["rev"],
        )


def test_leading_axes_are_a_batch(random):
    x, kernel, bias = arrays(random, (2, 3, 4, 5, 3), (3, 3, 3, 4), (4,))
    row_by_row = [[conv3x3(x[i, j], kernel, bias) for j in range(3)] for i in range(2)]
    np.testing.assert_allclose(conv3x3(x, kernel, bias), jnp.asarray(row_by_row), rtol=1e-5)
    vmapped = jax.vmap(jax.vmap(lambda x: conv3x3(x, kernel, bias)))(x)
    np.testing.assert_allclose(vmapped, jnp.asarray(row_by_row), rtol=1e-5)


def test_gradient_inside_a_loop_costs_what_it_costs_outside(random):
    # XLA's CPU compiler has a slow path for convolutions in a loop whose kernel is not in
    # its canonical layout. In the optimized program all must be: b01f_01io->b01f.
    x, kernel, bias = arrays(random, (16, 16, 8), (3, 3, 8, 8), (8,))

    def descend(x):
        loss = lambda x: jnp.sum(conv3x3(x, kernel, bias) ** 2)
        return jax.lax.fori_loop(0, 3, lambda _, x: x - 0.01 * jax.grad(loss)(x), x)

    text = jax.jit(descend).lower(x).compile().as_text()
    labels = [line.split("dim_labels=")[1] for line in text.splitlines() if "dim_labels=" in line]
    assert len(labels) == 2
    assert all(label.startswith("b01f_01io->b01f") for label in labels)


@pytest.mark.parametrize("padding", ["edge", "reflect"])
def test_borders_cost_next_to_nothing(random, padding):
    x, kernel, bias = arrays(random, (64, 64, 64), (3, 3, 64, 64), (64,))

    def cost(padding):
        def loss(x):
            for _ in range(3):
                x = jax.nn.relu(conv3x3(x, kernel, bias, padding=padding))
            return jnp.sum(x**2)

        program = jax.jit(jax.grad(loss)).lower(x).compile()
        return program.memory_analysis().temp_size_in_bytes, program.cost_analysis()["flops"]

    for there, zeros in zip(cost(padding), cost("zeros"), strict=True):
        assert there < 1.2 * zeros
