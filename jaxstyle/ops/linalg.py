"""Linear algebra: roots of symmetric matrices, exact products, unit vectors."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

# jaxlib 0.10 splits a batch of matrices over its thread pool and waits for the parts on a thread
# of the same pool. Several such calls at once can deadlock; one matrix per call cannot.
_eigh_one = jax.custom_batching.sequential_vmap(lambda m: tuple(jnp.linalg.eigh(m)))
# Smallest root that is not 0, for matrices of features of about 1.
_MIN_ROOT = 1e-6


def eigh(
    m: Float[Array, "*batch c c"],
) -> tuple[Float[Array, "*batch c"], Float[Array, "*batch c c"]]:
    """Compute eigenvalues and eigenvectors of symmetric matrices, one matrix at a time.

    Equivalent to `jnp.linalg.eigh`, but not differentiable: the gradient of eigenvectors is
    infinite where eigenvalues are equal. `root` and `inverse_root` have finite gradients.

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


@jax.custom_jvp
def root(m: Float[Array, "*batch c c"]) -> Float[Array, "*batch c c"]:
    """Compute the symmetric square root R of positive semidefinite matrices.

    Negative eigenvalues, which are rounding errors, count as 0. The derivative solves the
    Sylvester equation R dR + dR R = dM. In the basis of eigenvectors, dR_ij = dM_ij / (r_i + r_j)
    with the roots r of the eigenvalues. Departure: r_i + r_j is at least 3 √ε times the largest
    root, with the machine precision ε. Roots below that are rounding errors, and the derivative
    at 0 is infinite. Differentiable once.

    Args:
      m: symmetric positive semidefinite matrices.

    Example:
      The gradient is finite for a matrix without full rank:

      >>> import jax
      >>> import jax.numpy as jnp
      >>> from jaxstyle.ops.linalg import root
      >>> m = jnp.diag(jnp.array([4.0, 0.0]))
      >>> print(root(m))
      [[2. 0.]
       [0. 0.]]
      >>> print(jax.grad(lambda m: root(m)[0, 0])(m))
      [[0.25 0.  ]
       [0.   0.  ]]
    """
    return _root(*_eigenroots(m))


@root.defjvp
def _root_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    roots, vectors = _eigenroots(*primals)
    floor = 3 * np.sqrt(jnp.finfo(roots.dtype).eps) * roots[..., -1:, None]
    # An absolute floor for matrices that are 0.
    sums = jnp.maximum(_pairwise_sums(roots), jnp.maximum(floor, _MIN_ROOT))
    return _root(roots, vectors), _change_basis(vectors, *tangents, 1 / sums)


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def inverse_root(m: Float[Array, "*batch c c"], cutoff: float) -> Float[Array, "*batch c c"]:
    """Compute the symmetric M^-½ on the eigenvectors whose eigenvalue exceeds `cutoff`.

    On all other eigenvectors the result and its derivative are 0. Elsewhere the derivative is
    that of `root`, multiplied by M^-½ from both sides, with a negative sign. Differentiable once.

    Args:
      m: symmetric positive semidefinite matrices.
      cutoff: largest eigenvalue that counts as 0.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxstyle.ops.linalg import inverse_root
      >>> print(inverse_root(jnp.diag(jnp.array([4.0, 0.0])), 1e-6))
      [[0.5 0. ]
       [0.  0. ]]
    """
    values, vectors = eigh(m)
    return _root(_inverse_roots(values, cutoff), vectors)


@inverse_root.defjvp
def _inverse_root_jvp(
    cutoff: float, primals: tuple[Array], tangents: tuple[Array]
) -> tuple[Array, Array]:
    values, vectors = eigh(*primals)
    inverse = _inverse_roots(values, cutoff)
    roots = jnp.sqrt(jnp.maximum(values, cutoff))
    products = inverse[..., :, None] * inverse[..., None, :]
    derivative = _change_basis(vectors, *tangents, -products / _pairwise_sums(roots))
    return _root(inverse, vectors), derivative


def _eigenroots(m: jax.Array) -> tuple[jax.Array, jax.Array]:
    values, vectors = eigh(m)
    return jnp.sqrt(jnp.maximum(values, 0)), vectors


def _inverse_roots(values: jax.Array, cutoff: float) -> jax.Array:
    return jnp.where(values > cutoff, jnp.maximum(values, cutoff) ** -0.5, 0)


def _root(roots: jax.Array, vectors: jax.Array) -> jax.Array:
    return matmul(vectors * roots[..., None, :], vectors.mT)


def _pairwise_sums(x: jax.Array) -> jax.Array:
    return x[..., :, None] + x[..., None, :]


def _change_basis(vectors: jax.Array, tangent: jax.Array, factors: jax.Array) -> jax.Array:
    """Multiply a tangent by `factors`, element by element in the basis of `vectors`."""
    inside = matmul(matmul(vectors.mT, tangent), vectors)
    return matmul(matmul(vectors, inside * factors), vectors.mT)


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
