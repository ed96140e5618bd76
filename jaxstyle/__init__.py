"""Neural style transfer in JAX: photographs repainted in the style of paintings.

A run from files to a file:

    params = jaxstyle.load_weights()
    content = jaxstyle.read_image("photo.jpg")
    style = jaxstyle.read_image("painting.jpg")
    result = jaxstyle.stylize(params, content, style)
    jaxstyle.write_image("result.png", result.image)

Names are imported on first use, so `import jaxstyle` is fast, and the pure functions load no
file formats.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

# Module of each public name. Type checkers read the imports below; a test compares both.
_HOMES = {
    "load_weights": "io.weights",
    "read_image": "io.images",
    "features": "vgg19",
    "limit_filters": "vgg19",
    "normalize_weights": "vgg19",
    "LAYERS": "options",
    "content_loss": "losses",
    "gram_loss": "losses",
    "gram_matrix": "losses",
    "total_variation": "losses",
    "StyleConfig": "config",
    "PRESETS": "presets",
    "Targets": "objective",
    "make_targets": "objective",
    "total_loss": "objective",
    "stylize": "transfer",
    "stylize_batch": "transfer",
    "synthesize_texture": "transfer",
    "reconstruct": "transfer",
    "preview": "transfer",
    "Progress": "loop.driver",
    "Result": "loop.driver",
    "write_image": "io.images",
}

if TYPE_CHECKING:
    from jaxstyle.config import StyleConfig as StyleConfig
    from jaxstyle.io.images import read_image as read_image
    from jaxstyle.io.images import write_image as write_image
    from jaxstyle.io.weights import load_weights as load_weights
    from jaxstyle.loop.driver import Progress as Progress
    from jaxstyle.loop.driver import Result as Result
    from jaxstyle.losses import content_loss as content_loss
    from jaxstyle.losses import gram_loss as gram_loss
    from jaxstyle.losses import gram_matrix as gram_matrix
    from jaxstyle.losses import total_variation as total_variation
    from jaxstyle.objective import Targets as Targets
    from jaxstyle.objective import make_targets as make_targets
    from jaxstyle.objective import total_loss as total_loss
    from jaxstyle.options import LAYERS as LAYERS
    from jaxstyle.presets import PRESETS as PRESETS
    from jaxstyle.transfer import preview as preview
    from jaxstyle.transfer import reconstruct as reconstruct
    from jaxstyle.transfer import stylize as stylize
    from jaxstyle.transfer import stylize_batch as stylize_batch
    from jaxstyle.transfer import synthesize_texture as synthesize_texture
    from jaxstyle.vgg19 import features as features
    from jaxstyle.vgg19 import limit_filters as limit_filters
    from jaxstyle.vgg19 import normalize_weights as normalize_weights

_SUBMODULES = (
    *("adain", "analysis", "batch", "cluster", "color", "config", "errors", "host", "io", "live"),
    *("loop", "losses", "metrics", "motion", "notebook", "objective", "ops", "optimize", "options"),
    *("presets", "pyramid", "reporting", "spec", "terms", "tiled", "tiles", "transfer", "types"),
    *("vgg19", "video"),
)

__all__ = list(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return importlib.import_module(f"jaxstyle.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'jaxstyle' has no attribute {name!r}")
    return getattr(importlib.import_module(f"jaxstyle.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return [*_HOMES, *_SUBMODULES, "__version__"]
