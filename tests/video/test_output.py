"""Videos that are written: each format is read back."""

from fractions import Fraction

import numpy as np
import pytest
from clips import ffmpeg, smooth_noise
from PIL import Image

from jaxstyle.errors import WriteError
from jaxstyle.video.clip import open_clip, read_frames
from jaxstyle.video.output import check_video, write_frames

pytest.importorskip("imageio_ffmpeg", reason="needs '.[video]'")

FRAMES = [np.roll(smooth_noise(0, 48, 64), 2 * n, axis=1) for n in range(8)]


def write(path, frames=FRAMES, rate=Fraction(10), **options):
    check_video(path)
    write_frames(path, iter(frames), (48, 64), rate, scratch=path.parent, **options)
    return path


@pytest.mark.parametrize("suffix", ["mp4", "mov", "webm"])
def test_a_video_keeps_frames_rate_and_colors(tmp_path, suffix):
    clip = open_clip(write(tmp_path / f"a.{suffix}", rate=Fraction(30000, 1001)))
    assert (clip.shape, clip.rate) == ((48, 64), Fraction(30000, 1001))
    frames = list(read_frames(clip, clip.shape))
    assert len(frames) == len(FRAMES)
    for frame, expected in zip(frames, FRAMES, strict=True):
        assert np.abs(frame.mean((0, 1)) - expected.mean((0, 1))).max() < 3
    assert list(tmp_path.iterdir()) == [tmp_path / f"a.{suffix}"]


@pytest.mark.parametrize("suffix", ["gif", "webp"])
def test_an_animation_has_the_rate_on_average(tmp_path, suffix):
    with Image.open(write(tmp_path / f"a.{suffix}", rate=Fraction(24))) as image:
        durations = []
        for index in range(image.n_frames):
            image.seek(index)
            image.load()
            durations.append(image.info["duration"])
    assert len(durations) == 8
    assert abs(sum(durations) - 8000 / 24) <= 10


def test_a_folder_has_one_image_per_frame(tmp_path):
    write(tmp_path / "frames")
    paths = sorted((tmp_path / "frames").iterdir())
    assert [path.name for path in paths] == [f"{n:06}.png" for n in range(1, 9)]
    np.testing.assert_array_equal(np.asarray(Image.open(paths[3])), FRAMES[3])


def test_sound_is_kept(tmp_path):
    source = tmp_path / "source.mp4"
    ffmpeg("-f", "lavfi", "-i", "sine=duration=3", source)
    sound = ("-ss", "1", "-t", "0.8", "-i", str(source))
    for suffix in ("mp4", "webm"):
        clip = open_clip(write(tmp_path / f"a.{suffix}", sound=sound))
        assert clip.sound
        assert abs((clip.seconds or 0) - 0.8) < 0.15


def test_sound_that_ends_early_does_not_shorten_the_video(tmp_path):
    source = tmp_path / "source.mp4"
    ffmpeg("-f", "lavfi", "-i", "sine=duration=0.3", source)
    clip = open_clip(write(tmp_path / "a.mp4", sound=("-t", "0.8", "-i", str(source))))
    assert clip.sound
    assert len(list(read_frames(clip, clip.shape))) == len(FRAMES)


def test_what_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    cases = {"a.avi": "must end in", "file": "frames need a folder", "no/a.mp4": "does not exist"}
    for name, message in cases.items():
        with pytest.raises(WriteError, match=message):
            check_video(tmp_path / name)


def test_a_full_disk_leaves_the_old_video(tmp_path):
    path = write(tmp_path / "a.mp4")
    data = path.read_bytes()

    def full():
        yield FRAMES[0]
        raise OSError(28, "No space left on device")

    with pytest.raises(WriteError, match="No space left on device"):
        write_frames(path, full(), (48, 64), Fraction(10), scratch=tmp_path)
    assert path.read_bytes() == data


def test_frames_of_a_longer_video_before_are_removed(tmp_path):
    for name in ("000005.png", "000009.png", "mine.png"):
        (tmp_path / name).touch()
    frames = smooth_noise(0, 16, 16)
    for count in (4, 2):
        write_frames(tmp_path, [frames] * count, (16, 16), Fraction(5), scratch=tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["000001.png", "000002.png", "000009.png", "mine.png"]
