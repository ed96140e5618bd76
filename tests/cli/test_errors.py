"""Mistakes of users and failures of the system: one line on stderr, and an exit code."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
from cli.quick import PAINTING, PHOTO, QUICK, SIZE, run, stylize

from jaxstyle import transfer, write_image
from jaxstyle.analysis import memory
from jaxstyle.analysis.cost import CostEstimate
from jaxstyle.cli import plan
from jaxstyle.errors import DivergedError, ExitCode
from jaxstyle.io import images

STYLIZE = ["stylize", PHOTO, PAINTING, "-o", "o.png"]
# Arguments, exit code, and part of the message.
MISTAKES = {
    "unknown command": (["paint"], 2, "unknown command 'paint'"),
    "no output": (["stylize", PHOTO, PAINTING], 2, "-o/--output"),
    "unknown flag": ([*STYLIZE, "--sise", "3"], 2, "--sise"),
    "preset of a preview": (["preview", *STYLIZE[1:], "--preset", "x"], 2, "--preset"),
    "unknown preset": ([*STYLIZE, "--preset", "x"], 2, "'x'"),
    "unknown platform": ([*STYLIZE, "--platform", "npu"], 2, "'npu'"),
    "unknown precision": ([*STYLIZE, "--precision", "low"], 2, "'low'"),
    "unknown device": (["plan", "--device", "b200"], 2, "choose one of v5e, v6e, h100, a100, t4"),
    "dtype that a device lacks": (
        ["plan", "--device", "t4", "--dtype", "bfloat16"],
        2,
        "t4 has no bfloat16; choose one of float32",
    ),
    "price without a device": (["plan", "--price", "1"], 2, "`--price` needs `--device`"),
    "negative price": (["plan", "--device", "t4", "--price", "-1"], 2, "`--price` is -1.0"),
    "unknown layer": ([*STYLIZE, "--style-layers", "relu4-2"], 2, "did you mean 'relu4_2'"),
    "negative weight": (
        [*STYLIZE, "--style-weight", "-1"],
        2,
        "`style_weight` is -1.0; it must be at least 0",
    ),
    "size that is not a number": (
        [*STYLIZE, "--size", "big"],
        2,
        "`size` is 'big'; it must be a whole number",
    ),
    "wrong number of blend weights": (
        [*STYLIZE, "--blend", "1,2"],
        2,
        "`blend` has 2 weights for 1 styles",
    ),
    "wrong number of masks": (
        [*STYLIZE, "--mask", PHOTO, "--mask", PHOTO],
        2,
        "2 masks for 1 styles",
    ),
    "mask of another aspect ratio": (
        [*STYLIZE, "--mask", PAINTING],
        2,
        "its aspect ratio must match",
    ),
    "previews to stdout": (
        ["stylize", PHOTO, PAINTING, "-o", "-", "--preview-every", "5"],
        2,
        "needs a file",
    ),
    "report to stdout": ([*STYLIZE, "--report", "-"], 2, "`--report` needs a file"),
    "negative seconds": ([*STYLIZE, "--preview-every", "-5"], 2, "--preview-every"),
    "texture that starts from a file": (
        ["texture", PAINTING, "-o", "o.png", "--init", PHOTO],
        2,
        "it must be one of content, ",
    ),
    "aspect of zero": (
        ["texture", PAINTING, "-o", "o.png", "--aspect", "0"],
        2,
        "`--aspect` is 0",
    ),
    "strength above one": (["preview", *STYLIZE[1:], "--strength", "2"], 2, "`--strength` is 2.0"),
    "missing content image": (["stylize", "none.jpg", *STYLIZE[2:]], 3, "none.jpg does not"),
    "missing style image": (
        ["stylize", PHOTO, "none.jpg", "-o", "o.png"],
        3,
        "none.jpg does not exist",
    ),
    "file that is not an image": (["stylize", __file__, *STYLIZE[2:]], 3, "is not an image"),
    "missing start image": ([*STYLIZE, "--init", "none.png"], 3, "none.png does not exist"),
    "missing weights": ([*STYLIZE, "--weights", "none.h5"], 4, "none.h5 does not exist"),
    "weights that are an image": (
        [*STYLIZE, "--weights", PHOTO],
        4,
        "is not a complete HDF5 file",
    ),
    "unknown image format": (["stylize", PHOTO, PAINTING, "-o", "o.gif"], 6, "must end in .png"),
    "output in a missing folder": (
        ["stylize", PHOTO, PAINTING, "-o", "no/o.png"],
        6,
        "does not exist; create",
    ),
    "report in a missing folder": (
        [*STYLIZE, "--report", "no/r.json"],
        6,
        "does not exist; create",
    ),
    "misspelled start": (
        [*STYLIZE, "--init", "grey"],
        2,
        "`init` is 'grey'; did you mean 'gray'?",
    ),
    "start image of another aspect ratio": (
        [*STYLIZE, "--init", PAINTING],
        2,
        "its aspect ratio must match",
    ),
    "report that would overwrite the output": (
        [*STYLIZE, "--report", "o.png"],
        2,
        "is also an input or another output",
    ),
    "output that would overwrite an input": (
        ["stylize", PHOTO, PAINTING, "-o", PHOTO],
        2,
        "is also an input",
    ),
    "no layers": (["reconstruct", PHOTO, "-o", "o.png", "--layers", ""], 2, "`layers` is empty"),
    "report that is a device": (
        [*STYLIZE, "--report", "/dev/null"],
        6,
        "it is not a regular file",
    ),
    "verify a missing file": (["weights", "verify", "none.h5"], 4, "none.h5 does not exist"),
    "convert a missing file": (
        ["weights", "convert", "none.h5", "out.h5"],
        4,
        "none.h5 does not exist",
    ),
    "convert a file of PyTorch": (
        ["weights", "convert", __file__, "out.h5"],
        4,
        "convert_vgg19.py",
    ),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistake_is_one_line_with_its_exit_code(tmp_path, monkeypatch, case):
    arguments, code, message = MISTAKES[case]
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.code == code
    assert message in result.err
    assert result.err.startswith("jaxstyle: ")
    assert result.err.count("\n") == 1
    assert "Traceback" not in result.err
    assert result.out == ""
    assert list(tmp_path.iterdir()) == []


HUGE = ["--size", "100000"]


@pytest.mark.parametrize(
    "arguments",
    [
        ["stylize", PHOTO, PAINTING],
        ["preview", PHOTO, PAINTING],
        ["texture", PAINTING],
        ["reconstruct", PHOTO, "--layers", "relu4_2"],
        ["layers", PHOTO, PAINTING],
    ],
    ids=lambda arguments: arguments[0],
)
def test_size_far_beyond_memory_is_an_error_before_any_work(tmp_path, monkeypatch, arguments):
    monkeypatch.setattr(images, "read_image", pytest.fail)
    result = run(*arguments, *HUGE, "-o", tmp_path / "o.png")
    assert result.code == 2
    assert re.search(r"needs over [\d,.]+ GiB, and there are [\d,.]+ GiB; choose", result.err)
    assert result.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_plan_tells_a_size_far_beyond_memory(monkeypatch):
    monkeypatch.setattr(plan, "time_pixel_step", lambda *_: 1e-6)
    monkeypatch.setattr(plan, "estimate_cost", lambda *_: CostEstimate([], 2**30, 0.0))
    result = run("plan", "--sizes", "48,100000", "--steps", "2")
    assert result.code == 0
    assert "too large" not in result.out.splitlines()[1]
    assert result.out.splitlines()[2].endswith("too large")


def test_size_beyond_free_memory_is_a_warning(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: 100)
    result = run("stylize", PHOTO, PAINTING, *QUICK, "-o", tmp_path / "o.png")
    assert result.code == 0
    assert result.err.splitlines()[0].endswith("are free; it may run out of memory.")


def test_size_beyond_any_number_is_an_error(tmp_path):
    result = run("stylize", PHOTO, PAINTING, "--size", "9" * 400, "-o", tmp_path / "o.png")
    assert (result.code, result.err.count("\n")) == (2, 1)


LONG = "x" * 252 + ".png"
# Name of the output, and part of the message.
UNWRITABLE = {
    "name too long": (LONG, "has 256 bytes, the file system allows 255"),
    "folder's name too long": ("x" * 300 + "/o.png", "has 300 bytes"),
    "path too long": ("d/" * 3000 + "o.png", "name too long"),
    "folder": ("folder.png", "it is a folder"),
    "below a file": ("file/o.png", "Not a directory"),
    "loop of links": ("loop/o.png", "symbolic links"),
    "pipe": ("pipe.png", "it is not a regular file"),
}


@pytest.mark.parametrize("case", UNWRITABLE)
@pytest.mark.parametrize("flag", ["-o", "--report"])
def test_unwritable_output_exits_6_before_any_work(tmp_path, monkeypatch, flag, case):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(images, "read_image", pytest.fail)
    Path("folder.png").mkdir()
    Path("file").touch()
    Path("loop").symlink_to("loop")
    os.mkfifo("pipe.png")
    name, message = UNWRITABLE[case]
    result = run("stylize", PHOTO, PAINTING, "-o", "o.png", flag, name)
    assert result.code == 6
    assert message in result.err
    assert result.err.count("\n") == 1


def test_batch_output_with_a_name_too_long_exits_6(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "read_image", pytest.fail)
    for arguments in (["--name", LONG, "-o", tmp_path / "o"], ["-o", tmp_path / ("x" * 300)]):
        result = run("batch", PHOTO, PAINTING, *arguments)
        assert result.code == 6
        assert "the file system allows" in result.err
    assert list(tmp_path.iterdir()) == []


def test_input_with_a_name_too_long_exits_3(tmp_path):
    for arguments in (
        [LONG * 2, PAINTING],
        [PHOTO, LONG * 2],
        [PHOTO, PAINTING, "--init", LONG * 2],
    ):
        result = run("stylize", *arguments, "-o", tmp_path / "o.png")
        assert (result.code, result.err.count("\n")) == (3, 1)


def test_black_mask_is_an_error(tmp_path, capsys):
    write_image(tmp_path / "black.png", np.zeros((32, 48, 3)))
    assert stylize("-o", tmp_path / "o.png", "--mask", tmp_path / "black.png") == 2
    assert "black everywhere" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        # The loss exceeds the largest float32.
        ["--style-weight", "3e38"],
        # Compiles a program without clamping.
        pytest.param(
            ["--learning-rate", "1e38", "--no-clamp", "--steps", "8"], marks=pytest.mark.slow
        ),
    ],
)
def test_divergence_exits_5_and_writes_no_image(tmp_path, capsys, arguments):
    assert stylize("-o", tmp_path / "o.png", *arguments) == 5
    assert "a lower --learning-rate" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_read_only_folder_exits_6(tmp_path, capsys, monkeypatch):
    # Root can write to a read-only folder, so pretend that access is denied.
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    assert stylize("-o", tmp_path / "o.png") == 6
    assert "read-only" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_full_disk_exits_6_and_leaves_no_file(tmp_path, capsys, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert stylize("-o", tmp_path / "o.png") == 6
    assert "No space left" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (RuntimeError("two\nlines"), ExitCode.UNEXPECTED, "RuntimeError: two lines"),
        (RuntimeError("RESOURCE_EXHAUSTED: 9 GiB"), ExitCode.UNEXPECTED, "a smaller --size"),
        (MemoryError(), ExitCode.UNEXPECTED, "a smaller --size"),
        (KeyboardInterrupt(), ExitCode.INTERRUPTED, "interrupted."),
    ],
)
def test_failure_of_a_run_is_one_line(tmp_path, capsys, monkeypatch, error, code, message):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(transfer, "stylize", fail)
    assert stylize("-o", tmp_path / "o.png") == code
    err = capsys.readouterr().err
    assert err.startswith("jaxstyle: ")
    assert message in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


OUT_OF_MEMORY = [
    MemoryError(),
    RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes"),
]


@pytest.mark.parametrize("error", OUT_OF_MEMORY)
@pytest.mark.parametrize(
    ("place", "arguments"),
    [
        ("jaxstyle.cli.context.load_weights", STYLIZE),
        ("jaxstyle.io.weights.read_weights", ["weights", "info"]),
        ("jaxstyle.cli.plan.estimate_cost", ["plan", "--sizes", "64"]),
        ("jaxstyle.io.images.read_image", STYLIZE),
    ],
)
def test_a_smaller_size_is_no_advice_where_it_does_not_help(
    tmp_path, monkeypatch, error, place, arguments
):
    def fail(*_, **__):
        raise error

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(place, fail)
    result = run(*arguments)
    assert (result.code, result.out) == (1, "")
    assert result.err == "jaxstyle: out of memory; close other programs.\n"


@pytest.mark.parametrize("error", OUT_OF_MEMORY)
@pytest.mark.parametrize(
    ("place", "arguments"),
    [
        ("jaxstyle.transfer.preview", ["preview", *STYLIZE[1:], *QUICK[:2]]),
        ("jaxstyle.transfer.synthesize_texture", ["texture", PAINTING, "-o", "o.png", *SIZE]),
        ("jaxstyle.metrics.score", ["score", PHOTO, PAINTING, PHOTO, "--size", "96"]),
        (
            "jaxstyle.cli.layers._Sheet.fill",
            ["layers", PHOTO, PAINTING, "-o", "o.png", "--batch-size", "1"],
        ),
    ],
)
def test_a_computation_that_is_out_of_memory_advises_a_smaller_size(
    tmp_path, monkeypatch, error, place, arguments
):
    def fail(*_, **__):
        raise error

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(place, fail)
    result = run(*arguments)
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith("jaxstyle: out of memory; try a smaller --size")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_not_out_of_memory(tmp_path, capsys, monkeypatch):
    def fail(*_, **__):
        raise ValueError("RESOURCE_EXHAUSTED: No space left on device")

    monkeypatch.setattr(transfer, "stylize", fail)
    assert stylize("-o", tmp_path / "o.png") == 2
    assert "memory" not in capsys.readouterr().err


def test_messages_print_no_control_characters(tmp_path):
    result = run("weights", "info", f"{tmp_path}/\x1b[31m\u202e.h5")
    assert result.code == 4
    assert r"\x1b[31m\u202e.h5" in result.err


@pytest.mark.parametrize("error", [RuntimeError("x"), ValueError("x"), DivergedError("x")])
def test_debug_variable_shows_where_an_error_comes_from(tmp_path, monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(transfer, "stylize", fail)
    monkeypatch.setenv("JAXSTYLE_DEBUG", "1")
    with pytest.raises(type(error), match="x"):
        stylize("-o", tmp_path / "o.png")
