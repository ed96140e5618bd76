"""Commands that write one image, from end to end."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from cli.quick import PAINTING, PHOTO, QUICK, SIZE, STYLE_LAYERS, python, run, stylize
from conftest import IMAGES
from PIL import Image

from jaxstyle import PRESETS, read_image, write_image
from jaxstyle.io import images


def metadata_of(path):
    """Provenance that an image file carries."""
    with Image.open(path) as image:
        return json.loads(image.info["jaxstyle"])


def test_stylize_writes_an_image_and_one_line(tmp_path):
    out = tmp_path / "out.png"
    result = run("stylize", PHOTO, PAINTING, *QUICK, "-o", out)
    assert result.code == 0
    assert read_image(out).shape == (32, 48, 3)
    assert result.out == ""
    assert result.err.startswith(f"{out}: 48x32, 3 steps, loss ")
    assert result.err.count("\n") == 1


def test_same_command_gives_the_same_bytes(tmp_path):
    for name in ("a.png", "b.png"):
        assert stylize("-o", tmp_path / name, "--init", "noise") == 0
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_module_runs_in_another_process_and_folder(tmp_path):
    command = ["-m", "jaxstyle.cli", "stylize", PHOTO, PAINTING, *QUICK, "-o", "x.png"]
    done = python(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert read_image(tmp_path / "x.png").shape == (32, 48, 3)


@pytest.mark.parametrize("suffix", ["jpg", "webp", "tiff"])
def test_suffix_of_the_output_chooses_the_format(tmp_path, suffix):
    out = tmp_path / f"out.{suffix}"
    assert stylize("-o", out) == 0
    assert read_image(out).shape == (32, 48, 3)
    with Image.open(out) as image:
        assert image.format == images.FORMATS[out.suffix]


def test_dash_writes_a_png_to_stdout(capfdbinary):
    assert stylize("-o", "-") == 0
    assert capfdbinary.readouterr().out.startswith(b"\x89PNG")


def test_report_and_metadata_describe_the_run(tmp_path):
    out, path = tmp_path / "out.png", tmp_path / "report.json"
    assert stylize("-o", out, "--report", path, "--tv-weight", "0.25") == 0
    report = json.loads(path.read_text())
    assert report["config"]["tv_weight"] == 0.25
    assert report["inputs"]["content"][0]["file"] == "chelsea.jpg"
    assert len(report["inputs"]["style"][0]["sha256"]) == 64
    assert report["complete"] is True
    assert len(report["trace"]["loss"]) == len(report["trace"]["terms"]["tv"]) == 3
    metadata = metadata_of(out)
    assert metadata == {key: report[key] for key in metadata}
    keys = {"command", "config", "inputs", "weights", "versions", "jaxstyle", "device"}
    assert keys == set(metadata)


@pytest.mark.slow
def test_report_contains_preset_values_and_flags(tmp_path):
    report = tmp_path / "r.json"
    arguments = ["--preset", "classic", "--tv-weight", "3", "--report", report]
    assert stylize("-o", tmp_path / "o.png", *arguments) == 0
    config = json.loads(report.read_text())["config"]
    assert config["tv_weight"] == 3
    assert config["init"] == PRESETS["classic"].init
    assert config["size"] == 48


def test_transparency_of_the_content_image_is_preserved(tmp_path):
    content = read_image(PHOTO, 48)
    alpha = np.linspace(0, 1, 48, dtype=np.float32)[None, :, None] * np.ones((32, 1, 1), np.float32)
    write_image(tmp_path / "clear.png", np.concatenate([content, alpha], axis=-1))
    out = tmp_path / "out.png"
    assert run("stylize", tmp_path / "clear.png", PAINTING, *QUICK, "-o", out).code == 0
    result = read_image(out, alpha=True)
    np.testing.assert_allclose(result[..., 3:], alpha, atol=1.5 / 255)


@pytest.mark.slow
def test_previews_have_the_size_of_the_result(tmp_path, monkeypatch):
    shapes, write = [], images.write_image

    def write_and_record(path, image, **options):
        shapes.append(image.shape)
        write(path, image, **options)

    monkeypatch.setattr(images, "write_image", write_and_record)
    arguments = ["--preview-every", "0", "--min-size", "24", "--steps", "2,2"]
    assert stylize("-o", tmp_path / "out.png", *arguments) == 0
    assert len(shapes) >= 3
    assert set(shapes) == {(32, 48, 3)}


def test_run_starts_from_an_image_file(tmp_path):
    write_image(tmp_path / "start.png", np.full((32, 48, 3), 0.25))
    arguments = ["--init", tmp_path / "start.png", "--steps", "1", "--learning-rate", "1e-6"]
    assert stylize("-o", tmp_path / "out.png", *arguments) == 0
    np.testing.assert_allclose(read_image(tmp_path / "out.png"), 0.25, atol=1 / 255)


@pytest.mark.slow
def test_masks_assign_styles_to_regions(tmp_path):
    mask = np.zeros((32, 48, 3))
    mask[:, :24] = 1
    write_image(tmp_path / "left.png", mask)
    write_image(tmp_path / "right.png", 1 - mask)
    arguments = ["stylize", PHOTO, PAINTING, IMAGES / "langlois_bridge.jpg", *QUICK]
    masks = ["--mask", tmp_path / "left.png", "--mask", tmp_path / "right.png"]
    one, other = tmp_path / "one.png", tmp_path / "other.png"
    assert run(*arguments, *masks, "--blend", "2,1", "-o", one).code == 0
    assert run(*arguments, *masks[2:], *masks[:2], "-o", other).code == 0
    assert one.read_bytes() != other.read_bytes()


@pytest.mark.slow
def test_mask_may_be_transparency_or_gray(tmp_path):
    white = np.ones((32, 48, 4))
    white[:, 24:, 3] = 0
    write_image(tmp_path / "clear.png", white)
    write_image(tmp_path / "gray.png", white[..., 3:].repeat(3, axis=-1))
    for name in ("clear", "gray"):
        assert stylize("-o", tmp_path / f"{name}_out.png", "--mask", tmp_path / f"{name}.png") == 0
    first, second = (read_image(tmp_path / f"{name}_out.png") for name in ("clear", "gray"))
    np.testing.assert_array_equal(first, second)


@pytest.mark.slow
def test_preview_is_one_pass_at_the_size_of_the_result(tmp_path):
    out = tmp_path / "out.png"
    arguments = ["--size", "48", "--strength", "0.5", "-o", out]
    result = run("preview", PHOTO, PAINTING, *arguments)
    assert result == (0, "", f"{out}: 48x32, in one pass\n")
    assert read_image(out).shape == (32, 48, 3)
    metadata = metadata_of(out)
    assert metadata["command"] == "preview"
    assert metadata["strength"] == 0.5
    assert metadata["config"]["init"] == "adain"


def test_texture_has_the_given_aspect(tmp_path):
    out = tmp_path / "out.png"
    assert run("texture", PAINTING, *SIZE, *STYLE_LAYERS, "--aspect", "2", "-o", out).code == 0
    assert read_image(out).shape == (24, 48, 3)
    assert metadata_of(out)["command"] == "texture"


def test_content_is_reconstructed_from_its_features(tmp_path):
    out = tmp_path / "out.png"
    arguments = [*SIZE, "--layers", "relu1_1", "--of", "content", "-o", out]
    assert run("reconstruct", PHOTO, *arguments).code == 0
    assert read_image(out).shape == (32, 48, 3)
    assert list(metadata_of(out)["inputs"]) == ["content"]


@pytest.mark.slow
def test_report_contains_the_values_of_the_run_instead_of_the_defaults(tmp_path):
    out, path = tmp_path / "out.png", tmp_path / "report.json"
    arguments = [*SIZE, "--layers", "relu1_1=4,relu1_2", "--of", "style"]
    assert run("reconstruct", PHOTO, *arguments, "-o", out, "--report", path).code == 0
    assert read_image(out).shape == (32, 48, 3)
    report = json.loads(path.read_text())
    assert report["command"] == "reconstruct"
    assert report["config"]["style_layers"] == [["relu1_1", 4.0], ["relu1_2", 1.0]]
    assert report["config"]["content_layers"] == []
    assert report["config"]["init"] == "noise"
    assert list(report["inputs"]) == ["style"]


def test_interrupted_run_writes_its_image_and_exits_130(tmp_path):
    out, report = tmp_path / "out.png", tmp_path / "report.json"
    command = [sys.executable, "-m", "jaxstyle.cli", "stylize", PHOTO, PAINTING, *QUICK, "-o", out]
    command += ["--steps", "100000", "--preview-every", "0", "--report", report]
    process = subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not out.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "interrupted: this is the result so far" in err
    assert "Traceback" not in err
    assert read_image(out).shape == (32, 48, 3)
    assert json.loads(report.read_text())["complete"] is False
    assert 0 < metadata_of(out)["step"] < 100_000
    assert set(tmp_path.iterdir()) == {out, report}


@pytest.mark.slow
def test_second_run_reads_compiled_programs_from_the_cache(tmp_path):
    cache = tmp_path / "cache"
    # By default only programs that took 0.1 s to compile are stored, which depends on the load.
    every = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache), **every}
    command = ["-m", "jaxstyle.cli", "stylize", PHOTO, PAINTING, *QUICK, "-o", tmp_path / "o.png"]
    assert python(*command, env=environment).returncode == 0
    cached = {path: path.stat().st_mtime for path in cache.rglob("*-cache")}
    assert cached
    assert python(*command, env=environment).returncode == 0
    assert {path: path.stat().st_mtime for path in cache.rglob("*-cache")} == cached
