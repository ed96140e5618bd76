import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from conftest import IMAGES
from PIL import Image

from jaxstyle import PRESETS, StyleConfig, read_image, write_image
from jaxstyle.cli import main
from jaxstyle.io.weights import weights_path

PHOTO, PAINTING = str(IMAGES / "chelsea.jpg"), str(IMAGES / "cafe_terrace.jpg")
# A few steps of shallow layers at 48 pixels.
QUICK = ["--size", "48", "--steps", "3", "--style-layers", "relu1_1,relu2_1",
         "--content-layers", "relu2_1"]  # fmt: skip


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


def stylize(*arguments):
    return main(["stylize", PHOTO, PAINTING, *QUICK, *map(str, arguments)])


def python(*arguments, **options):
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, **options)


def test_stylize_writes_a_picture_and_one_line(tmp_path, capsys):
    out = tmp_path / "out.png"
    assert stylize("-o", out) == 0
    assert read_image(out).shape == (32, 48, 3)
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"{out}: 48x32, 3 steps, loss ")
    assert said.err.count("\n") == 1


def test_quiet_says_nothing(tmp_path, capsys):
    assert stylize("-o", tmp_path / "out.png", "-q") == 0
    assert capsys.readouterr().err == ""


def test_same_command_gives_the_same_bytes(tmp_path):
    for name in ("a.png", "b.png"):
        assert stylize("-o", tmp_path / name, "--init", "noise") == 0
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_as_a_module_from_another_folder_in_a_process_of_its_own(tmp_path):
    done = python(
        "-m", "jaxstyle.cli", "stylize", PHOTO, PAINTING, *QUICK, "-o", "x.png", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert read_image(tmp_path / "x.png").shape == (32, 48, 3)


@pytest.mark.parametrize("suffix", ["jpg", "webp", "tiff"])
def test_writes_by_the_ending_of_the_name(tmp_path, suffix):
    assert stylize("-o", tmp_path / f"out.{suffix}") == 0
    assert read_image(tmp_path / f"out.{suffix}").shape == (32, 48, 3)


def test_dash_writes_a_png_to_stdout(capfdbinary):
    assert stylize("-o", "-") == 0
    assert capfdbinary.readouterr().out.startswith(b"\x89PNG")


def test_report_and_png_say_how_the_picture_was_made(tmp_path):
    out, report = tmp_path / "out.png", tmp_path / "report.json"
    assert stylize("-o", out, "--report", report, "--tv-weight", "0.25") == 0
    told = json.loads(report.read_text())
    assert told["config"]["tv_weight"] == 0.25
    assert told["inputs"]["content"][0]["file"] == "chelsea.jpg"
    assert len(told["inputs"]["style"][0]["sha256"]) == 64
    assert told["complete"] is True
    assert len(told["trace"]["loss"]) == len(told["trace"]["terms"]["tv"]) == 3
    text = json.loads(Image.open(out).text["jaxstyle"])
    assert text == {key: told[key] for key in text}
    assert {"command", "config", "inputs", "weights", "versions", "jaxstyle"} == set(text)


def test_alpha_of_the_photograph_is_returned(tmp_path):
    photo = read_image(PHOTO, 48)
    alpha = np.linspace(0, 1, 48, dtype=np.float32)[None, :, None] * np.ones((32, 1, 1), np.float32)
    write_image(tmp_path / "clear.png", np.concatenate([photo, alpha], axis=-1))
    arguments = ["stylize", str(tmp_path / "clear.png"), PAINTING, *QUICK]
    assert main([*arguments, "-o", str(tmp_path / "out.png")]) == 0
    back = read_image(tmp_path / "out.png", alpha=True)
    np.testing.assert_allclose(back[..., 3:], alpha, atol=1.5 / 255)


def test_preview_is_a_whole_picture_of_the_final_size(tmp_path, monkeypatch):
    from jaxstyle.io import images

    written = []
    write = images.write_image

    def spy(path, image, **options):
        written.append(image.shape)
        write(path, image, **options)

    monkeypatch.setattr(images, "write_image", spy)
    arguments = ["--preview-every", "0", "--min-size", "24", "--steps", "2,2"]
    assert stylize("-o", tmp_path / "out.png", *arguments) == 0
    assert len(written) >= 3
    assert set(written) == {(32, 48, 3)}


def test_start_from_a_file(tmp_path):
    write_image(tmp_path / "start.png", np.full((32, 48, 3), 0.25))
    arguments = ["--init", tmp_path / "start.png", "--steps", "1", "--learning-rate", "1e-6"]
    assert stylize("-o", tmp_path / "out.png", *arguments) == 0
    np.testing.assert_allclose(read_image(tmp_path / "out.png"), 0.25, atol=1 / 255)


def test_several_styles_with_masks(tmp_path):
    mask = np.zeros((32, 48, 3))
    mask[:, :24] = 1
    write_image(tmp_path / "left.png", mask)
    write_image(tmp_path / "right.png", 1 - mask)
    arguments = ["stylize", PHOTO, PAINTING, str(IMAGES / "langlois_bridge.jpg"), *QUICK]
    masks = ["--mask", str(tmp_path / "left.png"), "--mask", str(tmp_path / "right.png")]
    one, other = tmp_path / "one.png", tmp_path / "other.png"
    assert main([*arguments, *masks, "--blend", "2,1", "-o", str(one)]) == 0
    assert main([*arguments, *masks[2:], *masks[:2], "-o", str(other)]) == 0
    assert one.read_bytes() != other.read_bytes()


def test_a_mask_may_be_drawn_as_transparency(tmp_path):
    white = np.ones((32, 48, 4))
    white[:, 24:, 3] = 0
    write_image(tmp_path / "clear.png", white)
    write_image(tmp_path / "gray.png", white[..., 3:].repeat(3, axis=-1))
    for name in ("clear", "gray"):
        assert stylize("-o", tmp_path / f"{name}_out.png", "--mask", tmp_path / f"{name}.png") == 0
    first, second = (read_image(tmp_path / f"{name}_out.png") for name in ("clear", "gray"))
    np.testing.assert_array_equal(first, second)


def test_the_record_tells_what_was_run_not_what_was_the_default(tmp_path):
    out, report = tmp_path / "out.png", tmp_path / "report.json"
    quick = ["--size", "48", "--steps", "2", "-o", str(out), "--report", str(report)]
    assert (
        main(["reconstruct", PHOTO, *quick, "--layers", "relu1_1=4,relu2_1", "--of", "style"]) == 0
    )
    told = json.loads(report.read_text())
    assert told["command"] == "reconstruct"
    assert told["config"]["style_layers"] == [["relu1_1", 4.0], ["relu2_1", 1.0]]
    assert told["config"]["content_layers"] == []
    assert told["config"]["init"] == "noise"
    assert list(told["inputs"]) == ["style"]


def test_texture_has_the_aspect_asked_for(tmp_path):
    arguments = ["texture", PAINTING, *QUICK[:6], "--aspect", "2", "-o", str(tmp_path / "out.png")]
    assert main(arguments) == 0
    assert read_image(tmp_path / "out.png").shape == (24, 48, 3)


@pytest.mark.parametrize("of", ["content", "style"])
def test_reconstruct_reads_layers(tmp_path, of):
    arguments = ["reconstruct", PHOTO, "--size", "48", "--steps", "2", "--layers", "relu1_1"]
    arguments += ["--of", of]
    assert main([*arguments, "-o", str(tmp_path / "out.png")]) == 0
    assert read_image(tmp_path / "out.png").shape == (32, 48, 3)


def test_flags_come_on_top_of_the_preset(tmp_path):
    report = tmp_path / "r.json"
    arguments = ["--preset", "classic", "--tv-weight", "3", "--report", report]
    assert stylize("-o", tmp_path / "o.png", *arguments) == 0
    config = json.loads(report.read_text())["config"]
    assert config["tv_weight"] == 3
    assert config["init"] == PRESETS["classic"].init
    assert config["size"] == 48


def test_every_field_of_the_config_is_a_flag(capsys):
    import dataclasses

    assert main(["stylize", "--help"]) == 0
    said = capsys.readouterr().out
    for field in dataclasses.fields(StyleConfig):
        assert "--" + field.name.replace("_", "-") in said


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["stylize", "--help"]])
def test_help_and_version_answer_without_jax(arguments):
    code = (
        "import sys; from jaxstyle.cli import main; code = main(sys.argv[1:]);"
        "sys.exit(99 if 'jax' in sys.modules or 'numpy' in sys.modules else code)"
    )
    done = python("-c", code, *arguments)
    assert done.returncode == 0, done.stderr
    assert "jaxstyle" in done.stdout


