"""What Pillow may open, how much, and that it prints nothing."""

import io

import numpy as np
import pytest
from PIL import Image

from jaxstyle import read_image
from jaxstyle.errors import ImageReadError
from jaxstyle.io import pillow
from jaxstyle.io.images import read_shape, read_thumbnail


@pytest.mark.parametrize("name", ["a.png", "a.eps", "a.jpg"])
def test_postscript_is_not_read_under_any_name(tmp_path, name):
    Image.new("RGB", (32, 32)).save(tmp_path / "real.eps")
    (tmp_path / name).write_bytes((tmp_path / "real.eps").read_bytes())
    for read in (read_image, read_shape, lambda path: read_thumbnail(path, 16)):
        with pytest.raises(ImageReadError, match="not an image that can be read"):
            read(tmp_path / name)


def test_the_pixel_limit_is_checked_on_the_header(tmp_path):
    Image.new("1", (200, 100)).save(tmp_path / "a.png")
    with pillow.pixel_limit(19_999), pytest.raises(ImageReadError, match="set `--max-pixels`"):
        read_shape(tmp_path / "a.png")
    with pillow.pixel_limit(20_000):
        assert read_shape(tmp_path / "a.png") == (100, 200)


def test_heic_is_read_where_its_package_is_installed(tmp_path):
    heif = pytest.importorskip("pillow_heif")
    buffer = io.BytesIO()
    heif.from_pillow(Image.new("RGB", (64, 48), (128, 128, 128))).save(buffer)
    (tmp_path / "photo.jpg").write_bytes(buffer.getvalue())
    np.testing.assert_allclose(read_image(tmp_path / "photo.jpg"), 128 / 255, atol=3 / 255)


@pytest.mark.parametrize(("format", "share"), [("WEBP", 4), ("AVIF", 3), ("JPEG2000", 5)])
def test_formats_whose_decoders_need_more_memory_have_a_lower_limit(tmp_path, format, share):
    Image.new("RGB", (200, 100)).save(tmp_path / "a", format)
    with (
        pillow.pixel_limit(share * 20_000 - 1),
        pytest.raises(ImageReadError, match=f"set `--max-pixels` to {share * 20_000}"),
    ):
        read_shape(tmp_path / "a")
    with pillow.pixel_limit(share * 20_000):
        assert read_shape(tmp_path / "a") == (100, 200)


def test_a_progressive_jpeg_has_a_lower_limit(tmp_path):
    Image.new("RGB", (200, 100)).save(tmp_path / "a.jpg", progressive=True)
    with (
        pillow.pixel_limit(39_999),
        pytest.raises(ImageReadError, match="the limit of progressive JPEG files"),
    ):
        read_shape(tmp_path / "a.jpg")


@pytest.mark.parametrize("name", ["a.heic", "a.HEIF"])
def test_an_error_names_the_extra_that_is_missing(tmp_path, monkeypatch, name):
    monkeypatch.setattr(pillow, "READ_FORMATS", _without_extras())
    pillow._decoders.cache_clear()
    (tmp_path / name).write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    with pytest.raises(ImageReadError, match=r"HEIC with `pip install 'jaxstyle\[heif\]'`"):
        read_image(tmp_path / name)
    pillow._decoders.cache_clear()


def _without_extras():
    import dataclasses

    missing = "no_such_package"
    return tuple(
        dataclasses.replace(f, package=missing, decoder="none") if f.package else f
        for f in pillow.READ_FORMATS
    )
