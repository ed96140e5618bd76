"""Previews of a video by AdaIN."""

import itertools

import numpy as np
import pytest
from clips import smooth_noise

import jaxstyle
from jaxstyle import StyleConfig
from jaxstyle.errors import ImageReadError
from jaxstyle.video.fast import FastPainter, add_guesses
from jaxstyle.video.follow import Frame
from jaxstyle.video.run import paint_forwards
from jaxstyle.video.store import open_store

pytest.importorskip("cv2", reason="needs '.[video]'")
pytestmark = pytest.mark.slow

CONFIG = StyleConfig(size=64)
STYLE = smooth_noise(9, 40, 48).astype(np.float32) / 255


@pytest.fixture(scope="module")
def weights():
    return jaxstyle.load_weights(decoder=True)


def guesses(weights, frames, batch=4):
    return list(add_guesses(map(Frame, frames), weights, [STYLE], CONFIG, batch))


def test_guesses_are_previews_of_each_frame(weights):
    frames = [smooth_noise(n, 48, 64) for n in range(3)]
    made = guesses(weights, frames, batch=2)
    assert len(made) == 3
    for frame, one in zip(frames, made, strict=True):
        expected = jaxstyle.preview(weights, frame.astype(np.float32) / 255, STYLE, CONFIG)
        np.testing.assert_allclose(np.asarray(one.guess), expected, atol=2e-3)
        np.testing.assert_array_equal(one.pixels, frame)


def test_neighbors_agree_more_than_without_the_frames_before(weights, tmp_path):
    wide = smooth_noise(0, 48, 96)
    frames = [wide[:, 2 * n : 2 * n + 64] for n in range(5)]
    frames.append(smooth_noise(5, 48, 64))
    made = guesses(weights, frames)
    with open_store(tmp_path, {}) as store:
        paint = FastPainter().paint
        done = list(paint_forwards(paint, iter(made), store, lambda *_: False))
        images = [store.read(1, d.frame) for d in done]
    assert [d.record["new_shot"] for d in done] == [True] + [False] * 4 + [True]

    def change(images):
        inner = (a[8:-8, 10:-8] - b[8:-8, 8:-10] for a, b in itertools.pairwise(images[:5]))
        return np.mean([np.square(difference).mean() for difference in inner])

    alone = [255 * np.asarray(one.guess, np.float64) for one in made]
    assert change([image.astype(np.float64) for image in images]) < 0.5 * change(alone)


def test_frames_before_damage_are_made_and_those_that_are_there_are_not(weights):
    frames = [smooth_noise(n, 48, 64) for n in range(6)]

    def damaged():
        yield from map(Frame, frames)
        raise ImageReadError("the video is damaged")

    made = []
    with pytest.raises(ImageReadError, match="damaged"):
        made.extend(add_guesses(damaged(), weights, [STYLE], CONFIG, 4, lambda n: n < 1))
    assert [one.guess is None for one in made] == [True] + [False] * 5