def test_help_takes_less_than_half_a_second():
    began = time.perf_counter()
    python("-m", "jaxstyle.cli", "--help")
    assert time.perf_counter() - began < 0.5


# What a user can do wrong: arguments, exit code, what the line says.
WRONG = {
    "no command": ([], 2, "COMMAND"),
    "unknown command": (["paint"], 2, "invalid choice: 'paint'"),
    "no output": (["stylize", PHOTO, PAINTING], 2, "-o/--output"),
    "unknown flag": (["stylize", PHOTO, PAINTING, "-o", "o.png", "--sise", "3"], 2, "--sise"),
    "preset of a preview": (
        ["preview", PHOTO, PAINTING, "-o", "o.png", "--preset", "x"],
        2,
        "--preset",
    ),
    "unknown preset": (["stylize", PHOTO, PAINTING, "-o", "o.png", "--preset", "x"], 2, "'x'"),
    "unknown layer": (
        ["stylize", PHOTO, PAINTING, "-o", "o.png", "--style-layers", "relu4-2"],
        2,
        "did you mean 'relu4_2'",
    ),
    "negative weight": (
        ["stylize", PHOTO, PAINTING, "-o", "o.png", "--style-weight", "-1"],
        2,
        "`style_weight` is -1.0; it must be at least 0",
    ),
    "not a number": (
        ["stylize", PHOTO, PAINTING, "-o", "o.png", "--size", "big"],
        2,
        "`size` is 'big'; it must be a whole number",
    ),
    "blend for other styles": (
        ["stylize", PHOTO, PAINTING, "-o", "o.png", "--blend", "1,2"],
        2,
        "`blend` has 2 weights for 1 styles",
    ),
    "masks for other styles": (
        ["stylize", PHOTO, PAINTING, "-o", "o.png", "--mask", PHOTO, "--mask", PHOTO],
        2,
        "2 masks for 1 styles",
    ),
    "mask of other proportions": (
        ["stylize", PHOTO, PAINTING, "-o", "o.png", "--mask", PAINTING],
        2,
        "of other proportions",
    ),
    "preview to stdout": (
        ["stylize", PHOTO, PAINTING, "-o", "-", "--preview-every", "5"],
        2,
        "needs a file",
    ),
    "negative pace": (
        ["stylize", PHOTO, PAINTING, "-o", "o.png", "--preview-every", "-5"],
        2,
        "--preview-every",
    ),
    "texture from a file": (
        ["texture", PAINTING, "-o", "o.png", "--init", PHOTO],
        2,
        "invalid choice",
    ),
    "aspect": (["texture", PAINTING, "-o", "o.png", "--aspect", "0"], 2, "`--aspect` is 0"),
    "missing photograph": (
        ["stylize", "none.jpg", PAINTING, "-o", "o.png"],
        3,
        "none.jpg does not",
    ),
    "missing style": (["stylize", PHOTO, "none.jpg", "-o", "o.png"], 3, "none.jpg does not exist"),
    "not a picture": (["stylize", __file__, PAINTING, "-o", "o.png"], 3, "is not a picture"),
    "missing start": (
        ["stylize", PHOTO, PAINTING, "-o", "o.png", "--init", "none.png"],
        3,
        "none.png does not exist",
    ),
    "missing weights": (
        ["stylize", PHOTO, PAINTING, "-o", "o.png", "--weights", "none.h5"],
        4,
        "none.h5 does not exist",
    ),
    "weights that are none": (
        ["stylize", PHOTO, PAINTING, "-o", "o.png", "--weights", PHOTO],
        4,
        "is not a whole HDF5 file",
    ),
    "unknown ending": (["stylize", PHOTO, PAINTING, "-o", "o.gif"], 6, "must end in .png"),
    "no such folder": (["stylize", PHOTO, PAINTING, "-o", "no/o.png"], 6, "does not exist; make"),
    "report into no folder": (
        ["stylize", PHOTO, PAINTING, "-o", "o.png", "--report", "no/r.json"],
        6,
        "does not exist; make",
    ),
    "start that is a typo": (
        ["stylize", PHOTO, PAINTING, "-o", "o.png", "--init", "grey"],
        2,
        "`init` is 'grey'; it must be content, adain, noise",
    ),
    "start of other proportions": (
        ["stylize", PHOTO, PAINTING, "-o", "o.png", "--init", PAINTING],
        2,
        "of other proportions",
    ),
    "report over the picture": (
        ["stylize", PHOTO, PAINTING, "-o", "o.png", "--report", "o.png"],
        2,
        "another output too",
    ),
    "picture over the photograph": (["stylize", PHOTO, PAINTING, "-o", PHOTO], 2, "is an input"),
    "no layers": (["reconstruct", PHOTO, "-o", "o.png", "--layers", ""], 2, "`layers` is empty"),
    "output that is a device": (
        ["stylize", PHOTO, PAINTING, "-o", "o.png", "--report", "/dev/null"],
        6,
        "it is a device",
    ),
    "verify nothing": (["weights", "verify", "none.h5"], 4, "none.h5 does not exist"),
    "convert nothing": (["weights", "convert", "none.h5", "out.h5"], 4, "none.h5 does not exist"),
    "convert a .pth": (["weights", "convert", __file__, "out.h5"], 4, "convert_vgg19.py"),
}


