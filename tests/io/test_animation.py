"""Animated files, read back."""

import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from jaxstyle.errors import WriteError
from jaxstyle.io import video
from jaxstyle.io.animation import check_animation, open_animation
from jaxstyle.io.pillow import pixel_limit

TIMES = [400, 80, 80, 800]


@pytest.fixture
def frames():
    """Four frames: a gradient that turns from red to blue."""
    y, x = np.mgrid[:48, :65] / 64
    return [np.stack([x * (1 - t), y, x * t], axis=-1).astype(np.float32) for t in (0, 0.3, 0.6, 1)]


def write(path, frames, times=TIMES):
    with open_animation(path, frames[0].shape) as animation:
        for frame in frames:
            animation.append(frame)
        animation.write(times)


def read(path):
    """Frames and their times in milliseconds."""
    found, times = [], []
    with Image.open(path) as image:
        assert image.info["loop"] == 0
        for index in range(image.n_frames):
            image.seek(index)
            found.append(np.asarray(image.convert("RGB"), np.float32) / 255)
            times.append(image.info["duration"])
    return found, times


def blurred(image):
    return image[:48, :64].reshape(12, 4, 16, 4, 3).mean((1, 3))


@pytest.mark.parametrize("suffix", ["gif", "webp"])
def test_frames_and_times_are_kept(tmp_path, frames, suffix):
    path = tmp_path / f"a.{suffix}"
    write(path, frames)
    found, times = read(path)
    assert times == TIMES
    for one, other in zip(found, frames, strict=True):
        np.testing.assert_allclose(blurred(one), blurred(other), atol=0.05)
    assert list(tmp_path.iterdir()) == [path]


def probe(path):
    command = [video.find_ffmpeg(), "-hide_banner", "-i", str(path), "-f", "null", "-"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stderr


def test_video_has_even_sides_and_repeats_frames(tmp_path, frames):
    pytest.importorskip("imageio_ffmpeg", reason="needs '.[video]'")
    path = tmp_path / "a.mp4"
    write(path, frames)
    report = probe(path)
    assert re.search(r"h264.*yuv420p\(tv, bt709.*64x48", report)
    # 1360 ms at 25 frames per second.
    assert re.findall(r"frame=\s*(\d+)", report)[-1] == "34"
    raw = [video.find_ffmpeg(), "-loglevel", "error", "-i", path, "-f", "rawvideo"]
    raw += ["-pix_fmt", "rgb24", "-"]
    data = subprocess.run(raw, capture_output=True, check=True).stdout
    shown = np.frombuffer(data, np.uint8).reshape(34, 48, 64, 3) / np.float32(255)
    for one, other in ((shown[0], frames[0]), (shown[11], frames[1]), (shown[-1], frames[3])):
        np.testing.assert_allclose(blurred(one), blurred(other), atol=0.04)
    assert list(tmp_path.iterdir()) == [path]


def test_errors_of_ffmpeg_are_passed_on(tmp_path, frames, monkeypatch):
    fake = tmp_path / "ffmpeg"
    fake.write_text("#!/bin/sh\necho 'no such codec' >&2\nexit 3\n")
    fake.chmod(0o755)
    monkeypatch.setattr(video, "find_ffmpeg", lambda: str(fake))
    reel = Image.fromarray(np.zeros((48, 64, 3), np.uint8))
    with pytest.raises(OSError, match="ffmpeg: no such codec"):
        video.write_video(tmp_path / "a.mp4", reel, [400_000])


def test_missing_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("jaxstyle.io.formats.find_spec", lambda name: None)
    with pytest.raises(WriteError, match=re.escape("pip install 'jaxstyle[video]'")):
        check_animation(tmp_path / "a.mp4")


def test_unusable_ffmpeg_is_an_error(tmp_path, monkeypatch):
    class Broken:
        @staticmethod
        def get_ffmpeg_exe():
            raise RuntimeError("No ffmpeg exe could be found.")

    monkeypatch.setattr("jaxstyle.io.formats.find_spec", lambda name: object())
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", Broken)
    with pytest.raises(WriteError, match="No ffmpeg exe"):
        check_animation(tmp_path / "a.mp4")


def test_unknown_suffix_is_an_error(tmp_path):
    with pytest.raises(WriteError, match=r"must end in \.gif, \.webp, \.mp4"):
        check_animation(tmp_path / "a.avi")


@pytest.mark.parametrize(("suffix", "edge"), [("gif", 640), ("webp", 1024)])
def test_large_images_are_reduced(tmp_path, suffix, edge):
    with open_animation(tmp_path / f"a.{suffix}", (600, 1500)) as animation:
        assert animation.shape == (round(edge * 0.4), edge)


def test_limit_of_pixels_holds_for_frames(tmp_path, frames):
    path = tmp_path / "a.gif"
    with pixel_limit(1000), open_animation(path, (480, 650)) as animation:
        assert 900 < animation.shape[0] * animation.shape[1] <= 1000


def full(*_, **__):
    raise OSError(28, "No space left on device")


def test_full_disk_is_reported_when_the_animation_is_written(tmp_path, frames, monkeypatch):
    path = tmp_path / "a.gif"
    with open_animation(path, (48, 65)) as animation:
        animation.append(frames[0])
        with monkeypatch.context() as patch:
            patch.setattr(Image.Image, "save", full)
            animation.append(frames[1])
        with pytest.raises(WriteError, match="No space left"):
            animation.write([80, 80])
    assert not path.exists()


def test_opacity_is_put_on_white(tmp_path):
    path = tmp_path / "a.webp"
    clear = np.zeros((16, 16, 4), np.float32)
    write(path, [clear, clear + np.float32([0, 0, 0, 1])], [80, 80])
    found, _ = read(path)
    assert np.min(found[0]) > 0.98
    assert np.max(found[1]) < 0.02
