"""Orientation, profiles, tolerance and memory of all formats."""

import os
import socket
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from conftest import IMAGES
from pictures import (
    BLACK_INK,
    GRAY,
    LINEAR_GRAY,
    READERS,
    STORE,
    assert_reads,
    chunk,
    light_of,
    png,
    tiff,
    to_srgb,
)  # fmt: skip
from PIL import Image

from jaxstyle import read_image
from jaxstyle.errors import ImageReadError
from jaxstyle.io import decode
from jaxstyle.io.images import read_shape, read_thumbnail


def test_a_jpeg_without_its_end_marker_is_read_and_one_without_pixels_is_not(tmp_path):
    data = (IMAGES / "coffee.jpg").read_bytes()
    whole = data[: data.rindex(b"\xff\xd9")]
    (tmp_path / "a.jpg").write_bytes(whole)
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg"), read_image(IMAGES / "coffee.jpg"))
    (tmp_path / "b.jpg").write_bytes(whole[:-60])
    with pytest.raises(ImageReadError, match="truncated"):
        read_image(tmp_path / "b.jpg")


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_garbage_exif_is_ignored(tmp_path, format):
    picture = Image.new("L", (20, 16), 128).convert("RGB")
    for body in (b"\xff" * 40, b"MM\0*\0\0\0\x08\xff\xff" + b"\x01" * 30):
        picture.save(tmp_path / "a", format, exif=b"Exif\0\0" + body)
        np.testing.assert_allclose(read_image(tmp_path / "a"), 128 / 255, atol=2 / 255)
        assert read_shape(tmp_path / "a") == (16, 20)


def test_pipes_sockets_and_devices_are_refused_at_once(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe.png")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.png")
        for path in ("pipe.png", "socket.png", "/dev/zero"):
            for read in READERS.values():
                with pytest.raises(ImageReadError, match="not a regular file"):
                    read(path)


@pytest.mark.parametrize("orientation", STORE)
def test_large_images_are_reduced_without_a_shift(tmp_path, orientation):
    y, x = np.mgrid[0:403, 0:607] / 607
    pixels = np.round(np.stack([x, y, x * y], -1) * 255).astype(np.uint8)
    exif = Image.Exif()
    exif[274] = orientation
    stored = np.ascontiguousarray(STORE[orientation](pixels))
    Image.fromarray(stored).save(tmp_path / "a.png", exif=exif)
    whole = Image.fromarray(pixels).resize((60, 40), Image.Resampling.BICUBIC)
    image = read_image(tmp_path / "a.png", 60)
    np.testing.assert_allclose(image, np.asarray(whole) / 255, atol=1.5 / 255)


@pytest.mark.parametrize("format", ["JPEG", "MPO", "PNG", "WEBP", "AVIF", "TIFF"])
@pytest.mark.parametrize("orientation", STORE)
def test_every_format_with_exif_data_is_read_upright(tmp_path, format, orientation):
    y, x = np.mgrid[0:64, 0:96]
    shown = np.stack([2 * x, 3 * y, x + y], axis=-1).astype(np.uint8)
    exif = Image.Exif()
    exif[274] = orientation
    stored = np.ascontiguousarray(STORE[orientation](shown))
    Image.fromarray(stored).save(tmp_path / "a", format, exif=exif, quality=95)
    assert_reads(tmp_path / "a", shown / 255, atol=0.07)
    assert np.abs(read_image(tmp_path / "a") - shown / 255).mean() < 0.012


def gray_png_16(path):
    value = round(0.2 * 65535)
    path.write_bytes(png(16, 16, (b"\0" + 16 * struct.pack(">H", value)) * 16, depth=16, extra=ICC))


