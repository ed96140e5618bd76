"""Traces of the square roots of positive semidefinite matrices, by Newton-Schulz steps.

The steps are matrix products, which are fast on accelerators and under `vmap`. Scaled as in Chen
and Chow (2014), "A Stable Scaling of Newton-Schulz for Improving the Sign Function Computation".
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxstyle.ops.linalg import matmul


def root_trace(m: Float[Array, "*batch c c"]) -> Float[Array, "*batch"]:
    """Compute the trace of M^½ for positive semidefinite matrices.

    The gradient is ½ M^-½. Reverse-mode differentiable, once.

    Args:
      m: symmetric positive semidefinite matrices.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxstyle.ops.newton_schulz import root_trace
      >>> print(root_trace(jnp.diag(jnp.array([4.0, 9.0]))).round(3))
      5.0
    """
    return root_traces([m])[0]


@jax.custom_vjp
def root_traces(ms: Sequence[Float[Array, "*batch _c _c"]]) -> list[Float[Array, "*batch"]]:
    """Compute the trace of M^½ for matrices of different sizes.

    Equivalent to `root_trace` of each. Accelerators, which wait for each launch of a kernel,
    compute all of them together: small matrices become blocks on the diagonal of one matrix as
    large as the largest.

    Args:
      ms: symmetric positive semidefinite matrices, all with the same batch axes.
    """
    return _root_traces(ms)[0]


def _root_traces(ms: Sequence[jax.Array]) -> tuple[list[jax.Array], list[jax.Array]]:
    if not ms:
        return [], []
    return jax.lax.platform_dependent(list(ms), cpu=_roots_in_turn, default=_roots_together)


def _backward(inverse_roots: list[jax.Array], cotangents: list[jax.Array]) -> tuple[list[Any]]:
    pairs = zip(inverse_roots, cotangents, strict=True)
    return ([0.5 * g[..., None, None] * root for root, g in pairs],)


root_traces.defvjp(_root_traces, _backward)


def _scales(dtype: Any) -> list[float]:
    """Compute the scale of each Newton-Schulz step.

    It raises the smallest root as far as possible without raising any root above 1. Smaller
    roots, relative to the root of the matrix's norm, are damped: those below √ε are rounding
    errors, and in float32 a margin keeps their noise out of the gradient.
    """
    is_double = jnp.finfo(dtype).bits == 64
    root, error = (1e-8, 1e-8) if is_double else (1e-3, 1e-5)
    scales = []
    while root < 1 - error:
        scale = math.sqrt(3 / (1 + root + root**2))
        root = scale * root * (1.5 - 0.5 * (scale * root) ** 2)
        scales.append(scale)
    return scales


def _correction(product: jax.Array, scale: float | jax.Array) -> jax.Array:
    identity = jnp.broadcast_to(jnp.eye(product.shape[-1], dtype=product.dtype), product.shape)
    return scale * (1.5 * identity - 0.5 * scale**2 * product)


def _roots_in_turn(ms: list[jax.Array]) -> tuple[list[jax.Array], list[jax.Array]]:
    """Compute tr M^½ and M^-½ of one matrix after the other."""
    pairs = [_root_trace_and_inverse(m) for m in ms]
    return [trace for trace, _ in pairs], [inverse_root for _, inverse_root in pairs]


def _root_trace_and_inverse(m: jax.Array) -> tuple[jax.Array, jax.Array]:
    norm = jnp.maximum(jnp.linalg.norm(m, axis=(-2, -1), keepdims=True), 1e-30)

    def step(pair: tuple[jax.Array, jax.Array], scale: jax.Array) -> tuple[Any, None]:
        y, z = pair
        correction = _correction(matmul(z, y), scale)
        return (matmul(y, correction), matmul(correction, z)), None

    scales, y = jnp.asarray(_scales(m.dtype), m.dtype), m / norm
    # In the first step z is the identity.
    z = _correction(y, scales[0])
    (y, z), _ = jax.lax.scan(step, (matmul(y, z), z), scales[1:])
    root, inverse_root = y * jnp.sqrt(norm), z / jnp.sqrt(norm)
    return jnp.trace(root, axis1=-2, axis2=-1), inverse_root


def _roots_together(ms: list[jax.Array]) -> tuple[list[jax.Array], list[jax.Array]]:
    """Compute tr M^½ and M^-½ of all matrices at once, as blocks of a few larger ones."""
    sizes = [m.shape[-1] for m in ms]
    places, size = _place_blocks(sizes), max(sizes)
    bins = [jnp.zeros_like(ms[0], shape=(*ms[0].shape[:-2], size, size))] * (1 + max(places)[0])
    # Number 0 is for rows that belong to no block.
    numbers = np.zeros((len(bins), size), int)
    for number, (m, (k, start)) in enumerate(zip(ms, places, strict=True), start=1):
        around = [(0, 0)] * (m.ndim - 2) + [(start, size - start - m.shape[-1])] * 2
        bins[k] += jnp.pad(m, around)
        numbers[k, start : start + m.shape[-1]] = number
    packed = jnp.stack(bins, axis=-3)

    def sum_blocks(rows: jax.Array) -> jax.Array:
        """Sum over the rows of each block; return one number per row."""
        same_block = jnp.asarray(numbers[:, :, None] == numbers[:, None, :], rows.dtype)
        return matmul(same_block, rows[..., None])[..., 0]

    norm = jnp.maximum(jnp.sqrt(sum_blocks(jnp.square(packed).sum(axis=-1))), 1e-30)
    first, *scales = _scales(packed.dtype)
    y = packed / norm[..., None]
    z = _correction(y, first)
    y = matmul(y, z)
    for scale in scales:
        correction = _correction(matmul(z, y), scale)
        y, z = matmul(y, correction), matmul(correction, z)
    roots = jnp.sqrt(norm)
    traces = sum_blocks(jnp.diagonal(y, axis1=-2, axis2=-1) * roots)
    inverse_roots = z / roots[..., None]
    ends = [start + size for (_, start), size in zip(places, sizes, strict=True)]
    inverse_roots = [
        inverse_roots[..., k, start:end, start:end]
        for (k, start), end in zip(places, ends, strict=True)
    ]
    return [traces[..., k, start] for k, start in places], inverse_roots


def _place_blocks(sizes: Sequence[int]) -> list[tuple[int, int]]:
    """Place blocks on the diagonals of as few matrices of the largest size as possible.

    Returns:
      For each block the number of its matrix, and its first row there.
    """
    places, used = [(0, 0)] * len(sizes), []
    for i in sorted(range(len(sizes)), key=lambda i: -sizes[i]):
        fits = (k for k, rows in enumerate(used) if rows + sizes[i] <= max(sizes))
        k = next(fits, len(used))
        used += [0] * (k == len(used))
        places[i] = k, used[k]
        used[k] += sizes[i]
    return places
