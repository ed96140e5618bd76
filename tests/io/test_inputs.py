"""Images from stdin, and inputs read at the sizes of a run."""

import io
import sys
import types

import numpy as np
import pytest

from jaxstyle import write_image
from jaxstyle.errors import ImageReadError
from jaxstyle.io import inputs
from jaxstyle.io.images import read_image
from jaxstyle.io.inputs import copy_stdin, read_mask, read_start


class Stdin(io.BytesIO):
    """A stream as `sys.stdin.buffer`."""

    def __init__(self, data=b"", tty=False):
        super().__init__(data)
        self.tty = tty

    def isatty(self):
        return self.tty


def set_stdin(monkeypatch, buffer):
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(buffer=buffer))


def test_stdin_is_copied_to_a_file_that_is_removed(monkeypatch, tmp_path):
    write_image(tmp_path / "a.png", np.full((16, 20, 3), 0.6))
    set_stdin(monkeypatch, Stdin((tmp_path / "a.png").read_bytes()))
    with copy_stdin() as path:
        assert path.name == "stdin"
        np.testing.assert_array_equal(read_image(path), read_image(tmp_path / "a.png"))
    assert not path.parent.exists()


def test_errors_name_stdin_and_not_its_copy(monkeypatch):
    set_stdin(monkeypatch, Stdin(b""))
    with (
        pytest.raises(ImageReadError, match=r"^stdin is empty; copy it again\.$"),
        copy_stdin() as p,
    ):
        read_image(p)


def test_stdin_is_bounded(monkeypatch):
    monkeypatch.setattr(inputs, "_MAX_STDIN", 2**21)

    class Endless(Stdin):
        def read(self, size=None):
            return bytes(size or 1)

    set_stdin(monkeypatch, Endless())
    with pytest.raises(ImageReadError, match="stdin has more than 2 MiB"), copy_stdin():
        pass


@pytest.mark.parametrize("buffer", [None, Stdin(tty=True)])
def test_a_terminal_or_closed_stdin_is_refused(monkeypatch, buffer):
    set_stdin(monkeypatch, buffer)
    with pytest.raises(ImageReadError, match="pipe or redirect"), copy_stdin():
        pass


def test_a_start_is_read_at_the_size_asked_for(tmp_path):
    write_image(tmp_path / "a.png", np.full((64, 96, 3), 0.6))
    start = read_start(tmp_path / "a.png", (32, 48), (20, 28))
    np.testing.assert_allclose(start, np.full((20, 28, 3), 0.6), atol=1e-6)
    with pytest.raises(ValueError, match="its aspect ratio must match"):
        read_start(tmp_path / "a.png", (48, 32), (48, 32))


def test_a_large_mask_is_reduced_first(tmp_path, monkeypatch):
    pixels = np.zeros((200, 300, 3))
    pixels[:, :150] = 1
    write_image(tmp_path / "a.png", pixels)
    whole = read_mask(tmp_path / "a.png", (20, 30))
    monkeypatch.setattr(inputs, "_WHOLE_PIXELS", 10_000)
    reduced = read_mask(tmp_path / "a.png", (20, 30))
    assert reduced.shape == (20, 30)
    assert 0 < np.abs(reduced - whole).max() < 0.05
