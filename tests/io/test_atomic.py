"""Atomic writes, and what they leave when the process is killed."""

import os

import pytest

from jaxstyle.errors import WriteError
from jaxstyle.io.atomic import remove_partials, write_bytes


@pytest.fixture
def killed(monkeypatch):
    """Return a function that writes a file and is killed before the file has its name."""

    def write_and_die(path):
        with monkeypatch.context() as patch:
            patch.setattr("pathlib.Path.replace", lambda *_: os.abort_for_test())
            patch.setattr("pathlib.Path.unlink", lambda *_, **__: None)
            with pytest.raises(AttributeError):
                write_bytes(path, b"half")

    return write_and_die


def test_only_own_partial_files_of_the_named_outputs_are_removed(tmp_path, killed):
    for name in ("a.png", "b.png"):
        killed(tmp_path / name)
    assert len(list(tmp_path.iterdir())) == 2
    foreign = [".1-2.partial", ".film.mkv.partial", "x.partial", ".jaxstyle-12-3-4.partial"]
    for name in foreign:
        (tmp_path / name).write_bytes(b"of others")
    remove_partials(tmp_path, ["a.png", "missing/c.png"])
    assert len(list(tmp_path.iterdir())) == len(foreign) + 1
    assert all((tmp_path / name).exists() for name in foreign)


def test_partial_files_have_short_names(tmp_path):
    path = tmp_path / ("x" * 251 + ".png")
    write_bytes(path, b"whole")
    assert path.read_bytes() == b"whole"
    with pytest.raises(WriteError, match="name too long"):
        write_bytes(tmp_path / ("x" * 252 + ".png"), b"whole")
