"""Style losses on the mean and covariance of features.

A Gram matrix mixes both: a mean that is too low can be offset by a few activations that are too
strong. These losses compare them separately.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxstyle.losses.gram import gram_matrix, inner_products
from jaxstyle.losses.positions import positions
from jaxstyle.ops.linalg import matmul, root


class Moments(NamedTuple):
    """First and second raw moments of features over positions. Both can be blended linearly.

    Attributes:
      mean: mean of each channel.
      second: mean product of each pair of channels: the Gram matrix.
    """

    mean: Float[Array, "*batch c"]
    second: Float[Array, "*batch c c"]


class Gaussian(NamedTuple):
    """Mean and covariance of a Gaussian; target of `wasserstein_loss`.

    Attributes:
      mean: mean of each channel.
      root: symmetric square root of the covariance matrix.
    """

    mean: Float[Array, "*batch c"]
    root: Float[Array, "*batch c c"]


def moments(
    features: Float[Array, "*batch h w c"], mask: Float[Array, "*batch h w"] | None = None
) -> Moments:
    """Compute the first and second moments of a feature map, averaged over positions.

    Args:
      features: feature map.
      mask: weight of each position, at least 0; `None` for equal weights.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxstyle.losses import moments
      >>> mean, second = moments(jnp.array([[[1.0, 0.0], [3.0, 4.0]]]))
      >>> print(mean)
      [2. 2.]
      >>> print(second)
      [[5. 6.]
       [6. 8.]]
    """
    weights, flat = positions(features, mask)
    return Moments((weights * flat).sum(axis=-2), gram_matrix(features, mask))


def deviation(moments: Moments) -> Float[Array, "*batch c"]:
    """Compute the standard deviation of each channel.

    The variance is at least 1e-8, so the gradient is finite for a constant channel.

    Args:
      moments: result of the function `moments`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxstyle.losses import deviation, moments
      >>> print(deviation(moments(jnp.array([[[1.0, 0.0], [3.0, 4.0]]]))))
      [1. 2.]
    """
    variance = jnp.diagonal(moments.second, axis1=-2, axis2=-1) - jnp.square(moments.mean)
    # sqrt has infinite slope at 0.
    return jnp.sqrt(jnp.maximum(variance, 1e-8))


def mean_std_loss(
    features: Float[Array, "*batch h w c"],
    target: Moments,
    mask: Float[Array, "*batch h w"] | None = None,
) -> Float[Array, "*batch"]:
    """Compute the squared differences of means and standard deviations, per channel.

    (1/c) (|μ - μ̂|² + |σ - σ̂|²). Huang and Belongie (2017), eq. 13, squared. It equals
    `wasserstein_loss` for independent channels.

    Args:
      features: features of the optimized image.
      target: `moments` of the features of the style image.
      mask: weight of each position, at least 0; `None` for equal weights.

    Example:
      The means differ by 2; the standard deviations are equal:

      >>> import jax.numpy as jnp
      >>> from jaxstyle.losses import mean_std_loss, moments
      >>> style = jnp.arange(12.0).reshape(3, 4, 1)
      >>> print(mean_std_loss(style + 2, moments(style)))
      4.0
    """
    image_moments = moments(features, mask)
    means = jnp.square(image_moments.mean - target.mean).mean(axis=-1)
    return means + jnp.square(deviation(image_moments) - deviation(target)).mean(axis=-1)


def gaussian(moments: Moments) -> Gaussian:
    """Compute the Gaussian with the given moments, the target of `wasserstein_loss`.

    Uses an eigendecomposition, once per target.

    Args:
      moments: result of the function `moments`, or a blend of several.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxstyle.losses import gaussian, moments
      >>> print(gaussian(moments(jnp.array([[[1.0], [5.0]]]))))
      Gaussian(mean=Array([3.], dtype=float32), root=Array([[2.]], dtype=float32))
    """
    mean, second = moments
    return Gaussian(mean, root(second - mean[..., :, None] * mean[..., None, :]))


def wasserstein_loss(
    features: Float[Array, "*batch h w c"],
    target: Gaussian,
    mask: Float[Array, "*batch h w"] | None = None,
) -> Float[Array, "*batch"]:
    """Compute the squared 2-Wasserstein distance between two Gaussians, per channel.

    (1/c) (|μ - μ̂|² + tr Σ + tr Σ̂ - 2 tr (Σ̂^½ Σ Σ̂^½)^½). Let X be the centered features divided by
    √n; then Σ = XᵀX, and the last trace equals tr (X Σ̂ Xᵀ)^½. Maps with fewer positions than
    channels use the latter, a smaller matrix. style-transfer-pytorch adds 10⁻⁴ I to Σ; this
    function does not. Both average the term of the means over channels.

    Args:
      features: features of the optimized image.
      target: `gaussian` of the `moments` of the style image's features.
      mask: weight of each position, at least 0; `None` for equal weights.

    Example:
      Two Gaussians with equal covariance differ by the squared distance of their means:

      >>> import jax.numpy as jnp
      >>> from jaxstyle.losses import gaussian, moments, wasserstein_loss
      >>> style = jnp.arange(12.0).reshape(3, 4, 1)
      >>> print(wasserstein_loss(style + 2, gaussian(moments(style))).round(3))
      4.0
    """
    weights, flat = positions(features, mask)
    mean = (weights * flat).sum(axis=-2)
    # Centering before squaring is accurate where the mean is much larger than the deviation.
    x = jnp.sqrt(weights) * (flat - mean[..., None, :])
    traces = jnp.square(x).sum(axis=(-2, -1)) + jnp.square(target.root).sum(axis=(-2, -1))
    if x.shape[-2] < x.shape[-1]:
        y = matmul(x, target.root)
        product = matmul(y, y.swapaxes(-1, -2))
    else:
        product = matmul(matmul(target.root, inner_products(x)), target.root)
    means = jnp.square(mean - target.mean).sum(axis=-1)
    return (means + traces - 2 * root_trace(product)) / x.shape[-1]


@jax.custom_vjp
def root_trace(m: Float[Array, "*batch c c"]) -> Float[Array, "*batch"]:
    """Compute the trace of M^½ for positive semidefinite matrices.

    The gradient is ½ M^-½. Reverse-mode differentiable, once.

    Args:
      m: symmetric positive semidefinite matrices.
    """
    return _root_trace(m)[0]


def _root_trace(m: jax.Array) -> tuple[jax.Array, jax.Array]:
    root, inverse_root = _roots(m)
    return jnp.trace(root, axis1=-2, axis2=-1), inverse_root


root_trace.defvjp(_root_trace, lambda inverse_root, g: (0.5 * g[..., None, None] * inverse_root,))


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


def _roots(m: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Compute M^½ and M^-½ of positive semidefinite matrices by coupled Newton-Schulz steps.

    Matrix products are fast on accelerators and under `vmap`. Scaled as in Chen and Chow (2014),
    "A Stable Scaling of Newton-Schulz for Improving the Sign Function Computation".
    """
    norm = jnp.maximum(jnp.linalg.norm(m, axis=(-2, -1), keepdims=True), 1e-30)
    identity = jnp.eye(m.shape[-1], dtype=m.dtype)

    def correct(product: jax.Array, scale: jax.Array) -> jax.Array:
        return scale * (1.5 * identity - 0.5 * scale**2 * product)

    def step(pair: tuple[jax.Array, jax.Array], scale: jax.Array) -> tuple[Any, None]:
        y, z = pair
        correction = correct(matmul(z, y), scale)
        return (matmul(y, correction), matmul(correction, z)), None

    scales, y = jnp.asarray(_scales(m.dtype), m.dtype), m / norm
    # In the first step z is the identity.
    z = correct(y, scales[0])
    (y, z), _ = jax.lax.scan(step, (matmul(y, z), z), scales[1:])
    return y * jnp.sqrt(norm), z / jnp.sqrt(norm)
