"""Whole runs over clips with known motions, in steps that are too few to look good."""

import itertools

import numpy as np
import pytest
from clips import smooth_noise

from jaxstyle import StyleConfig
from jaxstyle.errors import DivergedError
from jaxstyle.video.follow import Follower, Frame, Neighbor
from jaxstyle.video.paint import Painter, Schedule
from jaxstyle.video.run import paint_again, paint_forwards
from jaxstyle.video.still import StillRegions
from jaxstyle.video.store import open_store

pytest.importorskip("cv2", reason="needs '.[video]'")
slow = pytest.mark.slow

CONFIG = StyleConfig(
    size=64, min_size=64, steps=(8,), style_layers=("relu1_1", "relu2_1"), content_layers="relu2_1"
)
SCHEDULE = Schedule(steps=4)
STYLE = smooth_noise(9, 40, 48).astype(np.float32) / 255


def paint(params, frames, folder, callback=lambda *_: False, schedule=SCHEDULE):
    with open_store(folder, {}) as store:
        painter = Painter(params, [STYLE], CONFIG, schedule)
        done = list(paint_forwards(painter.paint, map(Frame, frames), store, callback))
        return done, [store.read(1, d.frame) for d in done]


def error(images, motion=0):
    """Mean squared difference of neighbors, where frames move to the left by `motion`."""
    images = [image.astype(float)[8:-8, 8:-8] for image in images]
    pairs = list(itertools.pairwise(images))
    if motion:
        return np.mean([np.square(a[:, motion:] - b[:, :-motion]).mean() for a, b in pairs])
    return np.mean([np.square(a - b).mean() for a, b in pairs])


def new_shots(done):
    return [d.record["new_shot"] for d in done]


def moving(count, motion):
    wide = smooth_noise(0, 48, 64 + 8 * count)
    return [wide[:, n * motion : n * motion + 64] for n in range(count)]


@slow
def test_what_does_not_move_does_not_change(params, tmp_path):
    frames = [smooth_noise(0, 48, 64)] * 3
    frames[1] = np.clip(frames[0].astype(int) + 2, 0, 255).astype(np.uint8)  # Noise of a camera.
    done, images = paint(params, frames, tmp_path)
    assert new_shots(done) == [True, False, False]
    assert all((image == images[0]).all() for image in images)
    assert done[0].record["change"] is None
    assert all(d.record["change"] < 0.5 for d in done[1:])


@slow
def test_a_moving_picture_changes_less_than_frame_by_frame(params, tmp_path):
    frames = moving(4, 2)
    done, together = paint(params, frames, tmp_path / "a")
    assert min(d.record["reliable"] for d in done[1:]) > 0.8
    done, alone = paint(params, frames, tmp_path / "b", schedule=Schedule(cut=2.0))
    assert all(new_shots(done))
    assert error(together, 2) < 0.25 * error(alone, 2)


@slow
def test_another_scene_is_a_new_shot(params, tmp_path):
    frames = [*moving(2, 1), *[smooth_noise(5, 48, 64)] * 2]
    done, _ = paint(params, frames, tmp_path)
    assert new_shots(done) == [True, False, True, False]


@slow
def test_a_stopped_run_goes_on_to_the_same_frames(params, tmp_path):
    frames = moving(7, 2)
    whole, expected = paint(params, frames, tmp_path / "a")
    for stop in (2, 5):
        part, _ = paint(params, frames, tmp_path / "b", lambda frame, _, stop=stop: frame >= stop)
        assert [d.frame for d in part] == list(range(stop))
    resumed, images = paint(params, frames, tmp_path / "b")
    assert [d.before for d in resumed] == [True] * 5 + [False] * 2
    np.testing.assert_array_equal(images, expected)
    assert [d.record for d in resumed] == [d.record for d in whole]


@slow
def test_a_loss_that_is_not_finite_names_the_frame(params, tmp_path):
    broken = dict(params, conv1_1=dict(params["conv1_1"], bias=params["conv1_1"]["bias"] * np.nan))
    with pytest.raises(DivergedError, match="at frame 1"):
        paint(broken, moving(1, 1), tmp_path)


def test_a_slow_fade_is_not_still():
    regions, changes = StillRegions(np.full((6, 8, 3), 200, np.uint8)), 0
    for level in range(199, 150, -1):
        changes += not regions.update(np.full((6, 8, 3), level, np.uint8)).any()
    assert 10 <= changes <= 15


