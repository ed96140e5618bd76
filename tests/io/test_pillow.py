"""What Pillow may open, how much, and that it prints nothing."""

import dataclasses
import io
import struct
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest
from conftest import IMAGES
from pictures import tiff
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


@pytest.mark.parametrize("name", ["a.heic", "a.jpg"])
def test_an_error_names_the_extra_that_is_missing(tmp_path, monkeypatch, name):
    monkeypatch.setattr(pillow, "READ_FORMATS", _without_extras())
    pillow._decoders.cache_clear()
    (tmp_path / name).write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    with pytest.raises(ImageReadError, match=r"HEIC with `pip install 'jaxstyle\[heif\]'`"):
        read_image(tmp_path / name)
    pillow._decoders.cache_clear()


def _without_extras():
    missing = "no_such_package"
    return tuple(
        dataclasses.replace(f, package=missing, decoder="none") if f.package else f
        for f in pillow.READ_FORMATS
    )


DAMAGED = {
    "JPEG": {}, "MPO": {}, "PNG": {}, "WEBP": {}, "GIF": {}, "BMP": {}, "AVIF": {}, "JPEG2000": {},
    "PPM": {}, "ICO": {}, "TGA": {"compression": "tga_rle"}, "TIFF": {},
    "TIFF LZW": {"compression": "tiff_lzw"}, "TIFF DEFLATE": {"compression": "tiff_adobe_deflate"},
    "TIFF JPEG": {"compression": "jpeg"}, "TIFF PACKBITS": {"compression": "packbits"},
    "HEIF": {}, "JXL": {},
}  # fmt: skip
READ_ALL = """
import logging, sys, warnings
from pathlib import Path
from jaxstyle import read_image
from jaxstyle.errors import ImageReadError
from jaxstyle.io.images import read_shape, read_thumbnail
warnings.simplefilter("always")
counts = {True: 0, False: 0}
for path in sorted(Path(sys.argv[1]).iterdir()):
    for read in (read_image, read_shape, lambda p: read_thumbnail(p, 16)):
        try:
            read(path)
            counts[True] += 1
        except ImageReadError as error:
            assert len(str(error).splitlines()) == 1
            counts[False] += 1
Path(sys.argv[2]).write_text(f"{counts[True]} {counts[False]}")
"""


def damage(data, random):
    """Variants of a file: shorter, longer, and with some bytes replaced."""
    yield data
    yield data + bytes(1000)
    for share in (0.05, 0.3, 0.6, 0.9, 0.99):
        yield data[: int(len(data) * share)]
    for count in (1, 3, 10, 30, 100):
        for begin in (0, len(data) // 2):
            broken = bytearray(data)
            for place in random.integers(begin, len(data), count):
                broken[place] = random.integers(256)
            yield bytes(broken)


def test_damaged_files_print_nothing_in_this_process_or_its_libraries(tmp_path):
    random = np.random.default_rng(0)
    (tmp_path / "files").mkdir()
    picture = Image.open(IMAGES / "chelsea.jpg").resize((64, 64))
    exif = Image.Exif()
    exif[274] = 6
    for format, options in DAMAGED.items():
        buffer = io.BytesIO()
        if format in ("HEIF", "JXL") and format not in pillow._decoders():
            continue  # Its extra is not installed.
        if format not in ("GIF", "BMP", "PPM", "TGA", "ICO", "JPEG2000"):
            options = {**options, "exif": exif.tobytes()}
        picture.save(buffer, format.split()[0], **options)
        for number, data in enumerate(damage(buffer.getvalue(), random)):
            (tmp_path / "files" / f"{format}-{number:02}").write_bytes(data)
    # Pillow logs an error about a pixel of so many samples.
    samples = tiff(np.zeros((20, 20), np.uint8), bits=8)
    entries = [struct.pack("<HHII", 277, 3, 1, count) for count in (1, 99)]
    samples = samples.replace(*entries)
    (tmp_path / "files" / "samples").write_bytes(samples)
    command = [sys.executable, "-c", READ_ALL, tmp_path / "files", tmp_path / "counts"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    read, refused = map(int, (tmp_path / "counts").read_text().split())
    assert min(read, refused) > 100


@pytest.mark.parametrize("format", ["PNG", "BMP", "GIF"])
def test_the_limit_that_an_error_names_is_enough(tmp_path, format):
    path = tmp_path / "a.png"
    Image.new("L", (41, 21)).save(path, format)
    with pillow.pixel_limit(860), pytest.raises(ImageReadError, match="`--max-pixels` to 861"):
        read_image(path)
    with pillow.pixel_limit(861):
        assert read_image(path).shape == (21, 41, 3)


def test_a_broken_optional_decoder_leaves_the_others(tmp_path, monkeypatch):
    Image.new("L", (16, 16)).save(tmp_path / "a.png")
    (tmp_path / "pillow_heif.py").write_text("raise ImportError('libheif.so is missing')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "pillow_heif", raising=False)
    pillow._decoders.cache_clear()
    assert read_image(tmp_path / "a.png").shape == (16, 16, 3)
    pillow._decoders.cache_clear()


def test_threads_that_read_leave_the_filters_of_warnings_unchanged(tmp_path):
    Image.new("L", (16, 16)).save(tmp_path / "a.png")
    before, entered, leave = list(warnings.filters), threading.Event(), threading.Event()

    def read():
        with pillow.quiet():
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=read)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        thread.start()
        entered.wait(10)
    leave.set()
    thread.join()
    assert warnings.filters == before
