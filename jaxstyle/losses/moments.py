"""Style losses on the mean and covariance of features.

A Gram matrix mixes both: a mean that is too low can be offset by a few activations that are too
strong. These losses compare them separately.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxstyle.losses.gram import gram_matrix, inner_products
from jaxstyle.losses.positions import positions
from jaxstyle.ops.linalg import matmul, root
from jaxstyle.ops.newton_schulz import root_trace


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
    second = jnp.diagonal(moments.second, axis1=-2, axis2=-1)
    return root_of_variance(second - jnp.square(moments.mean))


def root_of_variance(variance: Float[Array, "*batch c"]) -> Float[Array, "*batch c"]:
    """Compute the square root of variances, which are taken to be at least 1e-8."""
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
    # Without the products of pairs of channels, which `moments` computes.
    weights, flat = positions(features, mask)
    mean = (weights * flat).sum(axis=-2)
    variance = (weights * jnp.square(flat - mean[..., None, :])).sum(axis=-2)
    means = jnp.square(mean - target.mean).mean(axis=-1)
    deviations = root_of_variance(variance) - deviation(target)
    return means + jnp.square(deviations).mean(axis=-1)


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
    rest, product = wasserstein_parts(features, target, mask)
    return rest - root_trace(product)


def wasserstein_parts(
    features: Float[Array, "*batch h w c"],
    target: Gaussian,
    mask: Float[Array, "*batch h w"] | None = None,
) -> tuple[Float[Array, "*batch"], Float[Array, "*batch n n"]]:
    """Compute `wasserstein_loss` as a number and a matrix M: the loss is number - tr M^½.

    Args:
      features: as for `wasserstein_loss`.
      target: as for `wasserstein_loss`.
      mask: as for `wasserstein_loss`.
    """
    weights, flat = positions(features, mask)
    mean = (weights * flat).sum(axis=-2)
    # Centering before squaring is accurate where the mean is much larger than the deviation.
    n, channels = flat.shape[-2:]
    if features.dtype == flat.dtype:
        x, divisor = jnp.sqrt(weights) * (flat - mean[..., None, :]), 1
    else:
        # The centered map stays in half precision, so that no larger one is written to memory.
        x, divisor = features.reshape(flat.shape) - mean[..., None, :].astype(features.dtype), n
        if mask is not None:
            x *= jnp.sqrt(n * weights).astype(features.dtype)
    if n < channels:
        x = x.astype(flat.dtype)
        y = matmul(x, target.root)
        variance = jnp.square(x).sum(axis=(-2, -1)) / divisor
        product = matmul(y, y.swapaxes(-1, -2)) / divisor
        return _scale_parts(mean - target.mean, variance, product, target)
    return parts_of_covariance(mean - target.mean, inner_products(x) / divisor, target)


def parts_of_covariance(
    difference: Float[Array, "*batch c"], covariance: Float[Array, "*batch c c"], target: Gaussian
) -> tuple[Float[Array, "*batch"], Float[Array, "*batch c c"]]:
    """Compute `wasserstein_parts` from a covariance.

    Args:
      difference: mean of the features minus that of the target.
      covariance: covariance of the features.
      target: as for `wasserstein_loss`.
    """
    variance = jnp.trace(covariance, axis1=-2, axis2=-1)
    product = matmul(matmul(target.root, covariance), target.root)
    return _scale_parts(difference, variance, product, target)


def _scale_parts(
    difference: Array, variance: Array, product: Array, target: Gaussian
) -> tuple[Array, Array]:
    channels = difference.shape[-1]
    target_variance = jnp.square(target.root).sum(axis=(-2, -1))
    means = jnp.square(difference).sum(axis=-1)
    return (means + variance + target_variance) / channels, (2 / channels) ** 2 * product