ICC = chunk(b"iCCP", b"x\0\0" + zlib.compress(LINEAR_GRAY))
FIFTH = np.full((16, 16), 51, np.uint8)  # 51/255 = 0.2
PROFILED = {
    "gray JPEG": (lambda p: Image.fromarray(FIFTH).save(p, "JPEG", icc_profile=LINEAR_GRAY), 0.2),
    "gray PNG": (lambda p: Image.fromarray(FIFTH).save(p, "PNG", icc_profile=LINEAR_GRAY), 0.2),
    "gray PNG, alpha": (
        lambda p: Image.fromarray(FIFTH).convert("LA").save(p, "PNG", icc_profile=LINEAR_GRAY),
        0.2,
    ),
    "gray PNG, 16 bits": (gray_png_16, 0.2),
    "gray TIFF, 16 bits": (
        lambda p: Image.fromarray(FIFTH.astype(np.uint16) * 257).save(
            p, "TIFF", icc_profile=LINEAR_GRAY
        ),
        0.2,
    ),
    "gray TIFF, floats": (
        lambda p: Image.fromarray(FIFTH / np.float32(255)).save(p, "TIFF", icc_profile=LINEAR_GRAY),
        0.2,
    ),
    "CMYK JPEG": (
        lambda p: Image.new("CMYK", (16, 16), (0, 0, 0, 51)).save(
            p, "JPEG", icc_profile=BLACK_INK
        ),
        light_of(80),
    ),
    "CMYK TIFF": (
        lambda p: Image.new("CMYK", (16, 16), (0, 0, 0, 51)).save(
            p, "TIFF", icc_profile=BLACK_INK
        ),
        light_of(80),
    ),
    # 128/255 of L*; a and b are signed.
    "Lab TIFF": (
        lambda p: Image.frombytes("LAB", (16, 16), b"\x80\0\0" * 256).save(p, "TIFF"),
        light_of(12800 / 255),
    ),
    "Lab TIFF with a profile of gray": (
        lambda p: Image.frombytes("LAB", (16, 16), b"\x80\0\0" * 256).save(
            p, "TIFF", icc_profile=LINEAR_GRAY
        ),
        light_of(12800 / 255),
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", PROFILED)
def test_profiles_of_every_mode_are_applied_by_all_readers(tmp_path, kind):
    save, light = PROFILED[kind]
    save(tmp_path / "a")
    assert_reads(tmp_path / "a", np.full((16, 16), to_srgb(light)), atol=0.006)


def test_a_profile_of_another_mode_is_ignored(tmp_path):
    Image.fromarray(FIFTH).convert("RGB").save(tmp_path / "a.png", icc_profile=LINEAR_GRAY)
    assert_reads(tmp_path / "a.png", np.full((16, 16), 0.2))


def test_inks_without_a_profile_are_read_by_a_formula(tmp_path):
    Image.new("CMYK", (16, 16), (0, 0, 0, 51)).save(tmp_path / "a.tiff")
    assert_reads(tmp_path / "a.tiff", np.full((16, 16), 0.8))


@pytest.mark.parametrize("format", ["GIF", "BMP", "JPEG2000", "PPM", "ICO", "TGA"])
def test_other_formats_are_read(tmp_path, format):
    pixels = np.round(np.add.outer(GRAY, np.zeros(1)) * 255).astype(np.uint8)[..., 0]
    pixels = pixels[:24, :24]
    options = {"sizes": [(24, 24)]} if format == "ICO" else {}
    Image.fromarray(pixels).convert("RGB").save(tmp_path / "a", format, **options)
    assert_reads(tmp_path / "a", pixels / 255)


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("color", [0, 2, 4, 6])
def test_png_of_every_depth_has_the_same_white(tmp_path, depth, color):
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[color]
    if depth < 8 and color:
        pytest.skip("not in the specification")
    rows = (b"\0" + b"\xff" * (16 * channels * depth // 8)) * 16
    (tmp_path / "a.png").write_bytes(png(16, 16, rows, depth=depth, color=color))
    assert_reads(tmp_path / "a.png", np.ones((16, 16)))


def test_ppm_values_are_scaled_by_their_own_maximum(tmp_path):
    (tmp_path / "a.pgm").write_bytes(b"P5 16 16 1000\n" + struct.pack(">H", 250) * 256)
    assert_reads(tmp_path / "a.pgm", np.full((16, 16), 0.25), atol=1e-5)
    (tmp_path / "a.pfm").write_bytes(b"Pf\n16 16\n-1.0\n" + struct.pack("<f", 0.25) * 256)
    assert_reads(tmp_path / "a.pfm", np.full((16, 16), 0.25))


def test_sizes_in_messages_are_upright(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    Image.new("RGB", (40, 10)).save(tmp_path / "a.jpg", exif=exif)
    with pytest.raises(ImageReadError, match="is 10x40; both sides must be at least 16"):
        read_shape(tmp_path / "a.jpg")


@pytest.mark.parametrize("size", [(16, 9000), (9000, 16)])
def test_a_thumbnail_of_a_thin_image_has_a_pixel_in_each_direction(tmp_path, size):
    Image.new("RGB", size, (9, 99, 199)).save(tmp_path / "a.png")
    thumbnail = read_thumbnail(tmp_path / "a.png", 64)
    assert sorted(thumbnail.size) == [1, 64]
    assert thumbnail.getpixel((0, 0)) == (9, 99, 199)


def test_fully_transparent_pixels_get_the_mean_of_the_visible_ones(tmp_path):
    pixels = np.zeros((2000, 1500, 4), np.uint8)  # More than one band of rows.
    pixels[:500] = 200, 100, 50, 255
    pixels[500:1000] = 100, 200, 150, 85
    Image.fromarray(pixels).save(tmp_path / "a.png", compress_level=1)
    image = read_image(tmp_path / "a.png", alpha=True)
    mean = (np.array([200, 100, 50]) * 3 + np.array([100, 200, 150])) / 4 / 255
    np.testing.assert_allclose(image[1500, 700], [*mean, 0], atol=1e-6)


def test_images_without_a_visible_pixel_keep_their_colors(tmp_path):
    Image.new("RGBA", (16, 16), (51, 102, 153, 0)).save(tmp_path / "a.png")
    np.testing.assert_allclose(
        read_image(tmp_path / "a.png", alpha=True)[0, 0], [0.2, 0.4, 0.6, 0], atol=1e-6
    )


@pytest.mark.parametrize("orientation", STORE)
def test_bands_of_rows_give_the_same_image_as_a_whole(tmp_path, monkeypatch, orientation):
    pixels = np.random.default_rng(0).integers(0, 256, (300, 200, 4), np.uint8)
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    whole = read_image(tmp_path / "a.png", 80, alpha=True)
    monkeypatch.setattr(decode, "_BAND_PIXELS", 1000)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png", 80, alpha=True), whole)


def test_large_jpeg_files_are_decoded_at_a_fraction_without_a_shift(tmp_path, monkeypatch):
    # A side of 8 n + 1 is covered least by its pixels at an eighth.
    y, x = np.mgrid[0:401, 0:601] / 601
    pixels = np.round(np.stack([x, y, x * y], -1) * 255).astype(np.uint8)
    for orientation, store in STORE.items():
        exif = Image.Exif()
        exif[274] = orientation
        stored = Image.fromarray(np.ascontiguousarray(store(pixels)))
        stored.save(tmp_path / "a.jpg", exif=exif, quality=98, subsampling="4:4:4")
        whole = read_image(tmp_path / "a.jpg", 30)
        with monkeypatch.context() as patch:
            patch.setattr(decode, "_DRAFT_PIXELS", 1000)
            reduced = read_image(tmp_path / "a.jpg", 30)
        assert 0 < np.abs(reduced - whole)[2:-2, 2:-2].max() < 0.007


def test_a_jpeg_with_megabytes_of_metadata_is_read(tmp_path):
    Image.new("RGB", (20, 16), (128, 128, 128)).save(tmp_path / "a.jpg")
    data = (tmp_path / "a.jpg").read_bytes()
    segment = b"\xff\xe1\xff\xff" + b"http://ns.adobe.com/xmp/extension/\0".ljust(65533, b"x")
    comment = b"\xff\xfe\xff\xff" + bytes(65533)
    (tmp_path / "a.jpg").write_bytes(data[:2] + 40 * segment + 40 * comment + data[2:])
    assert_reads(tmp_path / "a.jpg", np.full((16, 20), 128 / 255))


READ = """
import sys
from concurrent.futures import ThreadPoolExecutor
from jaxstyle import read_image
from jaxstyle.errors import ImageReadError
def read(path):
    try:
        return read_image(path, 512).shape
    except ImageReadError as error:
        return str(error)
with ThreadPoolExecutor(2) as threads:
    print(list(threads.map(read, sys.argv[1:])))
print(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])
"""


def read_in_a_process(*paths):
    """Read images at 512 pixels, two at a time as a batch does; return text and peak in KiB."""
    command = [sys.executable, "-c", READ, *map(str, paths)]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    *lines, peak = out.splitlines()
    return "\n".join(lines), int(peak)


HUGE = {
    "JPEG": ("JPEG", {}),
    "PNG": ("PNG", {"compress_level": 1}),
    "TIFF": ("TIFF", {"compression": "tiff_adobe_deflate", "tiffinfo": {274: 6}}),
}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("kind", HUGE)
def test_two_images_of_200_megapixels_are_read_in_a_gibibyte(tmp_path, kind):
    format, options = HUGE[kind]
    Image.new("RGB", (16_320, 12_240), (9, 99, 199)).save(tmp_path / "a", format, **options)
    text, peak = read_in_a_process(tmp_path / "a", tmp_path / "a")
    assert text.count("512") == 2
    assert peak < 2**20, peak


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_files_of_few_bytes_that_promise_many_pixels_are_refused_cheaply(tmp_path):
    side = 14_000
    packed = zlib.compress(bytes(100_000))
    bombs = {
        "a.png": png(side, side, bytes(1000)),
        "b.png": png(60_000, 60_000, bytes(1000), color=6),
        "c.tiff": tiff(np.zeros((side, side), bool), bits=32, data=packed, compression=8),
        "d.tiff": tiff(np.zeros((side, side), bool), bits=8, data=bytes(5000)),
    }
    for name, data in bombs.items():
        (tmp_path / name).write_bytes(data)
        assert len(data) < 6000
    text, peak = read_in_a_process(*(tmp_path / name for name in bombs))
    assert text.count("than its header says") == 3
    assert text.count("has more than 210 million pixels") == 1
    assert peak < 150 * 2**10
