"""Linear algebra: eigendecomposition without deadlocks, exact products, unit vectors."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# jaxlib 0.10 splits a batch of matrices over its thread pool and waits for the parts on a thread
# of the same pool. Several such calls at once can deadlock; one matrix per call cannot.
_eigh_one = jax.custom_batching.sequential_vmap(lambda m: tuple(jnp.linalg.eigh(m)))


@jax.custom_jvp
def eigh(
    m: Float[Array, "*batch c c"],
) -> tuple[Float[Array, "*batch c"], Float[Array, "*batch c c"]]:
    """Compute eigenvalues and eigenvectors of symmetric matrices, one matrix at a time.

    Equivalent to `jnp.linalg.eigh`.

    Args:
      m: symmetric matrices.

    Returns:
      Eigenvalues in ascending order, and eigenvectors as columns.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxstyle.ops.linalg import eigh
      >>> values, vectors = eigh(jnp.array([[2.0, 1.0], [1.0, 2.0]]))
      >>> print(values.round(4))
      [1. 3.]
    """
    return jnp.vectorize(_eigh_one, signature="(c,c)->(c),(c,c)")(m)


@eigh.defjvp
def _eigh_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[tuple, tuple]:
    """Compute dλ_i = dS_ii and dV = V K, where dS = Vᵀ dM V.

    K_ij = dS_ij / (λ_j - λ_i) off the diagonal, and 0 on it.
    """
    values, vectors = eigh(*primals)
    d_s = vectors.swapaxes(-1, -2) @ tangents[0] @ vectors
    identity = jnp.eye(values.shape[-1], dtype=values.dtype)
    gaps = values[..., None, :] - values[..., :, None] + identity
    d_vectors = vectors @ (d_s * (1 - identity) / gaps)
    return (values, vectors), (jnp.diagonal(d_s, axis1=-2, axis2=-1), d_vectors)


def matmul(a: jax.Array, b: jax.Array) -> jax.Array:
    """Multiply matrices in full float32 precision, on every device.

    By default, accelerators round float32 operands to fewer bits.

    Args:
      a: matrices `[*batch, n, k]`.
      b: matrices `[*batch, k, m]`.
    """
    return jnp.matmul(a, b, precision="highest")


def unit_vectors(x: Float[Array, "*batch c"]) -> Float[Array, "*batch c"]:
    """Scale vectors along the last axis to length 1.

    Vectors shorter than 1e-6 are multiplied by 1e6, so the gradient is finite at 0.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxstyle.ops.linalg import unit_vectors
      >>> print(unit_vectors(jnp.array([[3.0, 4.0], [0.0, 0.0]])))
      [[0.6 0.8]
       [0.  0. ]]
    """
    squares = jnp.square(x).sum(axis=-1, keepdims=True)
    return x * jax.lax.rsqrt(jnp.maximum(squares, 1e-12))
