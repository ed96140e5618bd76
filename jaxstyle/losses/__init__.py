"""Losses: pure functions of features or pixels, one short module per family.

All take maps `[..., h, w, c]` or statistics such as `[..., c, c]` and return `[...]`: leading axes
are a batch. Sums of half-precision features are computed in float32.
"""

from jaxstyle.losses.content import content_loss as content_loss
from jaxstyle.losses.families import StyleFamily as StyleFamily
from jaxstyle.losses.families import register_style_loss as register_style_loss
from jaxstyle.losses.families import style_family as style_family
from jaxstyle.losses.families import style_sums as style_sums
from jaxstyle.losses.gram import gram_loss as gram_loss
from jaxstyle.losses.gram import gram_matrix as gram_matrix
from jaxstyle.losses.laplacian import color_windows as color_windows
from jaxstyle.losses.laplacian import laplacian_loss as laplacian_loss
from jaxstyle.losses.moments import Gaussian as Gaussian
from jaxstyle.losses.moments import Moments as Moments
from jaxstyle.losses.moments import deviation as deviation
from jaxstyle.losses.moments import gaussian as gaussian
from jaxstyle.losses.moments import mean_std_loss as mean_std_loss
from jaxstyle.losses.moments import moments as moments
from jaxstyle.losses.moments import wasserstein_loss as wasserstein_loss
from jaxstyle.losses.neighbors import nearest_loss as nearest_loss
from jaxstyle.losses.neighbors import points as points
from jaxstyle.losses.neighbors import transport_loss as transport_loss
from jaxstyle.losses.quantiles import channel_quantiles as channel_quantiles
from jaxstyle.losses.quantiles import histogram_loss as histogram_loss
from jaxstyle.losses.quantiles import sliced_loss as sliced_loss
from jaxstyle.losses.quantiles import sliced_quantiles as sliced_quantiles
from jaxstyle.losses.similarity import self_similarity as self_similarity
from jaxstyle.losses.similarity import self_similarity_loss as self_similarity_loss
from jaxstyle.losses.temporal import temporal_loss as temporal_loss
from jaxstyle.losses.variation import total_variation as total_variation
