"""Progress in notebooks: `jaxstyle.notebook`."""

import io
import sys

import numpy as np
import pytest
from IPython.core import getipython
from PIL import Image

from jaxstyle import notebook
from jaxstyle.errors import JaxstyleError
from jaxstyle.loop.driver import Progress
from jaxstyle.optimize import Info


class Handle:
    def __init__(self, outputs, data):
        self._outputs, self.index = outputs, len(outputs)
        outputs.append([data])

    def update(self, data, raw):
        assert raw
        self._outputs[self.index].append(data)


@pytest.fixture
def outputs(monkeypatch):
    """Everything that is displayed: for each output its states."""
    found = []

    def display(data, raw, display_id):
        assert raw
        assert display_id
        return Handle(found, data)

    monkeypatch.setattr(notebook, "_display", lambda: display)
    return found


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets."""
    now = [100.0]
    monkeypatch.setattr(notebook.time, "monotonic", lambda: now[0])
    return now


def at(step, steps=10, shape=(24, 32), batch=()):
    losses = np.broadcast_to(np.geomspace(40, 4, steps)[:step], (*batch, step))
    image = np.full((*batch, *shape, 3), step / steps, np.float32)
    trace = Info(losses, {}, np.ones_like(losses, bool))
    return Progress(step, steps, 0, 1, losses[..., -1], image, None, trace, step / steps)


def picture(outputs):
    with Image.open(io.BytesIO(outputs[1][-1]["image/jpeg"])) as image:
        return np.asarray(image.convert("RGB"))


def texts(outputs):
    return [data["text/plain"] for data in outputs[0]]


def test_the_output_is_updated_in_place(outputs, clock):
    show = notebook.show_progress()
    for step in (1, 4, 10):
        show(at(step))
        clock[0] += 5
    assert len(outputs) == 2
    assert texts(outputs) == [
        "step 1 of 10, loss 40",
        "step 4 of 10, loss 18.57, 0:10 left",
        "step 10 of 10, loss 4, 0:10 in all",
    ]
    assert picture(outputs).shape == (384 + 4 + 96, 512, 3)
    assert picture(outputs)[:380].min() > 250


def test_updates_are_limited_but_the_last_step_is_shown(outputs, clock):
    show = notebook.show_progress(every=1.5)
    for step in range(1, 11):
        show(at(step))
        clock[0] += 0.4
    assert [text.split(",")[0] for text in texts(outputs)] == [
        f"step {step} of 10" for step in (1, 5, 9, 10)
    ]


def test_a_second_run_gets_its_own_output(outputs, clock):
    show = notebook.show_progress()
    for step in (1, 10, 1, 10):
        show(at(step))
    assert len(outputs) == 4


def test_a_batch_is_shown_as_a_grid(outputs, clock):
    show = notebook.show_progress(width=200, max_images=5)
    show(at(1, batch=(7,)))
    show(at(10, batch=(7,)))
    pixels = picture(outputs)
    # Three columns of 64x48 pixels; with white in the place of a sixth image.
    assert pixels.shape == (2 * (48 + 4) + 96, 200, 3)
    show(at(1, batch=(7,)))
    with Image.open(io.BytesIO(outputs[3][-1]["image/jpeg"])) as image:
        dark = (np.asarray(image.convert("L"))[:104] < 60).mean(axis=0)
    assert dark[:60].mean() > 0.85
    assert dark[140:].mean() < 0.6


def test_the_curve_falls_and_ends_at_the_current_step(outputs, clock):
    notebook.show_progress()(at(5))
    curve = picture(outputs)[-96:].astype(int)
    blue = curve[..., 2] - curve[..., 0] > 80
    columns = np.flatnonzero(blue.any(axis=0))
    assert abs(columns[-1] - (8 + 496 * 4 / 9)) < 4
    heights = [np.flatnonzero(blue[:, x]).mean() for x in columns]
    assert heights[0] < 14
    assert heights[-1] > 80


def test_the_picture_stays_small(outputs, clock, random):
    noise = random.random((512, 512, 3)).astype(np.float32)
    notebook.show_progress()(at(10)._replace(image=noise))
    assert len(outputs[1][-1]["image/jpeg"]) <= 200_000


def test_a_loss_that_is_not_finite_is_drawn(outputs, clock):
    progress = at(3)
    losses = np.array([1, np.inf, np.nan])
    notebook.show_progress()(progress._replace(trace=progress.trace._replace(loss=losses)))
    assert len(outputs) == 2


def test_outside_of_a_notebook_it_is_an_error(monkeypatch):
    monkeypatch.setattr(getipython, "get_ipython", lambda: None)
    with pytest.raises(JaxstyleError, match="needs a notebook"):
        notebook.show_progress()


def test_without_ipython_it_is_an_error(monkeypatch):
    monkeypatch.setitem(sys.modules, "IPython.core.getipython", None)
    with pytest.raises(JaxstyleError, match="needs a notebook"):
        notebook.show_progress()
