"""Named configurations; flags and `dataclasses.replace` change single fields of one."""

from jaxstyle.config import StyleConfig

GATYS_STYLE_LAYERS = ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
"""One layer of each block, as in all of their papers."""

PRESETS: dict[str, StyleConfig] = {
    "default": StyleConfig(),
    # Gatys et al. (2016), section 2: their layers, pooling, optimizer and start. Departures:
    # losses are means, so that α/β holds for any size, and a total variation takes out
    # the white noise that no loss of theirs sees.
    "classic": StyleConfig(
        min_size=65_536,  # one level, whatever the size
        steps=(500,),
        optimizer="lbfgs",
        line_search=True,
        average=0.0,
        init="noise",
        style_layers=dict.fromkeys(GATYS_STYLE_LAYERS, 1.0),
        style_loss="gram",
        style_weight=200.0,
        tv_weight=20.0,
        pooling="average",
        padding="zeros",
    ),
}