@pytest.mark.parametrize("case", WRONG)
def test_mistakes_are_one_line_with_the_right_exit_code(tmp_path, monkeypatch, capsys, case):
    arguments, code, message = WRONG[case]
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == code
    said = capsys.readouterr().err
    assert message in said
    assert said.startswith("jaxstyle: ")
    assert said.count("\n") == 1
    assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == []


def test_black_mask_is_named(tmp_path, capsys):
    write_image(tmp_path / "black.png", np.zeros((32, 48, 3)))
    assert stylize("-o", tmp_path / "o.png", "--mask", tmp_path / "black.png") == 2
    assert "black everywhere" in capsys.readouterr().err


def test_divergence_is_exit_5_and_no_picture(tmp_path, capsys):
    arguments = ["--learning-rate", "1e38", "--no-clamp", "--steps", "8"]
    assert stylize("-o", tmp_path / "o.png", *arguments) == 5
    assert "a lower --learning-rate" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_read_only_folder_is_exit_6(tmp_path, capsys, monkeypatch):
    # Root may write everywhere, so a real read-only folder would prove nothing there.
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    assert stylize("-o", tmp_path / "o.png") == 6
    assert "read-only" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_full_disk_is_exit_6_and_leaves_nothing(tmp_path, capsys, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert stylize("-o", tmp_path / "o.png") == 6
    assert "No space left" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_an_unexpected_error_is_one_line_and_exit_1(tmp_path, capsys, monkeypatch):
    from jaxstyle import transfer

    def broken(*_, **__):
        raise RuntimeError("something\nnobody thought of")

    monkeypatch.setattr(transfer, "stylize", broken)
    assert stylize("-o", tmp_path / "o.png") == 1
    said = capsys.readouterr().err
    assert "RuntimeError: something nobody thought of" in said
    assert said.count("\n") == 1


def interrupt_when(path, process, deadline=120):
    """Send SIGINT once a file is there."""
    while not path.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)


