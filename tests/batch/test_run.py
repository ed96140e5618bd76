"""`jaxstyle batch` from end to end, on images small enough that a job takes a moment."""

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

import jax
import numpy as np
import pytest
from conftest import SHORT_STEP, assert_same_picture, with_devices
from PIL import Image

import jaxstyle.batch.run
import jaxstyle.batch.work
import jaxstyle.loop.style_cache
from jaxstyle.batch.jobs import Defaults, pair_jobs
from jaxstyle.batch.work import Worker
from jaxstyle.cli import main
from jaxstyle.io import images
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


def save_image(path, shape, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8)
    Image.fromarray(pixels).resize((shape[1] * 2, shape[0] * 2)).save(path)


@pytest.fixture
def folders(tmp_path):
    """Four content images of three shapes, and two style images."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "styles").mkdir()
    for number, shape in enumerate([(20, 30), (30, 20), (20, 30), (24, 24)]):
        save_image(tmp_path / "photos" / f"p{number}.png", shape, number)
    save_image(tmp_path / "styles" / "s.png", (24, 30), 10)
    save_image(tmp_path / "styles" / "t.png", (30, 24), 11)
    return tmp_path


def argv(folder, *more, out="out"):
    photos, styles, out = (str(folder / name) for name in ("photos", "styles", out))
    return ["batch", photos, styles, "-o", out, *FLAGS, *more]


def load_image(path):
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


def output_hashes(folder, out="out"):
    return {path.name: file_sha256(path) for path in sorted((folder / out).rglob("*.png"))}


@pytest.mark.slow
def test_every_content_image_is_combined_with_every_style_image(folders, capsys):
    assert main(argv(folders)) == 0
    assert len(output_hashes(folders)) == 8
    for name, record in records(folders).items():
        assert record["status"] == "done"
        assert record["output_sha256"] == file_sha256(folders / "out" / name)
        image = load_image(folders / "out" / name)
        assert image.size == (record["width"], record["height"])
        assert max(image.size) == 32
        origin = json.loads(image.info["jaxstyle"])
        assert origin["inputs"] == record["inputs"]
        assert (origin["command"], origin["config"]["size"]) == ("stylize", 32)
        assert record["steps"] == 5
        assert len(record["curve"]) == 5
    assert {record["width"] for record in records(folders).values()} == {32, 21}
    assert "8 of 8 images done, 0 failed" in capsys.readouterr().err


@pytest.mark.slow
def test_results_do_not_depend_on_the_batch_size(folders):
    assert main(argv(folders, "--batch-size", "1")) == 0
    assert main(argv(folders, "--batch-size", "3", out="three")) == 0
    for name in output_hashes(folders):
        one, three = (
            np.asarray(load_image(folders / out / name), np.int32) for out in ("out", "three")
        )
        assert_same_picture(one, three, atol=1)


@pytest.mark.slow
def test_batch_result_equals_that_of_stylize(folders):
    assert main(argv(folders, "--batch-size", "1")) == 0
    # A square image is stylized at its own shape, so neither result is resampled.
    single = folders / "single.png"
    inputs = [str(folders / "photos" / "p3.png"), str(folders / "styles" / "s.png")]
    assert main(["stylize", *inputs, "-o", str(single), *FLAGS]) == 0
    batched = load_image(folders / "out" / "p3_s.png")
    np.testing.assert_array_equal(np.asarray(batched), np.asarray(load_image(single)))


@pytest.mark.slow
@pytest.mark.parametrize("more", [[], ["mask"], ["init"]], ids=["plain", "mask", "init"])
def test_batch_of_one_and_stylize_write_the_same_bytes(folders, more):
    # 32x21: a batch of several images would snap it to 32x20.
    save_image(folders / "photos" / "p0.png", (203, 307), 0)
    photo, painting = folders / "photos" / "p0.png", folders / "styles" / "s.png"
    save_image(folders / "extra.png", (101, 153), 3)
    columns = {"content": photo, "style": painting, "output": "a.png"}
    columns |= dict.fromkeys(more, folders / "extra.png")
    job_file = folders / "jobs.csv"
    job_file.write_text(f"{','.join(columns)}\n{','.join(map(str, columns.values()))}\n")
    assert main(["batch", str(job_file), "-o", str(folders / "out"), *FLAGS]) == 0
    flags = [item for name in more for item in (f"--{name}", str(folders / "extra.png"))]
    single = folders / "single.png"
    assert main(["stylize", str(photo), str(painting), "-o", str(single), *FLAGS, *flags]) == 0
    assert (folders / "out" / "a.png").read_bytes() == single.read_bytes()


@pytest.mark.slow
def test_job_of_several_has_the_same_result_when_it_runs_alone(folders):
    arguments = argv(folders, "--batch-size", "1")
    assert main(arguments) == 0
    before = output_hashes(folders)
    (folders / "out" / "p0_s.png").unlink()
    assert main(arguments) == 0
    assert output_hashes(folders) == before


@pytest.mark.slow
def test_style_statistics_are_computed_once_per_size(folders, monkeypatch):
    shapes = []

    def compute_style_statistics(*args, shape, **kwargs):
        shapes.append(shape)
        return programs.compute_style_statistics(*args, shape=shape, **kwargs)

    counting = types.SimpleNamespace(compute_style_statistics=compute_style_statistics)
    monkeypatch.setattr(jaxstyle.loop.style_cache, "programs", counting)
    assert main(argv(folders)) == 0
    # Two style images at two levels; all content images have the same long edge.
    assert len(shapes) == 4


@pytest.mark.slow
def test_programs_are_compiled_once_per_group_and_level(folders):
    # No other test uses this size, so nothing is compiled yet.
    sizes = ["--size", "40", "--min-size", "20", "--batch-size", "1"]
    before = run_steps._cache_size()
    assert main(argv(folders, *sizes)) == 0
    # Three shapes with two levels each.
    assert run_steps._cache_size() - before <= 6


@pytest.mark.slow
def test_programs_of_finished_groups_are_dropped(folders, monkeypatch):
    run_group, cache_sizes = Worker.run_group, []

    def run_group_and_count(self, *args):
        before = run_steps._cache_size()
        run_group(self, *args)
        cache_sizes.append((before, run_steps._cache_size()))

    monkeypatch.setattr(jaxstyle.batch.work, "_GROUPS_KEPT", 2)
    monkeypatch.setattr(Worker, "run_group", run_group_and_count)
    jax.clear_caches()
    assert main(argv(folders)) == 0
    # Each of the three groups compiles two levels; all are dropped before the third.
    assert cache_sizes == [(0, 2), (2, 4), (4, 2)]


@pytest.mark.slow
def test_second_run_does_nothing(folders, capsys):
    assert main(argv(folders)) == 0
    before = output_hashes(folders), (folders / "out" / "jobs.jsonl").read_bytes()
    assert main(argv(folders)) == 0
    assert (output_hashes(folders), (folders / "out" / "jobs.jsonl").read_bytes()) == before
    assert "8 jobs, 8 done before, nothing to do" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("out", ["photos", "."])
def test_results_may_lie_among_the_inputs(folders, capsys, out):
    more = ["--pair", "each", "--no-report"]
    shutil.copy(folders / "styles" / "s.png", folders / "styles" / "u.png")
    shutil.copy(folders / "styles" / "s.png", folders / "styles" / "v.png")
    arguments = argv(folders, *more, out=out)
    arguments[1] = str(folders / "photos" / "**" / "*")
    assert main(arguments) == 0
    capsys.readouterr()
    assert main(arguments) == 0
    assert "4 jobs, 4 done before, nothing to do" in capsys.readouterr().err
    # A process that was killed between a result and its record leaves the announcement.
    ledger = folders / out / "jobs.jsonl"
    lines = [line for line in ledger.read_text().splitlines() if '"done"' not in line]
    ledger.write_text("\n".join(lines))
    assert main(arguments) == 0
    assert "4 jobs, 4 to do" in capsys.readouterr().err


@pytest.mark.slow
def test_partial_files_of_others_are_kept(folders):
    foreign = folders / "out" / "deep" / ".download.partial"
    foreign.parent.mkdir(parents=True)
    foreign.write_bytes(b"half")
    assert main(argv(folders)) == 0
    assert foreign.read_bytes() == b"half"


@pytest.mark.slow
def test_damaged_records_stop_neither_run_nor_report(folders):
    # Images alone: in batches of another size, results differ by rounding.
    arguments = argv(folders, "--batch-size", "1")
    assert main(arguments) == 0
    ledger, hashes = folders / "out" / "jobs.jsonl", output_hashes(folders)
    lines = [json.loads(line) for line in ledger.read_text().splitlines()]
    damage = [{"curve": []}, {"terms": 3}, {"loss": 10**400}, {"seconds": None}, {"width": []}]
    for line, change in zip(lines, damage, strict=False):
        line.update(change)
    ledger.write_text("\n".join(json.dumps(line) for line in lines) + "\n" + "[" * 200_000)
    assert main(arguments) == 0
    assert output_hashes(folders) == hashes


@pytest.mark.slow
def test_only_changed_jobs_run_again(folders):
    assert main(argv(folders)) == 0
    lines = (folders / "out" / "jobs.jsonl").read_text().splitlines()
    save_image(folders / "photos" / "p1.png", (30, 20), 99)
    (folders / "out" / "p0_s.png").write_bytes(b"damaged")
    (folders / "out" / "p2_t.png").unlink()
    assert main(argv(folders)) == 0
    new = (folders / "out" / "jobs.jsonl").read_text().splitlines()[len(lines) :]
    redone = {json.loads(line)["output"] for line in new}
    assert redone == {"p1_s.png", "p1_t.png", "p0_s.png", "p2_t.png"}
    assert main(argv(folders, "--style-weight", "3")) == 0
    assert len((folders / "out" / "jobs.jsonl").read_text().splitlines()) == 8 + 4 + 8


@pytest.mark.slow
def test_overwrite_runs_all_jobs_again(folders):
    assert main(argv(folders)) == 0
    assert main(argv(folders, "--overwrite")) == 0
    assert len((folders / "out" / "jobs.jsonl").read_text().splitlines()) == 16


def test_unreadable_file_fails_only_its_own_jobs(folders, capsys):
    (folders / "photos" / "bad.png").write_bytes((folders / "photos" / "p0.png").read_bytes()[:300])
    (folders / "photos" / "loop.png").symlink_to(folders / "photos" / "loop.png")
    assert main(argv(folders)) == 7
    done = records(folders)
    assert sum(record["status"] == "done" for record in done.values()) == 8
    assert "bad.png cannot be read" in done["bad_s.png"]["error"]
    assert "loop.png cannot be read" in done["loop_t.png"]["error"]
    assert "8 of 12 images done, 4 failed" in capsys.readouterr().err


def test_file_deleted_after_the_scan_fails_only_its_own_jobs(folders, monkeypatch):
    scan_jobs = jaxstyle.batch.run.scan_jobs

    def scan_and_delete(*args, **kwargs):
        pending = scan_jobs(*args, **kwargs)
        (folders / "photos" / "p0.png").unlink()
        return pending

    monkeypatch.setattr(jaxstyle.batch.run, "scan_jobs", scan_and_delete)
    assert main(argv(folders)) == 7
    failed = [r for r in records(folders).values() if r["status"] == "failed"]
    assert [record["error"].endswith("p0.png does not exist.") for record in failed] == [True] * 2


@pytest.mark.slow
def test_diverging_job_fails_alone(folders, capsys):
    job_file = folders / "jobs.csv"
    job_file.write_text(
        "content,style,learning_rate,clamp,output\n"
        "photos/p0.png,styles/s.png,1e38,no,a.png\n"
        "photos/p2.png,styles/s.png,0.05,no,b.png\n"
    )
    out = folders / "out"
    events = ["--batch-size", "2", "--log-format", "json"]
    assert main(["batch", str(job_file), "-o", str(out), *FLAGS, *events]) == 7
    assert "the loss is not finite any more" in records(folders)["a.png"]["error"]
    assert records(folders)["b.png"]["status"] == "done"
    # JSON cannot express NaN; Python would print it nevertheless.
    assert "NaN" not in capsys.readouterr().out


@pytest.mark.slow
def test_each_job_has_its_own_alpha_masks_and_start(folders):
    rgba = load_image(folders / "photos" / "p0.png").convert("RGBA")
    rgba.putalpha(128)
    rgba.save(folders / "photos" / "p0.png")
    mask = Image.new("L", (30, 20))
    mask.paste(255, (0, 0, 15, 20))
    mask.save(folders / "m.png")
    job_file = folders / "jobs.csv"
    job_file.write_text(
        "content,style,mask,init,color,output\n"
        "photos/p0.png,styles/s.png,m.png,,,a.png\n"
        "photos/p0.png,styles/s.png;styles/t.png,,photos/p2.png,luminance,deep/b.png\n"
    )
    assert main(["batch", str(job_file), "-o", str(folders / "out"), *FLAGS]) == 0
    for name in ("a.png", "deep/b.png"):
        image = load_image(folders / "out" / name)
        assert image.mode == "RGBA"
        assert image.getchannel("A").getextrema() == (128, 128)


@pytest.mark.slow
def test_out_of_memory_halves_the_batch(folders, monkeypatch, capsys):
    sizes, run_transfer = [], jaxstyle.batch.work.run_transfer

    def run_single_images(params, inputs, *args, **kwargs):
        sizes.append(len(inputs))
        if len(inputs) > 1:
            raise RuntimeError("RESOURCE_EXHAUSTED: Out of memory")
        return run_transfer(params, inputs, *args, **kwargs)

    monkeypatch.setattr(jaxstyle.batch.work, "run_transfer", run_single_images)
    assert main(argv(folders, "--batch-size", "4")) == 0
    assert sizes[:6] == [4, 2, 1, 1, 1, 1]
    assert len(output_hashes(folders)) == 8
    assert "out of memory: now 2 at once" in capsys.readouterr().err


def test_job_fails_if_a_single_image_is_out_of_memory(folders, monkeypatch):
    def run_out_of_memory(*args, **kwargs):
        raise MemoryError

    monkeypatch.setattr(jaxstyle.batch.work, "run_transfer", run_out_of_memory)
    assert main(argv(folders)) == 7
    assert {r["error"] for r in records(folders).values()} == {"out of memory; try a smaller size"}


def test_a_job_fails_alone_if_its_files_exceed_the_memory(folders, monkeypatch, capsys):
    read_image = images.read_image_as

    def read(path, *args, **kwargs):
        if path.name.startswith("p"):
            raise MemoryError
        return read_image(path, *args, **kwargs)

    monkeypatch.setattr(images, "read_image_as", read)
    assert main(argv(folders)) == 7
    assert {r["error"] for r in records(folders).values()} == {
        "out of memory while its files were read; use smaller images"
    }


@pytest.mark.slow
def test_several_devices_share_a_batch(folders):
    for other_shape in ("p1.png", "p3.png"):
        (folders / "photos" / other_shape).unlink()
    assert main(argv(folders, "--batch-size", "1")) == 0
    command = [sys.executable, "-m", "jaxstyle.cli", *argv(folders, out="two")]
    command += ["--log-format", "json"]
    run = subprocess.run(command, capture_output=True, env=with_devices(2), check=True)
    plan = json.loads(run.stdout.splitlines()[0])
    assert {group["batch"] for group in plan["groups"]} == {4}
    for name in output_hashes(folders):
        one, two = (
            np.asarray(load_image(folders / out / name), np.int32) for out in ("out", "two")
        )
        assert_same_picture(one, two, atol=1)


@pytest.mark.slow
def test_dry_run_writes_nothing(folders, capsys):
    assert main(argv(folders, "--dry-run")) == 0
    out = capsys.readouterr().out
    assert "8 jobs, 8 to do in 3 shapes (6 programs to compile)" in out
    assert "GiB" in out
    assert "about 0 min" in out
    assert not (folders / "out").exists()


def test_dry_run_in_json_prints_events(folders, capsys):
    assert main(argv(folders, "--dry-run", "--log-format", "json")) == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["event"] for event in events] == ["plan", *["row"] * 4]


@pytest.mark.slow
def test_shards_do_all_jobs_once(folders):
    assert main(argv(folders, "--shard", "1/2")) == 0
    assert len(output_hashes(folders)) == 4
    assert main(argv(folders, "--shard", "2/2")) == 0
    assert len(records(folders)) == len(output_hashes(folders)) == 8
    assert (folders / "out" / "report_2_of_2.html").exists()


def test_json_log_has_plan_jobs_and_progress(folders, capsys):
    assert main(argv(folders, "--log-format", "json")) == 0
    out, err = capsys.readouterr()
    events = [json.loads(line) for line in out.splitlines()]
    assert err == ""
    assert events[0]["event"] == "plan"
    assert sum(event["event"] == "job" for event in events) == 8
    fractions = [event["fraction"] for event in events if event["event"] == "progress"]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1


def test_quiet_prints_nothing(folders, capsys):
    assert main(argv(folders, "--quiet")) == 0
    assert capsys.readouterr() == ("", "")


def test_report_and_contact_sheet_show_all_images(folders):
    (folders / "photos" / "bad.png").write_bytes(b"<script>")
    assert main(argv(folders, "--name", "{content}&{style}.png")) == 7
    page = (folders / "out" / "report.html").read_text()
    assert page.count("<tr class=") == 10
    assert page.count("<polyline") == 8
    # Four content images, two style images and eight results, embedded once each.
    assert page.count("data:image/jpeg") == 14
    assert "http" not in page
    assert "p0&amp;s.png" in page
    sheet = load_image(folders / "out" / "contact_sheet.jpg")
    assert sheet.width > 4 * 192


def test_no_report_writes_no_report(folders):
    assert main(argv(folders, "--no-report")) == 0
    assert not (folders / "out" / "report.html").exists()


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (["--shard", "3/2"], 2, "must be i/n"),
        (["--batch-size", "0"], 2, "not a whole number of at least 1"),
        (["--pair", "each"], 2, "4 content images and 2 style images"),
        (["--name", "../{content}.png"], 2, "is not a file inside the output folder"),
        (["--name", "{style}.png"], 2, "use another `--name`"),
        (["--style-layers", "relu9_1"], 2, "unknown layer"),
        (["--weights", "missing.h5"], 4, "missing.h5"),
    ],
)
def test_invalid_arguments_are_an_error_before_any_output(folders, capsys, more, code, message):
    assert main(argv(folders, *more)) == code
    assert message in capsys.readouterr().err
    assert not (folders / "out").exists()


def test_input_and_output_errors_have_their_exit_codes(folders, capsys):
    assert main(["batch", "missing", "missing", "-o", str(folders / "out")]) == 3
    assert main(["batch", str(folders / "photos"), "-o", str(folders / "out")]) == 2
    (folders / "file").write_bytes(b"x")
    assert main(argv(folders, out="file")) == 6
    job_file = folders / "jobs.csv"
    job_file.write_text("content,style\nmissing.png,styles/s.png\n")
    assert main(["batch", str(job_file), "-o", str(folders / "out")]) == 3
    assert main(["batch", str(job_file), "styles", "-o", str(folders / "out")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 5


@pytest.mark.slow
def test_content_image_too_small_for_its_layers_fails_alone(folders):
    for other_shape in ("p1.png", "p3.png"):
        (folders / "photos" / other_shape).unlink()
    save_image(folders / "photos" / "thin.png", (16, 300), 5)
    assert main(argv(folders, "--content-layers", "relu3_1")) == 7
    failed = {name for name, r in records(folders).items() if r["status"] == "failed"}
    assert failed == {"thin_s.png", "thin_t.png"}
    assert "its layers need both sides at least" in records(folders)["thin_s.png"]["error"]


@pytest.mark.slow
def test_style_image_too_small_for_its_layers_fails_alone(folders):
    for narrow in ("p0.png", "p1.png", "p2.png"):
        (folders / "photos" / narrow).unlink()
    save_image(folders / "styles" / "small.png", (9, 9), 5)
    assert main(argv(folders, "--style-layers", "relu5_1", "--padding", "reflect")) == 7
    error = records(folders)["p3_small.png"]["error"]
    assert "small.png is 18x18; its layers need both sides at least 32" in error
    assert sorted(output_hashes(folders)) == ["p3_s.png", "p3_t.png"]


@pytest.mark.slow
def test_style_image_is_read_again_for_deeper_layers(folders):
    save_image(folders / "styles" / "long.png", (16, 160), 5)
    job_file = folders / "jobs.csv"
    row = "photos/p3.png,styles/long.png"
    job_file.write_text(
        f"content,style,output,style_layers\n{row},a.png,relu1_1\n{row},b.png,relu5_1\n"
    )
    assert main(["batch", str(job_file), "-o", str(folders / "out"), *FLAGS]) == 0


def test_output_blocked_by_a_file_or_folder_fails_alone(folders):
    out = folders / "out"
    (out / "t" / "p0.png").mkdir(parents=True)
    (out / "s").write_bytes(b"")
    assert main(argv(folders, "--name", "{style}/{content}.png")) == 7
    blocked = {f"s/p{i}.png": "File exists" for i in range(4)} | {"t/p0.png": "Is a directory"}
    finished = {f"t/p{i}.png" for i in (1, 2, 3)}
    jobs = records(folders)
    assert {name for name, record in jobs.items() if record["status"] == "done"} == finished
    errors = {name: r["error"] for name, r in jobs.items() if r["status"] == "failed"}
    assert errors == {
        name: f"cannot write {out / name}: {reason}." for name, reason in blocked.items()
    }
    # The obstacles are unchanged, and no temporary file is left.
    assert (out / "s").read_bytes() == b""
    assert not list((out / "t" / "p0.png").iterdir())
    files = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    others = {"s", "jobs.jsonl", "report.html", "contact_sheet.jpg"}
    assert {name for name in files if not name.endswith(".lock")} == finished | others


@pytest.mark.slow
def test_full_disk_stops_the_batch_and_the_next_run_completes_it(folders, monkeypatch, capsys):
    write_bytes, paths = jaxstyle.batch.work.write_bytes, []

    def write_until_full(path, data, **kwargs):
        paths.append(path)
        if len(paths) > 3:
            error = jaxstyle.batch.work.WriteError(f"cannot write {path}: No space left on device.")
            raise error from OSError(errno.ENOSPC, "No space left on device")
        write_bytes(path, data, **kwargs)

    monkeypatch.setattr(jaxstyle.batch.work, "write_bytes", write_until_full)
    assert main(argv(folders, "--batch-size", "1")) == 6
    assert "No space left" in capsys.readouterr().err
    assert len(paths) < 8
    monkeypatch.undo()
    assert main(argv(folders)) == 0
    lines = (folders / "out" / "jobs.jsonl").read_text().splitlines()
    assert sum('"done"' in line for line in lines) == 8


def start(folder, *more, out="out"):
    """Start the batch in another process."""
    command = [sys.executable, "-m", "jaxstyle.cli", *argv(folder, *more, out=out)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.mark.slow
def test_file_size_limit_stops_the_batch(folders):
    # A result has more than 1024 bytes. The compilation cache would exceed the limit too.
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


def test_output_folder_that_cannot_be_created_is_an_error(folders, capsys):
    (folders / "file").touch()
    assert main(argv(folders, out="file/out")) == 6
    assert capsys.readouterr().err.startswith("jaxstyle: cannot write to ")


@pytest.mark.slow
def test_output_folder_that_becomes_read_only_stops_the_batch(folders):
    if os.geteuid() == 0:
        # Root ignores permissions, so replace the folder by a file.
        block = lambda out: (out.rename(folders / "away"), out.write_bytes(b""))
    else:
        block = lambda out: out.chmod(0o500)
    process = start(folders, "--steps", "60,60", "--no-report")
    wait_for(lambda: output_hashes(folders), process)
    block(folders / "out")
    _, err = process.communicate(timeout=120)
    assert process.returncode == 6
    assert b"Traceback" not in err


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_batch_keeps_finished_results(folders, number):
    process = start(folders, "--steps", "60,60")
    wait_for(lambda: output_hashes(folders), process)
    process.send_signal(number)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert b"Traceback" not in err
    assert 1 <= len(output_hashes(folders)) < 8
    assert (folders / "out" / "report.html").exists()


@pytest.mark.slow
def test_second_process_on_the_same_output_stops(folders, capsys):
    process = start(folders, "--steps", "300,300")
    wait_for(lambda: (folders / "out" / "jobs.jsonl").exists(), process)
    assert main(argv(folders)) == 6
    assert "another process is writing to" in capsys.readouterr().err
    process.kill()
    process.communicate()


@pytest.mark.slow
def test_batch_killed_ten_times_gives_the_same_results(folders):
    """Kill the command at random moments and repeat it until it completes."""
    for number in range(4, 12):
        save_image(folders / "photos" / f"p{number}.png", (20, 30), number)
    steps = ["--steps", "120,120"]
    assert main(argv(folders, *steps, out="whole")) == 0
    generator, kills, code = random.Random(0), 0, None
    while code != 0 or kills < 10:
        if code == 0:
            # Completed before ten kills: start over.
            shutil.rmtree(folders / "out")
        process = start(folders, *steps)
        if kills < 10:
            # A process needs about two seconds before its first result.
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=generator.uniform(0.2, 4.5))
            kills += process.poll() is None
            process.kill()
        _, err = process.communicate(timeout=300)
        code = process.returncode
        assert code in (0, -signal.SIGKILL), err
        for name, record in records_so_far(folders).items():
            assert file_sha256(folders / "out" / name) == record["output_sha256"]
            load_image(folders / "out" / name)
    assert output_hashes(folders) == output_hashes(folders, out="whole")
    assert len(output_hashes(folders)) == 24
    assert not list((folders / "out").glob(".*.partial"))


def records_so_far(folder):
    """Return the records of finished jobs; the last line may be incomplete."""
    path = folder / "out" / "jobs.jsonl"
    complete = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        if line.endswith("}"):
            record = json.loads(line)
            complete[record["output"]] = record
    return complete


def test_job_has_the_flags_and_lists_its_inputs(folders):
    defaults = Defaults("default", {"size": 32})
    content, style = folders / "photos" / "p0.png", folders / "styles" / "s.png"
    (job,) = pair_jobs([content], [style], defaults)
    assert job.config == dataclasses.replace(defaults.config(), size=32)
    assert job.inputs == {"content": (content,), "style": (style,), "mask": (), "start": ()}
