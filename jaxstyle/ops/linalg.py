"""Eigenvectors that cannot stall a program."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# A batch of matrices is given to LAPACK in parts, by a thread that waits for other threads of the
# same pool: where several layers do so on two cores, all wait (jaxlib 0.10). One at a time
# is done by the thread itself.
_one = jax.custom_batching.sequential_vmap(lambda m: tuple(jnp.linalg.eigh(m)))


@jax.custom_jvp
def eigh(
    m: Float[Array, "*batch c c"],
) -> tuple[Float[Array, "*batch c"], Float[Array, "*batch c c"]]:
    """`jnp.linalg.eigh`, one matrix after the other: eigenvalues, eigenvectors in columns."""
    return jnp.vectorize(_one, signature="(c,c)->(c),(c,c)")(m)


@eigh.defjvp
def _eigh_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[tuple, tuple]:
    """With dS = Vᵀ dM V: dλ_i = dS_ii, and V dS_ij / (λ_j - λ_i) off the diagonal."""
    values, vectors = eigh(*primals)
    change = vectors.swapaxes(-1, -2) @ tangents[0] @ vectors
    one = jnp.eye(values.shape[-1], dtype=values.dtype)
    gaps = values[..., None, :] - values[..., :, None] + one
    turn = vectors @ (change * (1 - one) / gaps)
    return (values, vectors), (jnp.diagonal(change, axis1=-2, axis2=-1), turn)