def test_interrupt_writes_the_picture_so_far_and_exits_130(tmp_path):
    out = tmp_path / "out.png"
    command = [sys.executable, "-m", "jaxstyle.cli", "stylize", PHOTO, PAINTING, *QUICK, "-o", out]
    command += ["--steps", "100000", "--preview-every", "0"]
    process = subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True)
    watcher = threading.Thread(target=interrupt_when, args=(out, process, time.monotonic() + 120))
    watcher.start()
    said = process.communicate(timeout=200)[1]
    watcher.join()
    assert process.returncode == 130
    assert "interrupted: the picture so far" in said
    assert "Traceback" not in said
    assert read_image(out).shape == (32, 48, 3)
    assert list(tmp_path.iterdir()) == [out]


def test_second_run_reads_compiled_programs_from_the_cache(tmp_path):
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    command = ["-m", "jaxstyle.cli", "stylize", PHOTO, PAINTING, *QUICK, "-o", tmp_path / "o.png"]
    assert python(*command, env=environment).returncode == 0
    cached = {p: p.stat().st_mtime for p in (tmp_path / "cache").rglob("*-cache")}
    assert cached
    assert python(*command, env=environment).returncode == 0
    assert {p: p.stat().st_mtime for p in (tmp_path / "cache").rglob("*-cache")} == cached


def test_weights_info_and_verify_speak_on_stdout(capsys):
    assert main(["weights", "info"]) == 0
    assert "20,024,396 weights in 17 layers" in capsys.readouterr().out
    assert main(["weights", "verify"]) == 0
    assert "checksum of the file" in capsys.readouterr().out


def test_verify_finds_a_file_that_is_not_the_one_listed(tmp_path, capsys):
    shutil.copy(weights_path(), tmp_path / "vgg19.h5")
    (tmp_path / "SHA256SUMS").write_text(f"{'0' * 64}  vgg19.h5\n")
    assert main(["weights", "verify", str(tmp_path / "vgg19.h5")]) == 4
    assert "is not the file that" in capsys.readouterr().err


def test_readme_names_every_command():
    readme = (IMAGES.parent.parent / "README.md").read_text()
    for command in ("stylize", "texture", "reconstruct", "weights"):
        assert f"jaxstyle {command}" in readme or f"jaxstyle.cli {command}" in readme
