"""The whole of `jaxstyle batch`, on pictures so small that a job takes a moment."""

import contextlib
import dataclasses
import errno
import json
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import time
import types

import numpy as np
import pytest
from conftest import SHORT_STEP, assert_same_picture
from PIL import Image

import jaxstyle.batch.run
import jaxstyle.loop.style_cache
from jaxstyle.batch.jobs import Defaults, pair
from jaxstyle.cli import main
from jaxstyle.io.atomic import file_sha256
from jaxstyle.loop import programs
from jaxstyle.loop.programs import run_steps

FLAGS = [
    "--size",
    "32",
    "--min-size",
    "16",
    "--steps",
    "3,2",
    "--content-layers",
    "relu1_2",
    "--style-layers",
    "relu1_1",
    "--learning-rate",
    str(SHORT_STEP),
]


def picture(path, shape, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8)
    Image.fromarray(pixels).resize((shape[1] * 2, shape[0] * 2)).save(path)


@pytest.fixture
def folders(tmp_path):
    """Four photographs of three shapes, two paintings."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "styles").mkdir()
    for number, shape in enumerate([(20, 30), (30, 20), (20, 30), (24, 24)]):
        picture(tmp_path / "photos" / f"p{number}.png", shape, number)
    picture(tmp_path / "styles" / "s.png", (24, 30), 10)
    picture(tmp_path / "styles" / "t.png", (30, 24), 11)
    return tmp_path


def argv(folder, *more, out="out"):
    photos, styles, out = (str(folder / name) for name in ("photos", "styles", out))
    return ["batch", photos, styles, "-o", out, *FLAGS, *more]


def opened(path):
    with Image.open(path) as image:
        image.load()
    return image


def records(folder, out="out"):
    lines = [
        json.loads(line)
        for path in sorted((folder / out).glob("jobs*.jsonl"))
        for line in path.read_text().splitlines()
    ]
    return {line["output"]: line for line in lines}


def pictures(folder, out="out"):
    return {path.name: file_sha256(path) for path in sorted((folder / out).rglob("*.png"))}


def test_every_photograph_is_painted_in_every_style(folders, capsys):
    assert main(argv(folders)) == 0
    assert len(pictures(folders)) == 8
    for name, record in records(folders).items():
        assert record["status"] == "done"
        assert record["output_sha256"] == file_sha256(folders / "out" / name)
        image = opened(folders / "out" / name)
        assert image.size == (record["width"], record["height"])
        assert max(image.size) == 32
        origin = json.loads(image.info["jaxstyle"])
        assert origin["inputs"] == record["inputs"]
        assert (origin["command"], origin["config"]["size"]) == ("batch", 32)
        assert record["steps"] == 5
        assert len(record["curve"]) == 5
    assert {record["width"] for record in records(folders).values()} == {32, 21}
    assert "8 of 8 pictures done, 0 failed" in capsys.readouterr().err


def test_batches_of_any_size_give_the_same_pictures(folders):
    assert main(argv(folders, "--batch-size", "1")) == 0
    assert main(argv(folders, "--batch-size", "3", out="three")) == 0
    for name in pictures(folders):
        one, three = (
            np.asarray(opened(folders / out / name), np.int32) for out in ("out", "three")
        )
        assert_same_picture(one, three, atol=1)


def test_a_batch_is_what_stylize_makes_of_each(folders):
    assert main(argv(folders, "--batch-size", "1")) == 0
    # A square is worked on at its own shape, so there is no resampling in between.
    single = folders / "single.png"
    inputs = [str(folders / "photos" / "p3.png"), str(folders / "styles" / "s.png")]
    assert main(["stylize", *inputs, "-o", str(single), *FLAGS]) == 0
    batched = opened(folders / "out" / "p3_s.png")
    np.testing.assert_array_equal(np.asarray(batched), np.asarray(opened(single)))


def test_paintings_are_measured_once_per_size(folders, monkeypatch):
    measured = []

    def style(*args, shape, **kwargs):
        measured.append(shape)
        return programs.compute_style(*args, shape=shape, **kwargs)

    fake = types.SimpleNamespace(style=style)
    monkeypatch.setattr(jaxstyle.loop.style_cache, "programs", fake)
    assert main(argv(folders)) == 0
    # Two paintings at two levels; all shapes have one long edge.
    assert len(measured) == 4


def test_programs_are_compiled_once_per_group_and_level(folders):
    # Another size than other tests use, so that nothing is compiled before.
    sizes = ["--size", "40", "--min-size", "20", "--batch-size", "1"]
    before = run_steps._cache_size()
    assert main(argv(folders, *sizes)) == 0
    # Three shapes of two levels.
    assert run_steps._cache_size() - before <= 6


def test_programs_of_groups_long_done_are_dropped(folders, monkeypatch):
    monkeypatch.setattr(jaxstyle.batch.run, "_GROUPS_KEPT", 3)
    assert main(argv(folders)) == 0
    assert run_steps._cache_size() == 0


def test_a_second_run_does_nothing(folders, capsys):
    assert main(argv(folders)) == 0
    before = pictures(folders), (folders / "out" / "jobs.jsonl").read_bytes()
    assert main(argv(folders)) == 0
    assert (pictures(folders), (folders / "out" / "jobs.jsonl").read_bytes()) == before
    assert "8 jobs, 8 done before, 0 to do" in capsys.readouterr().err


def test_only_what_changed_is_done_again(folders):
    assert main(argv(folders)) == 0
    lines = (folders / "out" / "jobs.jsonl").read_text().splitlines()
    picture(folders / "photos" / "p1.png", (30, 20), 99)
    (folders / "out" / "p0_s.png").write_bytes(b"damaged")
    (folders / "out" / "p2_t.png").unlink()
    assert main(argv(folders)) == 0
    new = (folders / "out" / "jobs.jsonl").read_text().splitlines()[len(lines) :]
    redone = {json.loads(line)["output"] for line in new}
    assert redone == {"p1_s.png", "p1_t.png", "p0_s.png", "p2_t.png"}
    assert main(argv(folders, "--style-weight", "3")) == 0
    assert len((folders / "out" / "jobs.jsonl").read_text().splitlines()) == 8 + 4 + 8


def test_overwrite_does_all_again(folders):
    assert main(argv(folders)) == 0
    assert main(argv(folders, "--overwrite")) == 0
    assert len((folders / "out" / "jobs.jsonl").read_text().splitlines()) == 16


def test_a_bad_file_fails_its_own_jobs(folders, capsys):
    (folders / "photos" / "bad.png").write_bytes((folders / "photos" / "p0.png").read_bytes()[:300])
    (folders / "photos" / "loop.png").symlink_to(folders / "photos" / "loop.png")
    assert main(argv(folders)) == 7
    done = records(folders)
    assert sum(record["status"] == "done" for record in done.values()) == 8
    assert "bad.png cannot be read" in done["bad_s.png"]["error"]
    assert "loop.png cannot be read" in done["loop_t.png"]["error"]
    assert "8 of 12 pictures done, 4 failed" in capsys.readouterr().err


def test_a_file_that_vanishes_fails_its_own_jobs(folders, monkeypatch):
    look = jaxstyle.batch.run.scan_jobs

    def vanish(*args, **kwargs):
        todo = look(*args, **kwargs)
        (folders / "photos" / "p0.png").unlink()
        return todo

    monkeypatch.setattr(jaxstyle.batch.run, "scan_jobs", vanish)
    assert main(argv(folders)) == 7
    failed = [r for r in records(folders).values() if r["status"] == "failed"]
    assert [record["error"].endswith("p0.png does not exist.") for record in failed] == [True] * 2


def test_a_picture_that_diverges_fails_alone(folders, capsys):
    table = folders / "jobs.csv"
    table.write_text(
        "content,style,learning_rate,clamp,output\n"
        "photos/p0.png,styles/s.png,1e38,no,a.png\n"
        "photos/p2.png,styles/s.png,0.05,no,b.png\n"
    )
    out = folders / "out"
    events = ["--batch-size", "2", "--log-format", "json"]
    assert main(["batch", str(table), "-o", str(out), *FLAGS, *events]) == 7
    assert "left the finite numbers" in records(folders)["a.png"]["error"]
    assert records(folders)["b.png"]["status"] == "done"
    # JSON has no word for a loss that is no number.
    assert "NaN" not in capsys.readouterr().out


def test_transparency_masks_and_starts_are_of_each_job(folders):
    rgba = opened(folders / "photos" / "p0.png").convert("RGBA")
    rgba.putalpha(128)
    rgba.save(folders / "photos" / "p0.png")
    mask = Image.new("L", (30, 20))
    mask.paste(255, (0, 0, 15, 20))
    mask.save(folders / "m.png")
    table = folders / "jobs.csv"
    table.write_text(
        "content,style,mask,init,color,output\n"
        "photos/p0.png,styles/s.png,m.png,,,a.png\n"
        "photos/p0.png,styles/s.png;styles/t.png,,photos/p2.png,luminance,deep/b.png\n"
    )
    assert main(["batch", str(table), "-o", str(folders / "out"), *FLAGS]) == 0
    for name in ("a.png", "deep/b.png"):
        image = opened(folders / "out" / name)
        assert image.mode == "RGBA"
        assert image.getchannel("A").getextrema() == (128, 128)


def test_too_little_memory_halves_the_batch(folders, monkeypatch, capsys):
    sizes, paint = [], jaxstyle.batch.run.paint

    def small(params, subjects, *args, **kwargs):
        sizes.append(len(subjects))
        if len(subjects) > 1:
            raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory")
        return paint(params, subjects, *args, **kwargs)

    monkeypatch.setattr(jaxstyle.batch.run, "paint", small)
    assert main(argv(folders, "--batch-size", "4")) == 0
    assert sizes[:6] == [4, 2, 1, 1, 1, 1]
    assert len(pictures(folders)) == 8
    assert "out of memory: now 2 at once" in capsys.readouterr().err


def test_too_little_memory_for_one_fails_it(folders, monkeypatch):
    def none(*args, **kwargs):
        raise MemoryError

    monkeypatch.setattr(jaxstyle.batch.run, "paint", none)
    assert main(argv(folders)) == 7
    assert {r["error"] for r in records(folders).values()} == {"out of memory; try a smaller size"}


def test_several_devices_share_a_batch(folders):
    for other_shape in ("p1.png", "p3.png"):
        (folders / "photos" / other_shape).unlink()
    assert main(argv(folders, "--batch-size", "1")) == 0
    env = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    command = [sys.executable, "-m", "jaxstyle.cli", *argv(folders, out="two")]
    run = subprocess.run(
        [*command, "--log-format", "json"], capture_output=True, env=env, check=True
    )
    plan = json.loads(run.stdout.splitlines()[0])
    assert {group["batch"] for group in plan["groups"]} == {4}
    for name in pictures(folders):
        one, two = (np.asarray(opened(folders / out / name), np.int32) for out in ("out", "two"))
        assert_same_picture(one, two, atol=1)


def test_a_dry_run_writes_nothing(folders, capsys):
    assert main(argv(folders, "--dry-run")) == 0
    out = capsys.readouterr().out
    assert "8 jobs, 8 to do in 3 shapes (6 programs to compile)" in out
    assert "GiB" in out
    assert "about 0 min" in out
    assert not (folders / "out").exists()


def test_a_dry_run_in_json_is_events(folders, capsys):
    assert main(argv(folders, "--dry-run", "--log-format", "json")) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["event"] for event in events] == ["plan", *["note"] * 4]


def test_shards_do_all_jobs_once(folders):
    assert main(argv(folders, "--shard", "1/2")) == 0
    assert len(pictures(folders)) == 4
    assert main(argv(folders, "--shard", "2/2")) == 0
    assert len(records(folders)) == len(pictures(folders)) == 8
    assert (folders / "out" / "report_2_of_2.html").exists()


def test_json_lines_tell_all(folders, capsys):
    assert main(argv(folders, "--log-format", "json")) == 0
    out, err = capsys.readouterr()
    events = [json.loads(line) for line in out.splitlines()]
    assert err == ""
    assert events[0]["event"] == "plan"
    assert sum(event["event"] == "job" for event in events) == 8
    fractions = [event["fraction"] for event in events if event["event"] == "progress"]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1


def test_quiet_says_nothing(folders, capsys):
    assert main(argv(folders, "--quiet")) == 0
    assert capsys.readouterr() == ("", "")


def test_report_and_sheet_show_all_pictures(folders):
    (folders / "photos" / "bad.png").write_bytes(b"<script>")
    assert main(argv(folders, "--name", "{content}&{style}.png")) == 7
    page = (folders / "out" / "report.html").read_text()
    assert page.count("<tr class=") == 10
    assert page.count("<polyline") == 8
    # Four photographs, two styles, eight results: each once, and nothing from elsewhere.
    assert page.count("data:image/jpeg") == 14
    assert "http" not in page
    assert "p0&amp;s.png" in page
    sheet = opened(folders / "out" / "contact_sheet.jpg")
    assert sheet.width > 4 * 192


def test_no_report_if_none_is_wanted(folders):
    assert main(argv(folders, "--no-report")) == 0
    assert not (folders / "out" / "report.html").exists()


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["--shard", "3/2"], 2, "must be i/n"),
        (["--batch-size", "0"], 2, "not a number from 1 on"),
        (["--pair", "each"], 2, "4 photographs and 2 styles"),
        (["--name", "../{content}.png"], 2, "leaves the output's folder"),
        (["--name", "{style}.png"], 2, "tell them apart by --name"),
        (["--style-layers", "relu9_1"], 2, "unknown layer"),
        (["--weights", "missing.h5"], 4, "missing.h5"),
    ],
)
def test_what_cannot_be_meant_is_an_error_before_the_work(folders, capsys, more, code, message):
    assert main(argv(folders, *more)) == code
    assert message in capsys.readouterr().err
    assert not (folders / "out").exists()


def test_errors_of_inputs_and_outputs_have_their_codes(folders, capsys):
    assert main(["batch", "missing", "missing", "-o", str(folders / "out")]) == 3
    assert main(["batch", str(folders / "photos"), "-o", str(folders / "out")]) == 2
    (folders / "file").write_bytes(b"x")
    assert main(argv(folders, out="file")) == 6
    table = folders / "jobs.csv"
    table.write_text("content,style\nmissing.png,styles/s.png\n")
    assert main(["batch", str(table), "-o", str(folders / "out")]) == 3
    assert main(["batch", str(table), "styles", "-o", str(folders / "out")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 5


def test_a_picture_too_small_for_its_layers_fails_alone(folders):
    for other_shape in ("p1.png", "p3.png"):
        (folders / "photos" / other_shape).unlink()
    picture(folders / "photos" / "thin.png", (16, 300), 5)
    assert main(argv(folders, "--content-layers", "relu3_1")) == 7
    failed = {name for name, r in records(folders).items() if r["status"] == "failed"}
    assert failed == {"thin_s.png", "thin_t.png"}
    assert "its layers need both sides at least" in records(folders)["thin_s.png"]["error"]


def test_a_painting_too_small_for_its_layers_fails_alone(folders):
    for narrow in ("p0.png", "p1.png", "p2.png"):
        (folders / "photos" / narrow).unlink()
    picture(folders / "styles" / "small.png", (9, 9), 5)
    assert main(argv(folders, "--style-layers", "relu5_1", "--padding", "reflect")) == 7
    error = records(folders)["p3_small.png"]["error"]
    assert "small.png is 18x18; its layers need both sides at least 32" in error
    assert sorted(pictures(folders)) == ["p3_s.png", "p3_t.png"]


def test_a_painting_is_read_anew_for_deeper_layers(folders):
    picture(folders / "styles" / "long.png", (16, 160), 5)
    table = folders / "jobs.csv"
    row = "photos/p3.png,styles/long.png"
    table.write_text(
        f"content,style,output,style_layers\n{row},a.png,relu1_1\n{row},b.png,relu5_1\n"
    )
    assert main(["batch", str(table), "-o", str(folders / "out"), *FLAGS]) == 0


def test_a_name_that_a_folder_or_file_has_fails_alone(folders):
    (folders / "out").mkdir()
    (folders / "out" / "s").write_bytes(b"")
    assert main(argv(folders, "--name", "{style}/{content}.png")) == 7
    assert sum(record["status"] == "done" for record in records(folders).values()) == 4


def test_a_disk_that_is_full_stops_the_batch_and_nothing_is_lost(folders, monkeypatch, capsys):
    write_bytes, calls = jaxstyle.batch.run.write_bytes, []

    def full(path, data, **kwargs):
        calls.append(path)
        if len(calls) > 3:
            error = jaxstyle.batch.run.WriteError(f"cannot write {path}: No space left on device.")
            raise error from OSError(errno.ENOSPC, "No space left on device")
        write_bytes(path, data, **kwargs)

    monkeypatch.setattr(jaxstyle.batch.run, "write_bytes", full)
    assert main(argv(folders, "--batch-size", "1")) == 6
    assert "No space left" in capsys.readouterr().err
    assert len(calls) < 8
    monkeypatch.undo()
    assert main(argv(folders)) == 0
    lines = (folders / "out" / "jobs.jsonl").read_text().splitlines()
    assert sum('"done"' in line for line in lines) == 8


def start(folder, *more, out="out"):
    """The batch in a process of its own."""
    command = [sys.executable, "-m", "jaxstyle.cli", *argv(folder, *more, out=out)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_a_limit_on_files_stops_the_batch(folders):
    # 1024 bytes are less than a picture; such a disk keeps no compiled programs either.
    command = [sys.executable, "-m", "jaxstyle.cli", *argv(folders, "--no-report")]
    limited = f"ulimit -f 1; exec {shlex.join(command)}"
    env = {**os.environ, "JAX_ENABLE_COMPILATION_CACHE": "false"}
    run = subprocess.run(["bash", "-c", limited], capture_output=True, text=True, env=env)
    assert run.returncode == 6
    assert "File too large" in run.stderr
    assert not [path for path in (folders / "out").iterdir() if path.suffix in (".png", ".partial")]


def wait_for(condition, process, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_folder_that_cannot_be_made_is_an_error(folders, capsys):
    (folders / "file").touch()
    assert main(argv(folders, out="file/out")) == 6
    assert capsys.readouterr().err.startswith("jaxstyle: cannot write to ")


def test_a_folder_that_becomes_read_only_stops_the_batch(folders):
    if os.geteuid() == 0:
        # Root may write anywhere: a file where the folder was is the next best.
        block = lambda out: (out.rename(folders / "away"), out.write_bytes(b""))
    else:
        block = lambda out: out.chmod(0o500)
    process = start(folders, "--steps", "60,60", "--no-report")
    wait_for(lambda: pictures(folders), process)
    block(folders / "out")
    _, err = process.communicate(timeout=120)
    assert process.returncode == 6
    assert b"Traceback" not in err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_batch_keeps_what_is_finished(folders, number):
    process = start(folders, "--steps", "60,60")
    wait_for(lambda: pictures(folders), process)
    process.send_signal(number)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert b"Traceback" not in err
    assert 1 <= len(pictures(folders)) < 8
    assert (folders / "out" / "report.html").exists()


def test_a_second_process_says_so_and_stops(folders, capsys):
    process = start(folders, "--steps", "300,300")
    wait_for(lambda: (folders / "out" / "jobs.jsonl").exists(), process)
    assert main(argv(folders)) == 6
    assert "another process is at work" in capsys.readouterr().err
    process.kill()
    process.communicate()


@pytest.mark.slow
def test_a_batch_killed_25_times_is_the_one_never_killed(folders):
    """SIGKILL at random moments; the same command again, until it is done."""
    for number in range(4, 12):
        picture(folders / "photos" / f"p{number}.png", (20, 30), number)
    steps = ["--steps", "120,120"]
    assert main(argv(folders, *steps, out="whole")) == 0
    moments, kills, code = random.Random(0), 0, None
    while code != 0 or kills < 25:
        if code == 0:
            # Done too soon: from the start again.
            shutil.rmtree(folders / "out")
        process = start(folders, *steps)
        if kills < 25:
            # A process needs about two seconds before its first picture.
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=moments.uniform(0.2, 4.5))
            kills += process.poll() is None
            process.kill()
        _, err = process.communicate(timeout=300)
        code = process.returncode
        assert code in (0, -signal.SIGKILL), err
        for name, record in records_so_far(folders).items():
            assert file_sha256(folders / "out" / name) == record["output_sha256"]
            opened(folders / "out" / name)
    assert pictures(folders) == pictures(folders, out="whole")
    assert len(pictures(folders)) == 24
    assert not list((folders / "out").glob(".*.partial"))


def records_so_far(folder):
    """Records of finished jobs; the last line may be cut short."""
    path = folder / "out" / "jobs.jsonl"
    found = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        if line.endswith("}"):
            record = json.loads(line)
            found[record["output"]] = record
    return found


def test_a_job_is_what_its_fields_say(folders):
    """`pair` and a table give the same job, so that one resumes the other."""
    defaults = Defaults("default", {"size": 32})
    photo, style = folders / "photos" / "p0.png", folders / "styles" / "s.png"
    (job,) = pair([photo], [style], defaults)
    assert job.config == dataclasses.replace(defaults.config(), size=32)
    assert job.inputs == {"content": (photo,), "style": (style,), "mask": (), "start": ()}
