"""Named configurations; flags and `dataclasses.replace` change single fields of one."""

from jaxstyle.config import StyleConfig

GATYS_STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
"""One layer of each block, as in all of their papers."""

PRESETS: dict[str, StyleConfig] = {
    "default": StyleConfig(),
    # The scores below are content and style distance at 256 pixels of coffee with cafe_terrace, and
    # of astronaut with church_at_auvers; the default's are 0.29, 0.14 and 0.25, 0.14.
    #
    # Layers that know palette and light but no strokes, the deepest without what varies together;
    # the matting Laplacian keeps edges where the photograph has them. 0.18, 0.22 and 0.15, 0.25.
    "photographic": StyleConfig(
        style_layers={"relu1_1": 4.0, "relu2_1": 2.0, "mean_std:relu3_1": 1.0},
        laplacian_weight=1000.0,
    ),
    # Strokes are in relu2_1 to relu4_1. relu5_1, which brings the painting's objects, is left out,
    # and self-similarity holds the photograph's forms together. 0.39, 0.08 and 0.33, 0.08.
    "painterly": StyleConfig(
        content_layers={"relu4_2": 1.0, "self_similarity:relu4_1": 1.0},
        style_layers={"relu1_1": 2.0, "relu2_1": 4.0, "relu3_1": 4.0, "relu4_1": 2.0},
        style_weight=25.0,
    ),
    # Deep layers weigh as much as shallow ones, and style far more than content: the painting's
    # objects take the places of the photograph's. 0.50, 0.08 and 0.48, 0.07.
    "abstract": StyleConfig(
        style_layers={**dict.fromkeys(GATYS_STYLE_LAYERS[:4], 2.0), "relu5_1": 1.0},
        style_weight=80.0,
    ),
    # At 192 pixels, of the astronaut in flat colors with black contours: statistics draw lines into
    # flat parts too, 0.36 and 0.11 with the default's layers at this weight; nearest features at
    # shallow layers put flat colors in flat parts and lines on the photograph's edges, 0.20, 0.32.
    "graphic": StyleConfig(
        style_layers={
            "relu1_1": 2.0,
            "relu2_1": 2.0,
            "nearest:relu2_1": 4.0,
            "nearest:relu3_1": 4.0,
        },
        style_weight=40.0,
    ),
    # The same in a mosaic: whole tiles need deeper layers, and the default's lose the face at this
    # weight, 0.58 and 0.12. With nearest features of two of them, 0.52 and 0.26.
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
    # Gatys et al. (2016), section 2: their layers, pooling, optimizer and start. Departures:
    # losses are means, so that α/β holds for any size, and a total variation takes out
    # the white noise that no loss of theirs sees.
    "classic": StyleConfig(
        min_size=65_536,  # one level, whatever the size
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
    # style-transfer-pytorch's losses, weights and schedule, in this network: its own has other
    # scales of activations, so that the balance of layers is not quite the same.
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
