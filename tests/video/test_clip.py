"""Frames of videos: size, rate, rotation, limits in time, and damaged files."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from clips import ffmpeg
from conftest import IMAGES
from PIL import Image

from jaxstyle.errors import ImageReadError
from jaxstyle.video.clip import open_clip, read_frames

pytest.importorskip("imageio_ffmpeg", reason="needs '.[video]'")


def pattern(path, *options, size="64x48", rate="25", seconds=1):
    """Make a video of a moving pattern."""
    source = f"testsrc=size={size}:rate={rate}:duration={seconds}"
    ffmpeg("-f", "lavfi", "-i", source, *options, path)
    return path


def count(clip, **limits):
    return len(list(read_frames(clip, clip.shape, **limits)))


@pytest.mark.parametrize("suffix", ["mp4", "mov", "webm", "mkv", "gif"])
def test_formats(tmp_path, suffix):
    clip = open_clip(pattern(tmp_path / f"a.{suffix}", rate="10"))
    assert (clip.shape, clip.rate, clip.sound) == ((48, 64), 10, False)
    assert abs((clip.seconds or 0) - 1) < 0.1
    frames = list(read_frames(clip, (24, 32)))
    assert len(frames) == 10
    assert {frame.shape for frame in frames} == {(24, 32, 3)}
    assert np.abs(frames[0].astype(int) - frames[9]).max() > 50


def test_rate_is_exact_and_sound_is_seen(tmp_path):
    sound = ("-f", "lavfi", "-i", "sine=duration=1", "-shortest")
    clip = open_clip(pattern(tmp_path / "a.mp4", *sound, rate="30000/1001"))
    assert clip.rate == Fraction(30000, 1001)
    assert clip.sound


def test_pixels_that_are_not_square_and_a_turned_video(tmp_path):
    path = pattern(tmp_path / "a.mp4", "-vf", "setsar=12/11", size="176x144")
    assert open_clip(path).shape == (144, 192)
    ffmpeg("-display_rotation", 90, "-i", path, "-c", "copy", tmp_path / "turned.mp4")
    clip = open_clip(tmp_path / "turned.mp4")
    assert clip.shape == (192, 144)
    upright = next(read_frames(open_clip(path), (144, 192)))
    turned = next(read_frames(clip, clip.shape))
    assert np.abs(np.rot90(turned, -1).astype(int) - upright).mean() < 8


def test_odd_sizes_and_names(tmp_path):
    path = pattern(tmp_path / "-a:%d 'b'.mkv", "-c:v", "ffv1", "-pix_fmt", "bgr0", size="33x17")
    clip = open_clip(path)
    assert clip.shape == (17, 33)
    assert count(clip) == 25


def test_limits_in_time_and_another_rate(tmp_path):
    clip = open_clip(pattern(tmp_path / "a.mp4", seconds=3))
    whole = list(read_frames(clip, clip.shape))
    part = list(read_frames(clip, clip.shape, start=1, end=2))
    assert (len(whole), len(part)) == (75, 25)
    np.testing.assert_array_equal(part, whole[25:50])
    assert count(clip, start=1, end=2, rate=Fraction(10)) == 10
    assert count(clip, start=5) == 0


def test_frames_of_an_uneven_video_become_even(tmp_path):
    # The second half has a third of the frames.
    choose = "select='lt(n,25)+not(mod(n,3))'"
    path = pattern(tmp_path / "a.webm", "-vf", choose, "-fps_mode", "vfr", seconds=2)
    clip = open_clip(path)
    frames = count(clip)
    assert abs(frames / clip.rate - clip.seconds) < 2 / clip.rate


def test_a_frame_that_began_before_the_first_one_is_shown(tmp_path):
    # The brightness is the number of the frame; frame 2 is shown until frame 8.
    levels = ("color=gray:size=64x48:rate=10:duration=2,format=gray,geq=lum=10*N+20",)
    path, choose = tmp_path / "a.mp4", "select='not(between(n,3,7))'"
    encode = ("-fps_mode", "vfr", "-pix_fmt", "yuv420p", "-crf", 5)
    ffmpeg("-f", "lavfi", "-i", *levels, "-vf", choose, *encode, path)
    clip = open_clip(path)
    assert clip.uneven
    limits = {"start": 0.5, "end": 1.2, "rate": Fraction(10)}
    numbers = [frame.mean() for frame in read_frames(clip, clip.shape, **limits)]
    whole = [frame.mean() for frame in read_frames(clip, clip.shape, rate=Fraction(10))]
    np.testing.assert_array_equal(numbers, whole[5:12])
    assert whole[2] == whole[7] < whole[8]


@pytest.mark.parametrize("curve", ["arib-std-b67", "smpte2084"])
def test_a_high_dynamic_range_keeps_the_colors(tmp_path, curve):
    image = IMAGES / "coffee.jpg"
    to_linear = "format=gbrpf32le,setparams=color_trc=bt709:colorspace=gbr:color_primaries=bt709"
    convert = f"scale=96:64,{to_linear},zscale=t=linear:npl=203,zscale=p=2020:m=2020_ncl:r=tv"
    convert += f":npl=203:t={curve},format=yuv420p10le"
    options = ("-c:v", "libx265", "-x265-params", "crf=8:log-level=none")
    ffmpeg("-i", image, "-vf", convert, *options, tmp_path / "a.mp4")
    ffmpeg("-i", image, "-vf", "scale=96:64", tmp_path / "a.png")
    clip = open_clip(tmp_path / "a.mp4")
    frame = next(read_frames(clip, clip.shape)).astype(int)
    with Image.open(tmp_path / "a.png") as file:
        expected = np.asarray(file.convert("RGB"))
    assert np.abs(frame - expected).mean() < 6
    unchanged = next(read_frames(replace(clip, filters=()), clip.shape)).astype(int)
    assert np.abs(unchanged - expected).mean() > 15


def test_large_videos_that_do_not_name_their_colors(tmp_path):
    # Players take them for BT.709.
    source = ("-f", "lavfi", "-i", "color=green:size=1280x720:rate=5:duration=1", "-vf")
    colors = {}
    for name in ("bt709", "unknown"):
        convert = f"scale=out_color_matrix=bt709,format=yuv420p,setparams=colorspace={name}"
        ffmpeg(*source, convert, tmp_path / f"{name}.mp4")
        clip = open_clip(tmp_path / f"{name}.mp4")
        colors[name] = next(read_frames(clip, clip.shape))[100, 100]
    np.testing.assert_array_equal(colors["unknown"], colors["bt709"])


def test_interlaced_frames(tmp_path):
    # Lines that move down by half of their period from one field to the next.
    stripes = "color=gray:size=64x96:rate=50:duration=1,geq=lum='128+100*sin(PI*(Y/8+N/2))'"
    fields = ("-vf", "tinterlace=interleave_top", "-flags", "+ilme+ildct", "-x264-params", "tff=1")
    ffmpeg("-f", "lavfi", "-i", stripes, *fields, tmp_path / "a.mp4")
    clip = open_clip(tmp_path / "a.mp4")
    combed, whole = (
        np.stack(list(read_frames(c, c.shape))[5:20]).astype(int)
        for c in (replace(clip, filters=()), clip)
    )
    jumps = [np.abs(np.diff(frames, 2, axis=1)).mean() for frames in (combed, whole)]
    assert jumps[1] < 0.5 * jumps[0]


def write_images(folder, names, shape=(16, 24)):
    folder.mkdir()
    for value, name in enumerate(names):
        Image.fromarray(np.full((*shape, 3), 20 * value, np.uint8)).save(folder / name)
    return folder


def values(frames):
    return [int(frame[0, 0, 0]) // 20 for frame in frames]


def test_a_folder_of_images(tmp_path):
    folder = write_images(tmp_path / "a", ["f1.png", "f2.png", "f9.png", "f10.png", "f11.jpg"])
    (folder / "notes.txt").write_text("")
    (folder / "._f1.png").write_text("")
    clip = open_clip(folder)
    assert (clip.shape, clip.rate, clip.seconds, len(clip.files)) == ((16, 24), 25, 0.2, 5)
    frames = list(read_frames(clip, (4, 6)))
    assert values(frames) == [0, 1, 2, 3, 4]
    assert frames[0].shape == (4, 6, 3)
    slow = clip.at_rate(Fraction(2))
    assert values(read_frames(slow, slow.shape, start=1, end=2)) == [2, 3]
    assert values(read_frames(slow, slow.shape, rate=Fraction(1))) == [0, 2, 4]
    assert values(read_frames(slow, slow.shape, rate=Fraction(4), end=1)) == [0, 0, 1, 1]
    assert list(read_frames(slow, slow.shape, start=9)) == []
    assert values(read_frames(clip, clip.shape, end=0.12)) == [0, 1, 2]
    assert values(read_frames(clip, clip.shape, start=0.12)) == [3, 4]


def test_an_image_of_another_size_is_named(tmp_path):
    folder = write_images(tmp_path / "a", ["1.png", "2.png"])
    Image.new("RGB", (20, 20)).save(folder / "3.png")
    frames = []
    with pytest.raises(ImageReadError, match=r"3\.png is 20x20, the images before are 24x16"):
        frames.extend(read_frames(open_clip(folder), (16, 24)))
    assert len(frames) == 2


def test_what_is_no_video(tmp_path):
    cases = {"missing.mp4": "does not exist", "folder.mp4": "the folder has no images"}
    (tmp_path / "folder.mp4").mkdir()
    for name, data in (("text.mp4", b"hello"), ("empty.mp4", b"")):
        (tmp_path / name).write_bytes(data)
        cases[name] = "cannot read the video"
    ffmpeg("-f", "lavfi", "-i", "sine=duration=1", tmp_path / "sound.mp4")
    cases["sound.mp4"] = "it has no video stream"
    for name, message in cases.items():
        with pytest.raises(ImageReadError, match=message) as error:
            open_clip(tmp_path / name)
        assert name in str(error.value)
        assert "\n" not in str(error.value)


def test_a_damaged_video_gives_what_came_before(tmp_path):
    path = pattern(tmp_path / "a.mp4", "-c:v", "libx264", "-g", "10", size="320x240", seconds=4)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 4000] = np.random.default_rng(0).bytes(4000)
    path.write_bytes(data)
    clip, frames = open_clip(path), []
    with pytest.raises(ImageReadError, match=r"is damaged \d\.\d\d seconds after its start: "):
        frames.extend(read_frames(clip, clip.shape))
    assert 20 < len(frames) < 80


def test_closing_the_frames_ends_ffmpeg(tmp_path):
    import psutil

    clip = open_clip(pattern(tmp_path / "a.mp4", seconds=20, size="640x480"))
    frames = read_frames(clip, clip.shape)
    next(frames)
    assert any("ffmpeg" in child.name() for child in psutil.Process().children())
    frames.close()
    assert not any("ffmpeg" in child.name() for child in psutil.Process().children())


def test_without_ffmpeg(tmp_path, monkeypatch):
    path = pattern(tmp_path / "a.mp4")
    monkeypatch.setenv("IMAGEIO_FFMPEG_EXE", str(Path("/nowhere/ffmpeg")))
    monkeypatch.setitem(__import__("sys").modules, "imageio_ffmpeg", None)
    with pytest.raises(ImageReadError, match=r"install it with `pip install 'jaxstyle\[video\]'`"):
        open_clip(path)