def test_what_is_near_a_change_is_not_still():
    frame = np.zeros((9, 12, 3), np.uint8)
    other = frame.copy()
    other[4, 6] = 50
    expected = np.ones((9, 12), bool)
    expected[2:7, 4:9] = False
    np.testing.assert_array_equal(StillRegions(frame).update(other), expected)


def passes(params, frames, folder, count, watch=lambda *_: False):
    """Paint in several passes; return what is done and the images of each. The last is watched."""
    frames = [frame if isinstance(frame, Frame) else Frame(frame) for frame in frames]
    with open_store(folder, {}) as store:
        painter, done = Painter(params, [STYLE], CONFIG, SCHEDULE), []
        done.append(list(paint_forwards(painter.paint, frames, store, lambda *_: False)))
        for number in range(2, count + 1):
            stop = watch if number == count else lambda *_: False
            done.append(list(paint_again(painter, frames, store, number, stop)))
        images = [[store.read(n, d.frame) for d in one] for n, one in enumerate(done, 1)]
    return done, images


@slow
def test_passes_keep_what_does_not_move_and_agree_where_something_does(params, tmp_path):
    frames = [frame.copy() for frame in moving(7, 2)]
    for frame in frames:
        frame[:, :20] = frames[0][:, :20]
    _, alone = paint(params, frames, tmp_path / "alone", schedule=Schedule(cut=2.0))
    done, images = passes(params, frames, tmp_path, 3)
    assert [[d.frame for d in one] for one in done] == [list(range(7))] * 3
    for one in images:
        assert all((image[:, :14] == images[0][0][:, :14]).all() for image in one)
        rest, other = ([image[:, 20:] for image in images] for images in (one, alone))
        assert error(rest, 2) < 0.25 * error(other, 2)
    # The last frame has none behind it, the first one none before it.
    assert (images[1][-1] == images[0][-1]).all()
    assert (images[2][0] == images[1][0]).all()
    assert (images[1][0] != images[0][0]).any()


@slow
def test_a_pass_that_was_stopped_goes_on_to_the_same_frames(params, tmp_path):
    frames = [*moving(4, 2), *[smooth_noise(5, 48, 64)] * 3]
    _, expected = passes(params, frames, tmp_path / "a", 2)
    done, _ = passes(params, frames, tmp_path / "b", 2, lambda frame, _: frame >= 2)
    assert [d.frame for d in done[1]] == [0, 1]
    done, images = passes(params, frames, tmp_path / "b", 2)
    assert [d.before for d in done[0]] == [True] * 7
    assert [d.before for d in done[1]] == [True] * 2 + [False] * 5
    np.testing.assert_array_equal(images, expected)


@slow
def test_no_pass_looks_across_a_cut(params, tmp_path):
    frames = [*moving(3, 1), *[smooth_noise(5, 48, 64)] * 3]
    done, images = passes(params, frames, tmp_path, 3)
    for one in done:
        assert new_shots(one) == [True, False, False, True, False, False]
    # Frame 2 ends its shot, and frame 3 begins one.
    assert (images[1][2] == images[0][2]).all()
    assert (images[2][3] == images[1][3]).all()


def test_what_lights_up_in_its_place_is_not_taken_from_the_frame_before():
    dark = smooth_noise(0, 48, 64) // 2
    light = dark.copy()
    light[16:32, 16:32] += 20
    result = np.zeros_like(dark)
    followed = Follower()(Frame(light), [Neighbor(Frame(dark), result)])
    known = np.asarray(followed.known)
    assert known[20:28, 20:28].max() < 0.05
    assert known[4:-4, 2:8].mean() > 0.9


@slow
def test_a_fade_is_no_new_shot(params, tmp_path):
    picture = smooth_noise(0, 48, 64)
    done, _ = paint(params, [picture // 4 * n for n in (1, 2, 3, 4)], tmp_path)
    assert new_shots(done) == [True, False, False, False]


@slow
def test_what_a_mask_uncovers_is_painted_anew(params, tmp_path):
    picture, masks = smooth_noise(0, 48, 64), np.zeros((3, 1, 48, 64), np.uint8)
    masks[:, :, :24] = 255
    masks[2, :, :, 32:] = 255
    frames = [Frame(picture, mask) for mask in masks]
    _, [images] = passes(params, frames, tmp_path, 1)
    assert (images[1] == images[0]).all()
    assert (images[2] != images[1])[26:, 36:].any()
    assert (images[2] == images[1])[:, :28].all()
