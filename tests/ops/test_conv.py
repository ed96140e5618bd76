import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import arrays
from jax.test_util import check_grads

from jaxstyle import StyleConfig
from jaxstyle.analysis.cost import lower_step
from jaxstyle.ops import conv
from jaxstyle.ops.conv import conv3x3

MODES = {"zeros": "constant", "reflect": "reflect", "edge": "edge"}


def numpy_conv3x3(x, kernel, bias, mode):
    """Compute the convolution from its definition, as a sum over nine shifted maps."""
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)), mode=mode)
    h, w, _ = x.shape
    total = sum(padded[i : i + h, j : j + w] @ kernel[i, j] for i in range(3) for j in range(3))
    return total + bias


# Reflection needs two pixels per side.
SHAPES = {mode: [(5, 7), (2, 4), (3, 2)] for mode in MODES}
SHAPES["zeros"] = SHAPES["edge"] = [*SHAPES["reflect"], (1, 5), (6, 1), (1, 1)]


@pytest.mark.parametrize(
    ("padding", "shape"), [(mode, shape) for mode in MODES for shape in SHAPES[mode]]
)
def test_conv_equals_a_sum_over_nine_shifted_maps(random, padding, shape):
    x, kernel, bias = arrays(random, (*shape, 3), (3, 3, 3, 4), (4,))
    expected = numpy_conv3x3(np.asarray(x), np.asarray(kernel), np.asarray(bias), MODES[padding])
    np.testing.assert_allclose(conv3x3(x, kernel, bias, padding=padding), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("padding", "shape"), [(mode, shape) for mode in ("edge", "reflect") for shape in SHAPES[mode]]
)
def test_forms_for_accelerators_and_cpus_are_equal_and_have_the_transposes_of_jax(
    random, padding, shape
):
    x, kernel, cotangent = arrays(random, (2, *shape, 3), (3, 3, 3, 4), (2, *shape, 4))
    form = conv._Form(padding, "default")
    np.testing.assert_allclose(
        conv._convolve_padded(x, kernel, form),
        conv._convolve_and_crop(x, kernel, form),
        atol=1e-5,
    )
    (expected,) = jax.linear_transpose(lambda x: conv._convolve_padded(x, kernel, form), x)(
        cotangent
    )
    for transposed in (conv._convolve_transposed_padded, conv._convolve_transposed_and_crop):
        np.testing.assert_allclose(transposed(cotangent, kernel, form), expected, atol=1e-5)


@pytest.mark.parametrize("platform", ["cpu", "tpu", "cuda"])
@pytest.mark.parametrize("padding", MODES)
@pytest.mark.parametrize("precision", ["default", "high", "highest"])
def test_every_product_has_the_precision_asked_for(random, padding, precision, platform):
    x, kernel, bias = arrays(random, (5, 7, 3), (3, 3, 3, 4), (4,))
    loss = lambda x: conv3x3(x, kernel, bias, padding=padding, precision=precision).sum()
    text = jax.jit(jax.grad(loss)).trace(x).lower(lowering_platforms=(platform,)).as_text()
    products = [line for line in text.splitlines() if "convolution(" in line or "dot_gen" in line]
    assert products
    for line in products:
        # Of both factors; lines without it have the default.
        found = re.findall(r"\b(DEFAULT|HIGH|HIGHEST)\b", line)
        assert found in ([precision.upper()] * 2, [] if precision == "default" else None)


@pytest.mark.parametrize("platform", ["cpu", "tpu", "cuda"])
def test_only_cpus_convolve_padded_maps_with_zeros_around_them(random, platform):
    x, kernel, bias = arrays(random, (5, 7, 3), (3, 3, 3, 4), (4,))
    forward = lambda x: conv3x3(x, kernel, bias, padding="edge").sum()
    for function, zeros in ((forward, "0"), (jax.grad(forward), "2")):
        text = jax.jit(function).trace(x).lower(lowering_platforms=(platform,)).as_text()
        found = re.findall(r"convolution\(.*pad = \[\[(\d), (\d)\], \[(\d), (\d)\]\]", text)
        assert found[-1] == (("1",) * 4 if platform == "cpu" else (zeros,) * 4)


@pytest.mark.parametrize(("first", "same_as"), [(True, "edge"), (False, "zeros")])
def test_edge_first_is_edge_in_the_first_layer_and_zeros_in_others(random, first, same_as):
    x, kernel, bias = arrays(random, (5, 7, 3), (3, 3, 3, 4), (4,))
    out = conv3x3(x, kernel, bias, padding="edge_first", first=first)
    np.testing.assert_array_equal(out, conv3x3(x, kernel, bias, padding=same_as))


@pytest.mark.slow
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


def test_gradient_inside_a_loop_uses_the_canonical_layout(random):
    # In a loop, XLA's CPU compiler uses a slow path for convolutions whose kernel is not in the
    # canonical layout, b01f_01io->b01f.
    x, kernel, bias = arrays(random, (16, 16, 8), (3, 3, 8, 8), (8,))

    def descend(x):
        loss = lambda x: jnp.sum(conv3x3(x, kernel, bias) ** 2)
        return jax.lax.fori_loop(0, 3, lambda _, x: x - 0.01 * jax.grad(loss)(x), x)

    text = jax.jit(descend).lower(x).compile().as_text()
    labels = [line.split("dim_labels=")[1] for line in text.splitlines() if "dim_labels=" in line]
    assert len(labels) == 2
    assert all(label.startswith("b01f_01io->b01f") for label in labels)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("which", "padding"), [("direct", "edge"), ("direct", "reflect"), ("winograd", "edge")]
)
def test_border_padding_adds_under_a_fifth_of_memory_and_flops(params, which, padding):
    def cost(padding):
        config = StyleConfig(size=128, conv=which, padding=padding)
        program = lower_step(params, config, (128, 128))[0].compile()
        return program.memory_analysis().temp_size_in_bytes, program.cost_analysis()["flops"]

    for padded, zeros in zip(cost(padding), cost("zeros"), strict=True):
        assert padded < 1.2 * zeros
