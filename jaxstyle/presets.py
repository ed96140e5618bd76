"""Presets: named configurations, whose fields can be changed by flags or `dataclasses.replace`.

Example:
  >>> import dataclasses
  >>> from jaxstyle import PRESETS
  >>> config = dataclasses.replace(PRESETS["painterly"], size=256)
  >>> config.size, config.style_weight
  (256, 25.0)
"""

from jaxstyle.config import StyleConfig

GATYS_STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
"""Style layers of Gatys et al. (2016): one per block."""

PRESETS: dict[str, StyleConfig] = {
    "default": StyleConfig(),
    # Shallow layers carry color and light but no strokes; mean_std ignores the covariance of the
    # deepest one. The matting Laplacian keeps the edges of the content image.
    "photographic": StyleConfig(
        style_layers={"relu1_1": 4.0, "relu2_1": 2.0, "mean_std:relu3_1": 1.0},
        style_weight=12.0,
        laplacian_weight=1000.0,
    ),
    # Strokes are in relu2_1 to relu4_1. relu5_1 would add objects of the style image;
    # self-similarity preserves the shapes of the content image.
    "painterly": StyleConfig(
        content_layers={"relu4_2": 1.0, "self_similarity:relu4_1": 1.0},
        style_layers={"relu1_1": 2.0, "relu2_1": 4.0, "relu3_1": 4.0, "relu4_1": 2.0},
        style_weight=25.0,
    ),
    # Strong deep layers and a large style weight replace objects of the content image by objects
    # of the style image.
    "abstract": StyleConfig(
        style_layers={**dict.fromkeys(GATYS_STYLE_LAYERS[:4], 2.0), "relu5_1": 1.0},
        style_weight=80.0,
    ),
    # Statistics alone draw lines into flat regions; nearest features of shallow layers keep them
    # flat and put the lines on the edges of the content image.
    "graphic": StyleConfig(
        style_layers={
            "relu1_1": 2.0,
            "relu2_1": 2.0,
            "nearest:relu2_1": 4.0,
            "nearest:relu3_1": 4.0,
        },
        style_weight=40.0,
    ),
    # Whole tiles need deep layers; nearest features of two of them keep the content readable.
    "mosaic": StyleConfig(
        style_layers={
            "relu1_1": 4.0,
            "relu2_1": 4.0,
            "relu3_1": 2.0,
            "nearest:relu3_1": 4.0,
            "nearest:relu4_1": 4.0,
        },
        style_weight=40.0,
    ),
    # Gatys et al. (2016), section 2: layers, pooling, optimizer and start image. Departures:
    # losses are means, so that α/β does not depend on the size; a total variation removes
    # the white noise that the other terms do not penalize.
    "classic": StyleConfig(
        min_size=65_536,  # one level at any size
        steps=(500,),
        optimizer="lbfgs",
        line_search=True,
        init="noise",
        style_layers=dict.fromkeys(GATYS_STYLE_LAYERS, 1.0),
        style_loss="gram",
        style_weight=200.0,
        tv_weight=20.0,
        pooling="average",
        padding="zeros",
    ),
    # Losses, weights and schedule of style-transfer-pytorch. Departure: its VGG19 has
    # differently scaled activations, so the balance between layers is not identical.
    "crowson": StyleConfig(
        min_size=128,
        scale_factor=2**0.5,
        steps=(1000, 500),
        style_layers=dict(zip(GATYS_STYLE_LAYERS, (256, 64, 16, 4, 1), strict=True)),
        content_weight=0.015,
        style_weight=1.0,
        tv_weight=2.0,
        noise=0.0,
        optimizer="adam",
        learning_rate=0.02,
        average=0.99,
        padding="edge_first",
        carry="moments",
    ),
}
