"""Views of runs that compute nothing."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np

from jaxstyle.live.views import PictureView
from jaxstyle.loop.driver import Progress
from jaxstyle.optimize import Info, State

PLAN = [((8, 12), 4), ((16, 24), 6)]


def make_view(save=None, inputs=None):
    return PictureView("out.png", PLAN, inputs or {}, save)


def make_progress(step, value=0.5, shape=(16, 24), loss=None):
    """Progress after `step` steps, at an image of one color."""
    losses = np.linspace(3, 1, step, dtype=np.float32) if loss is None else loss
    trace = Info(losses, {"content": losses / 2}, np.isfinite(losses))
    image = jnp.full((*shape, 3), value, jnp.float32)
    # A view takes nothing from the state.
    state = State(*[None] * len(State._fields))
    return Progress(step, 10, 0, 2, losses[-1:], image, state, trace)


def write_picture(path: Path, color="red", size=(40, 30)):
    from PIL import Image

    Image.new("RGB", size, color).save(path)
    return path
