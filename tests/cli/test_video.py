"""`jaxstyle video`: from a clip to a clip, resumed, interrupted, damaged."""

import json
import signal
import subprocess
import sys
import time
from fractions import Fraction

import numpy as np
import pytest
from clips import smooth_noise
from conftest import assert_same_picture, with_devices
from PIL import Image

from jaxstyle.cli import main
from jaxstyle.cli import video as videos
from jaxstyle.cli.parser import make_parser
from jaxstyle.errors import WriteError
from jaxstyle.io.video import encode
from jaxstyle.video.clip import open_clip, read_frames
from jaxstyle.video.paint import Schedule

pytest.importorskip("cv2", reason="needs '.[video]'")
pytest.importorskip("imageio_ffmpeg", reason="needs '.[video]'")
pytestmark = pytest.mark.slow

OPTIONS = ["--size", "48", "--steps", "6", "--frame-steps", "3"]
OPTIONS += ["--style-layers", "relu1_1", "--content-layers", "relu2_1"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a clip of six frames that move to the left, and a style."""
    wide = smooth_noise(0, 40, 64)
    frames = (np.ascontiguousarray(wide[:, n : n + 48]).tobytes() for n in range(6))
    encode(tmp_path / "clip.mp4", frames, (48, 40), Fraction(12))
    Image.fromarray(smooth_noise(1, 40, 40)).save(tmp_path / "style.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def argv(out="out.mp4", *options, clip="clip.mp4"):
    return ["video", clip, "style.png", "-o", out, *OPTIONS, *options]


def count(path):
    clip = open_clip(path)
    return len(list(read_frames(clip, clip.shape)))


def names(folder):
    return {path.name for path in folder.iterdir()} - {"clip.mp4", "style.png"}


def test_the_flags_have_the_defaults_of_the_schedule():
    args = make_parser().parse_args(["video", "clip.mp4", "style.png", "-o", "out.mp4"])
    assert (args.frame_steps, args.temporal_weight) == (Schedule.steps, Schedule.weight)


def test_a_video_becomes_a_video(folder, capsys):
    assert main(argv()) == 0
    clip = open_clip(folder / "out.mp4")
    assert (clip.shape, clip.rate, count(clip.path)) == ((40, 48), 12, 6)
    assert "out.mp4: 48x40, 6 frames" in capsys.readouterr().err
    assert names(folder) == {"out.mp4"}


def test_part_of_a_video_at_another_rate_as_a_folder(folder):
    assert main(argv("frames", "--from", "0:00.25", "--to", "0.5", "--fps", "8")) == 0
    assert [path.name for path in sorted((folder / "frames").iterdir())] == [
        "000001.png",
        "000002.png",
    ]


def test_kept_frames_are_not_painted_again(folder, capsys):
    assert main(argv("a.gif", "--keep-frames")) == 0
    assert names(folder) == {"a.gif", "a.gif.frames"}
    first = (folder / "a.gif").read_bytes()
    (folder / "a.gif").unlink()
    stamps = {p: p.stat().st_mtime_ns for p in (folder / "a.gif.frames").rglob("*.png")}
    assert main(argv("a.gif", "--keep-frames")) == 0
    assert (folder / "a.gif").read_bytes() == first
    assert {p: p.stat().st_mtime_ns for p in stamps} == stamps
    capsys.readouterr()
    assert main(argv("a.gif", "--seed", "1")) == 6
    assert "of a run with other inputs or options" in capsys.readouterr().err


def test_an_interrupted_run_writes_what_there_is_and_goes_on(folder):
    command = [sys.executable, "-m", "jaxstyle.cli", *argv("out.mp4", "--frame-steps", "40")]
    command += ["--log-format", "json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        for line in process.stdout:
            event = json.loads(line)
            if event["event"] == "progress" and event["frame"] == 3:
                process.send_signal(signal.SIGINT)
                break
        process.stdout.read()
    assert process.returncode == 130
    assert count(folder / "out.mp4") == 2
    assert main(argv("out.mp4", "--frame-steps", "40")) == 0
    assert count(folder / "out.mp4") == 6
    assert main(argv("whole.mp4", "--frame-steps", "40")) == 0
    assert (folder / "out.mp4").read_bytes() == (folder / "whole.mp4").read_bytes()


def test_a_run_that_is_interrupted_again_keeps_what_is_there(folder, monkeypatch):
    assert main(argv("frames", "--keep-frames")) == 0
    made = {path.name: path.read_bytes() for path in (folder / "frames").iterdir()}
    for path in (folder / "frames").iterdir():
        path.unlink()
    # The signal comes before any of them is read back.
    read = videos._Run._consume
    monkeypatch.setattr(
        videos._Run, "_consume", lambda run, _: run.interrupt() or read(run, iter(()))
    )
    assert main(argv("frames", "--keep-frames")) == 130
    assert {path.name: path.read_bytes() for path in (folder / "frames").iterdir()} == made


def test_a_killed_run_goes_on_to_the_same_video(folder):
    command = [sys.executable, "-m", "jaxstyle.cli", *argv("out.mp4", "--frame-steps", "20")]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    frame = folder / "out.mp4.frames" / "pass1" / "000002.png"
    while not frame.exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert not (folder / "out.mp4").exists()
    for out in ("out.mp4", "whole.mp4"):
        assert main(argv(out, "--frame-steps", "20")) == 0
    assert (folder / "out.mp4").read_bytes() == (folder / "whole.mp4").read_bytes()


def test_json_events(folder, capsys):
    assert main(argv("out.mp4", "--log-format", "json")) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert events[0]["event"] == "plan"
    jobs = [event for event in events if event["event"] == "job"]
    assert [job["frame"] for job in jobs] == list(range(1, 7))
    assert events[-1]["event"] == "result"
    assert (events[-1]["frames"], events[-1]["complete"]) == (6, True)


def test_a_damaged_video_gives_what_came_before(folder, capsys):
    frames = (smooth_noise(n, 40, 48).tobytes() for n in range(24))
    encode(folder / "long.mp4", frames, (48, 40), Fraction(12))
    data = bytearray((folder / "long.mp4").read_bytes())
    data[-4000:-1000] = bytes(3000)
    (folder / "long.mp4").write_bytes(data)
    assert main(argv("out.mp4", clip="long.mp4")) == 3
    errors = capsys.readouterr().err
    assert "long.mp4 is damaged" in errors
    assert "not complete" in errors
    assert 0 < count(folder / "out.mp4") < 24


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (argv(clip="none.mp4"), 3, "does not exist"),
        (argv(clip="style.png"), 0, ""),
        (argv("out.avi"), 6, "must end in .mp4"),
        (argv("no/out.mp4"), 6, "does not exist"),
        (argv("x" * 256), 6, "has 256 bytes"),
        (argv("d/" * 3000 + "out"), 6, "name too long"),
        (argv("out.mp4", "--report", "x" * 252 + ".json"), 6, "has 257 bytes"),
        (argv("out.mp4", clip="x" * 256), 3, "name too long"),
        (argv("out.mp4", "--mask", "x" * 256 + ".png"), 3, "name too long"),
        (argv("out.mp4", "--from", "9"), 3, "no frames between --from and --to"),
        (argv("out.mp4", "--fps", "0"), 2, "not a frame rate"),
        (argv("out.mp4", "--from", "x"), 2, "not a number of seconds"),
        (argv("out.mp4", "--from", "3", "--to", "2"), 2, "--to 2 is not after --from 3"),
        (argv("clip.mp4"), 2, "is also an input"),
        (argv("out.mp4", "--report", "clip.mp4"), 2, "is also an input"),
        (["video", "clip.mp4", "none.png", "-o", "out.mp4", *OPTIONS], 3, "none.png"),
        (argv("out.mp4", "--temporal-weight", "x"), 2, "not a number of at least 0"),
        (argv("in/out.gif", clip="in"), 2, "would be one of the frames in in"),
        (argv("out.mp4", "--report", "r.txt"), 2, "must end in .html or .json"),
        (argv("out.mp4", "--mask", "style.png", "--mask", "style.png"), 2, "2 masks for 1 styles"),
        (argv("out.mp4", "--mask", "none.mp4"), 3, "none.mp4: it does not exist"),
        (argv("out.mp4", "--fast", "--passes", "2"), 2, "leave --passes out"),
        (argv("out.mp4", "--fast", "--mask", "style.png"), 2, "leave --mask out"),
    ],
)
def test_errors_are_one_line(folder, capsys, arguments, code, message):
    write_images(folder / "in", 1)
    assert main(arguments) == code
    errors = capsys.readouterr().err
    assert message in errors
    assert "Traceback" not in errors


def write_images(folder, count):
    folder.mkdir()
    for number in range(count):
        Image.fromarray(smooth_noise(0, 40, 64)[:, number : number + 48]).save(
            folder / f"{number}.png"
        )
    return folder


def test_a_folder_of_frames_with_a_mask_for_each(folder):
    write_images(folder / "in", 11)
    (folder / "masks").mkdir()
    for number in range(11):
        mask = np.zeros((40, 48), np.uint8)
        mask[:, number:] = 255
        Image.fromarray(mask).save(folder / "masks" / f"{number}.png")
    options = ("--mask", "masks", "--fps", "5", "--every", "2", "--report", "report.json")
    assert main(argv("out.webm", *options, clip="in")) == 0
    clip = open_clip(folder / "out.webm")
    assert (clip.rate, count(clip.path)) == (Fraction(5, 2), 6)
    report = json.loads((folder / "report.json").read_text())
    assert len(report["inputs"]["content"]) == len(report["inputs"]["mask"]) == 11
    assert [frame["new_shot"] for frame in report["frames"]] == [True] + [False] * 5


def test_masks_that_end_early_end_the_video(folder, capsys):
    write_images(folder / "masks", 2)
    assert main(argv("out.mp4", "--mask", "masks")) == 3
    assert "the mask masks ends before frame 3" in capsys.readouterr().err
    assert count(folder / "out.mp4") == 2


def test_masks_of_a_folder_count_by_their_opacity(folder):
    (folder / "masks").mkdir()
    for number in range(6):
        mask = np.full((40, 48, 4), 255, np.uint8)
        mask[:, 24:, 3] = 0
        Image.fromarray(mask).save(folder / "masks" / f"{number}.png")
        Image.fromarray(mask[..., 3]).save(folder / "mask.png")
    assert main(argv("a", "--mask", "masks")) == 0
    assert main(argv("b", "--mask", "mask.png")) == 0
    for path in (folder / "a").iterdir():
        assert path.read_bytes() == (folder / "b" / path.name).read_bytes()


def test_passes_are_added_to_those_that_are_there(folder):
    assert main(argv("frames", "--keep-frames")) == 0
    first = [path.read_bytes() for path in sorted((folder / "frames").iterdir())]
    assert main(argv("frames", "--keep-frames", "--passes", "2", "--log-format", "json")) == 0
    second = [path.read_bytes() for path in sorted((folder / "frames").iterdir())]
    assert len(first) == len(second) == 6
    assert [a == b for a, b in zip(first, second, strict=True)] == [False] * 5 + [True]


def test_fast_mode_and_a_page(folder):
    assert main(argv("out.mp4", "--fast", "--report", "report.html")) == 0
    assert count(folder / "out.mp4") == 6
    page = (folder / "report.html").read_text()
    assert page.count("<img") == 12
    assert page.count("<svg") == 1
    assert names(folder) == {"out.mp4", "report.html"}


def test_a_live_page_shows_the_frames(folder, monkeypatch):
    pytest.importorskip("aiohttp", reason="the extra `live` is not installed")
    from jaxstyle.cli import live

    shown, show = [], live.show
    monkeypatch.setattr(
        live, "show", lambda page, view, r: (shown.append(view), show(page, view, r))
    )
    assert main(argv("out.mp4", "--live", "--keep-frames")) == 0
    fields = shown[0].fields()
    assert (fields["done"], fields["total"], fields["phase"]) == (6, 6, "done")
    assert (
        shown[0].file(fields["tiles"][-1]["number"]) == folder / "out.mp4.frames/pass1/000006.png"
    )


def test_colors_of_the_video_can_stay(folder):
    assert main(argv("frames", "--color", "luminance", "--init", "adain")) == 0
    result = np.asarray(Image.open(folder / "frames" / "000003.png")).astype(float)
    source = smooth_noise(0, 40, 64)[:, 2:50].astype(float)
    chroma = lambda image: image - image.mean(axis=-1, keepdims=True)
    inside = (result.min(axis=-1) > 0) & (result.max(axis=-1) < 255)
    assert np.abs(chroma(result) - chroma(source))[inside].mean() < 8


def test_frames_that_do_not_fit_are_painted_in_tiles(folder, monkeypatch, capsys):
    monkeypatch.setattr("jaxstyle.analysis.memory.available_bytes", lambda *_: 2**20)
    assert main(argv("out.mp4", "--to", "0.2")) == 0
    assert "memory" in capsys.readouterr().err


def test_a_full_disk_is_an_error_that_names_the_frame(folder, monkeypatch, capsys):
    from jaxstyle.video import store

    write = store.write_bytes

    def fail(path, data):
        if path.name == "000002.png":
            raise WriteError(f"cannot write {path}: No space left on device.")
        write(path, data)

    monkeypatch.setattr(store, "write_bytes", fail)
    assert main(argv("out.mp4")) == 6
    assert "000002.png: No space left on device" in capsys.readouterr().err
    monkeypatch.setattr(store, "write_bytes", write)
    assert main(argv("out.mp4")) == 0
    assert count(folder / "out.mp4") == 6


def test_several_devices_paint_a_pass(folder):
    # Five frames are painted again, which three devices do in two groups. Short steps: devices
    # round differently, and each frame amplifies the differences of the one before.
    options = ("--passes", "2", "--learning-rate", "0.001")
    assert main(argv("one", *options)) == 0
    command = [sys.executable, "-m", "jaxstyle.cli", *argv("three", *options)]
    subprocess.run(command, env=with_devices(3), check=True)
    for number in range(1, 7):
        one, three = (
            np.asarray(Image.open(folder / out / f"{number:06}.png"), np.int32)
            for out in ("one", "three")
        )
        assert_same_picture(one, three, atol=1)
