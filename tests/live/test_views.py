"""What a page gets to know of a run."""

import json
from pathlib import Path

import numpy as np
import pytest
from live.runs import make_progress, make_view

from jaxstyle.live.views import BatchView


def item(number, **fields):
    return {"output": f"{number}.png", "status": "done", "loss": 1.0, "seconds": 2.0, **fields}


def test_a_picture_is_running_once_there_is_an_image():
    view = make_view()
    assert view.fields()["phase"] == "starting"
    view.update(make_progress(4))
    fields = view.fields()
    assert (fields["phase"], fields["step"], fields["steps"]) == ("running", 4, 10)
    # Four of ten steps, on a quarter of the pixels.
    assert fields["fraction"] == pytest.approx(4 / (4 + 6 * 4))


def test_time_left_follows_from_the_pace_since_the_first_steps(monkeypatch):
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    view = make_view()
    # Compiling before the first steps takes no part in the pace.
    now = 200.0
    view.update(make_progress(4))
    assert view.fields()["left"] is None
    now = 210.0
    view.update(make_progress(7))
    # 12 of the 28 units of work took 10 seconds, and 12 are left.
    assert view.fields()["left"] == pytest.approx(10)


def test_curves_are_thinned_and_valid_json():
    losses = np.linspace(2, 1, 5000, dtype=np.float32)
    losses[-1] = np.nan
    view = make_view()
    view.update(make_progress(10, loss=losses))
    curves = json.loads(json.dumps(view.fields(), allow_nan=False))["curves"]
    assert curves["steps"][0] == 1
    assert curves["steps"][-1] == 5000
    assert len(curves["steps"]) == len(curves["loss"]) == len(curves["terms"]["content"]) == 400
    assert curves["loss"][-1] is None


def test_a_view_does_not_keep_the_state_of_the_optimizer():
    view, progress = make_view(), make_progress(1)
    view.update(progress)
    kept = [value for part in vars(view).values() if isinstance(part, tuple) for value in part]
    assert any(value is progress.image for value in kept)
    assert not any(value is progress.state for value in kept)


def test_the_last_state_stays():
    view = make_view()
    view.finish(np.zeros((4, 4, 3), np.float32), "all done", complete=True)
    view.end("failed", "the run has ended.")
    view.stop()
    assert (view.phase, view.message) == ("done", "all done")


@pytest.mark.parametrize("early", [True, False])
def test_stop_reaches_a_run_that_begins_later(early):
    view, calls = make_view(), []
    if early:
        view.stop()
    view.on_stop(lambda: calls.append(1))
    if not early:
        assert calls == []
        view.stop()
    assert calls == [1]
    assert view.phase == "stopping"


def test_saving_writes_the_current_image_until_the_result_is_written():
    saved = []
    view = make_view(save=lambda image, step: saved.append((image, step)))
    with pytest.raises(ValueError, match="cannot be saved"):
        view.save()
    view.update(make_progress(1, 0.25))
    view.save()
    ((image, step),) = saved
    assert (image.shape, image.max(), step) == ((16, 24, 3), 0.25, 1)
    view.close_saving()
    assert not view.fields()["can_save"]
    with pytest.raises(ValueError, match="cannot be saved"):
        view.save()


def test_control_characters_of_names_are_escaped():
    view = make_view(inputs={"content": [Path("a\x1b[2J.png")]})
    assert view.fields()["inputs"][0]["file"] == "a\\x1b[2J.png"


def test_a_wall_counts_all_jobs_and_keeps_the_newest_images():
    view = BatchView(Path("out"))
    view.plan(100.0, items=400, done=10)
    for number in range(300):
        view.item(item(number))
    for number in range(150):
        view.item({"output": "bad.png", "status": "failed", "error": f"reason {number}"})
    fields = view.fields()
    counts = ("total", "before", "done", "failed")
    assert [fields[name] for name in counts] == [400, 10, 300, 150]
    assert len(fields["tiles"]) == 120
    assert fields["tiles"][-1]["name"] == "299.png"
    assert fields["failures"][-1]["error"] == "reason 149"
    assert len(fields["failures"]) == 100
    assert view.file(fields["tiles"][0]["number"]) == Path("out/180.png")
    assert view.file("179") is None


@pytest.mark.parametrize(("count", "phase"), [(2, "done"), (1, "stopped")])
def test_a_batch_with_jobs_left_was_stopped(count, phase):
    view = BatchView(Path("out"))
    view.plan(1.0, items=2, done=0)
    for number in range(count):
        view.item(item(number))
    view.finish("ended")
    assert view.phase == phase
