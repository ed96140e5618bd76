"""`jaxstyle weights`; `convert` is tested with the Keras reader."""

import os
import shutil

import h5py
import numpy as np
import pytest

from jaxstyle.cli import main
from jaxstyle.io.weights import weights_path
from jaxstyle.vgg19 import PARAM_SHAPES


def test_info_and_verify_print_on_stdout(capsys):
    assert main(["weights", "info"]) == 0
    assert "20,024,396 weights in 17 layers" in capsys.readouterr().out
    assert main(["weights", "verify"]) == 0
    assert "checksum of the file" in capsys.readouterr().out


def test_verify_rejects_a_file_with_another_checksum_than_listed(tmp_path, capsys):
    shutil.copy(weights_path(), tmp_path / "vgg19.h5")
    (tmp_path / "SHA256SUMS").write_text(f"{'0' * 64}  vgg19.h5\n")
    assert main(["weights", "verify", str(tmp_path / "vgg19.h5")]) == 4
    assert "is not the file that" in capsys.readouterr().err


def write_zeros(path):
    """Write a small file of the right shapes, whose values are not stored."""
    with h5py.File(path, "w") as file:
        for layer, group in PARAM_SHAPES.items():
            for name, shape in group.items():
                file.create_dataset(f"{layer}/{name}", shape, np.float16, chunks=shape)


def test_info_prints_no_control_characters(tmp_path, capsys):
    path = tmp_path / "\x1b[2Jw.h5"
    write_zeros(path)
    with h5py.File(path, "r+") as file:
        file.attrs["source"] = "\x1b]0;title\x07 two\nlines \u202e" + "x" * 5000
        file.attrs[b"a\x1b[31m\xff"] = b"\xff"
    assert main(["weights", "info", str(path)]) == 0
    out = capsys.readouterr().out
    assert all(line.isprintable() for line in out.splitlines())
    assert r"\x1b[2Jw.h5" in out
    assert r"source: \x1b]0;title\x07 two\nlines \u202exxx" in out
    assert max(map(len, out.splitlines())) < 300
    assert out.count("\n") == 4


@pytest.mark.parametrize("command", ["info", "verify"])
@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100)), "not a complete HDF5"),
        (os.mkfifo, "is not a regular file"),
        (lambda path: path.symlink_to(path), "Too many levels"),
        (lambda path: h5py.File(path, "w").close(), "has no color/kernel"),
    ],
)
def test_other_files_are_one_line_errors(tmp_path, capsys, command, make, message):
    make(tmp_path / "w.h5")
    assert main(["weights", command, str(tmp_path / "w.h5")]) == 4
    captured = capsys.readouterr()
    assert message in captured.err
    assert (captured.out, captured.err.count("\n")) == ("", 1)


def test_a_list_of_checksums_that_is_no_text_is_ignored(tmp_path, capsys):
    write_zeros(tmp_path / "w.h5")
    (tmp_path / "SHA256SUMS").write_bytes(bytes(range(256)) * 10)
    assert main(["weights", "verify", str(tmp_path / "w.h5")]) == 0
    assert "good (shapes, values)" in capsys.readouterr().out


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to(path)])
def test_convert_refuses_what_is_no_file(tmp_path, capsys, make):
    make(tmp_path / "k.h5")
    assert main(["weights", "convert", str(tmp_path / "k.h5"), str(tmp_path / "w.h5")]) == 4
    assert capsys.readouterr().err.count("\n") == 1


def test_convert_does_not_replace_its_source(tmp_path, capsys):
    write_zeros(tmp_path / "k.h5")
    (tmp_path / "w.h5").hardlink_to(tmp_path / "k.h5")
    assert main(["weights", "convert", str(tmp_path / "k.h5"), str(tmp_path / "w.h5")]) == 2
    assert "is also the source file" in capsys.readouterr().err
