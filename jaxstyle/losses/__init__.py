"""Losses: pure functions of features or pixels, one short file per family.

All take `[..., h, w, c]` maps or `[..., c, c]` statistics and return `[...]`:
leading axes are a batch, and sums run in float32 where features have less.
"""

from jaxstyle.losses.content import content_loss as content_loss
from jaxstyle.losses.gram import gram_loss as gram_loss
from jaxstyle.losses.gram import gram_matrix as gram_matrix
from jaxstyle.losses.moments import Gaussian as Gaussian
from jaxstyle.losses.moments import Moments as Moments
from jaxstyle.losses.moments import deviation as deviation
from jaxstyle.losses.moments import gaussian as gaussian
from jaxstyle.losses.moments import moments as moments
from jaxstyle.losses.moments import wasserstein_loss as wasserstein_loss
from jaxstyle.losses.variation import total_variation as total_variation
