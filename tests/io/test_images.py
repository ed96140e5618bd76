import io
import os
import struct
import zlib

import numpy as np
import PIL
import pytest
from conftest import IMAGES
from PIL import ExifTags, Image, ImageCms, PngImagePlugin

from jaxstyle import read_image, write_image
from jaxstyle.errors import ImageReadError, WriteError
from jaxstyle.io.images import FORMATS, check_picture, encode_image, read_shape, read_thumbnail


@pytest.fixture
def gradient():
    """An image with a different value at every pixel."""
    y, x = np.mgrid[0:32, 0:48] / 48
    return np.stack([x, y, (x + y) / 2], axis=-1).astype(np.float32)


def save(path, image, **options):
    image.save(path, **options)
    return path


def to_pil(pixels):
    return Image.fromarray(np.round(pixels * 255).astype(np.uint8))


def test_read_image_returns_float_rgb_in_the_unit_interval():
    image = read_image(IMAGES / "coffee.jpg")
    assert image.shape == (400, 600, 3)
    assert image.dtype == np.float32
    assert 0 <= image.min() < 0.1 < 0.9 < image.max() <= 1


def test_size_is_the_long_edge():
    assert read_image(IMAGES / "coffee.jpg", 300).shape == (200, 300, 3)
    assert read_image(IMAGES / "coffee.jpg", 1200).shape == (800, 1200, 3)
    assert read_image(IMAGES / "coffee.jpg", 1200, enlarge=False).shape == (400, 600, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path, gradient, orientation):
    # A rotated camera stores rotated pixels, and a tag with their orientation.
    transforms = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: a.swapaxes(0, 1)[::-1],
        7: lambda a: a.swapaxes(0, 1)[::-1, ::-1],
        8: lambda a: a.swapaxes(0, 1)[:, ::-1],
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = to_pil(transforms[orientation](gradient))
    path = save(tmp_path / "rotated.png", stored, exif=exif)
    np.testing.assert_allclose(read_image(path), gradient, atol=1 / 255)


def linear_rgb_profile():
    """A minimal matrix profile: the primaries of sRGB, but linear light (gamma 1)."""
    fixed = lambda v: struct.pack(">i", round(v * 65536))
    xyz = lambda *v: b"XYZ \0\0\0\0" + b"".join(map(fixed, v))
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", 7) + b"linear\0" + b"\0" * 78,
        b"cprt": b"text\0\0\0\0none\0\0\0\0",
        b"wtpt": xyz(0.9642, 1, 0.8249),
        b"rXYZ": xyz(0.4361, 0.2225, 0.0139),
        b"gXYZ": xyz(0.3851, 0.7169, 0.0971),
        b"bXYZ": xyz(0.1431, 0.0606, 0.7141),
        **dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), b"curv\0\0\0\0" + struct.pack(">I", 0)),
    }
    table, data, offset = b"", b"", 128 + 4 + 12 * len(tags)
    for name, body in tags.items():
        body += b"\0" * (-len(body) % 4)
        table += name + struct.pack(">II", offset + len(data), len(body))
        data += body
    size = offset + len(data)
    head = struct.pack(">I4sI4s4s4s", size, b"lcms", 0x02100000, b"mntr", b"RGB ", b"XYZ ")
    head = (head + b"\0" * 12 + b"acsp").ljust(68, b"\0") + b"".join(
        map(fixed, (0.9642, 1, 0.8249))
    )
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + data


def test_color_profile_is_converted_to_srgb(tmp_path):
    linear = np.full((16, 16, 3), 0.2140)  # Linear light 0.214 is 0.5 in sRGB (IEC 61966-2-1).
    path = save(tmp_path / "linear.png", to_pil(linear), icc_profile=linear_rgb_profile())
    np.testing.assert_allclose(read_image(path), 0.5, atol=0.01)


def test_invalid_color_profile_is_ignored(tmp_path, gradient):
    path = save(tmp_path / "invalid.png", to_pil(gradient), icc_profile=b"no profile")
    np.testing.assert_allclose(read_image(path), gradient, atol=1 / 255)


def test_srgb_profile_is_written(tmp_path, gradient):
    for suffix in FORMATS:
        path = tmp_path / f"picture{suffix}"
        write_image(path, gradient)
        with Image.open(path) as file:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(file.info["icc_profile"]))
        assert "sRGB" in ImageCms.getProfileDescription(profile)


# Pillow before 13 takes uncompressed YCbCr for RGBX, and refuses the file as truncated.
YCBCR = pytest.param(
    "YCbCr", marks=pytest.mark.skipif(int(PIL.__version__.split(".")[0]) < 13, reason="Pillow 13")
)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", YCBCR, "I;16", "F"])
def test_every_mode_is_read_as_rgb(tmp_path, gradient, mode):
    gray = gradient.mean(axis=-1)
    if mode == "I;16":
        pil_image, expected = Image.fromarray((gray * 65535).astype(np.uint16)), gray
    elif mode == "F":
        pil_image, expected = Image.fromarray(gray), gray
    else:
        rgb = to_pil(gradient)
        pil_image = rgb.convert("RGBA").convert(mode) if mode == "LA" else rgb.convert(mode)
        expected = np.asarray(pil_image.convert("RGB"), np.float32) / 255
    suffix = {"CMYK": "tiff", "YCbCr": "tiff", "F": "tiff"}.get(mode, "png")
    image = read_image(save(tmp_path / f"image.{suffix}", pil_image))
    assert image.shape == (32, 48, 3)
    expected = expected if expected.ndim == 3 else np.repeat(expected[..., None], 3, axis=-1)
    np.testing.assert_allclose(image, expected, atol=2 / 255)


def test_sixteen_bit_files_are_read_at_full_precision(tmp_path):
    fine = np.linspace(0.5, 0.51, 32 * 32, dtype=np.float64).reshape(32, 32)
    path = save(tmp_path / "fine.png", Image.fromarray((fine * 65535).astype(np.uint16)))
    assert len(np.unique(read_image(path))) > 500


def test_the_transparent_gray_of_a_sixteen_bit_file_becomes_alpha(tmp_path):
    gray = np.full((32, 32), 500, np.uint16)
    gray[:8] = 7
    path = save(tmp_path / "clear.png", Image.fromarray(gray), transparency=7)
    image = read_image(path, alpha=True)
    np.testing.assert_array_equal(image[..., 3], gray != 7)
    np.testing.assert_allclose(image[..., :3], 500 / 65535, rtol=1e-5)


def test_alpha_is_returned_when_asked_for(tmp_path, gradient):
    rgba = np.concatenate([gradient, gradient[..., :1]], axis=-1)
    path = save(tmp_path / "clear.png", to_pil(rgba))
    assert read_image(path).shape == (32, 48, 3)
    assert read_image(path, alpha=True).shape == (32, 48, 4)
    np.testing.assert_allclose(read_image(path, alpha=True)[..., 3], gradient[..., 0], atol=1 / 255)
    opaque = save(tmp_path / "opaque.png", to_pil(gradient))
    assert read_image(opaque, alpha=True).shape == (32, 48, 3)


def test_fully_transparent_pixels_get_the_mean_visible_color(tmp_path):
    rgba = np.zeros((32, 32, 4))
    rgba[:, :16] = [0.8, 0.4, 0.2, 1]
    image = read_image(save(tmp_path / "half.png", to_pil(rgba)))
    np.testing.assert_allclose(image, np.broadcast_to([0.8, 0.4, 0.2], image.shape), atol=2 / 255)


def test_palette_with_a_transparent_color_has_alpha(tmp_path, gradient):
    palette = to_pil(gradient).convert("P")
    path = save(tmp_path / "palette.png", palette, transparency=palette.getpixel((0, 0)))
    assert read_image(path, alpha=True).shape[-1] == 4


@pytest.mark.parametrize(
    ("suffix", "error"), [(".png", 0), (".tiff", 0), (".jpg", 8), (".webp", 12)]
)
def test_written_image_is_read_back(tmp_path, gradient, suffix, error):
    path = tmp_path / f"picture{suffix}"
    pixels = np.round(gradient * 255) / 255
    write_image(path, pixels)
    np.testing.assert_allclose(read_image(path), pixels, atol=error / 255 + 1e-6)


def test_jpeg_has_no_chroma_subsampling(tmp_path, gradient):
    write_image(tmp_path / "picture.jpg", gradient)
    with Image.open(tmp_path / "picture.jpg") as file:
        components = file.layer
    assert [component[1:3] for component in components] == [(1, 1)] * 3


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tiff"])
def test_alpha_is_written_and_read_back(tmp_path, gradient, suffix):
    rgba = np.concatenate([gradient, np.ones_like(gradient[..., :1])], axis=-1)
    rgba[:8, :, 3] = 0
    write_image(tmp_path / f"picture{suffix}", rgba)
    image = read_image(tmp_path / f"picture{suffix}", alpha=True)
    np.testing.assert_allclose(image[..., 3], rgba[..., 3], atol=2 / 255)


def test_jpeg_composites_alpha_over_white(tmp_path):
    write_image(tmp_path / "picture.jpg", np.zeros((16, 16, 4), np.float32))
    np.testing.assert_allclose(read_image(tmp_path / "picture.jpg"), 1, atol=2 / 255)


def test_values_outside_the_unit_interval_are_clipped_not_wrapped(tmp_path):
    write_image(
        tmp_path / "picture.png", np.stack([np.full((16, 16), v) for v in (-1, 2, 0.5)], -1)
    )
    np.testing.assert_allclose(
        read_image(tmp_path / "picture.png")[0, 0], [0, 1, 0.5], atol=1 / 255
    )


def test_equal_images_give_equal_files(gradient):
    for format_ in set(FORMATS.values()):
        assert encode_image(gradient, format_) == encode_image(gradient, format_)
    # The creation time of the profile, bytes 24 to 35 of its header, is constant.
    profile = Image.open(io.BytesIO(encode_image(gradient, "PNG"))).info["icc_profile"]
    assert profile[24:36] == bytes([7, 226, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0])


def test_metadata_is_written_to_png_chunks(gradient):
    data = encode_image(gradient, "PNG", metadata={"jaxstyle": '{"α": 1}'})
    assert Image.open(io.BytesIO(data)).text["jaxstyle"] == '{"α": 1}'


def bomb(width, height):
    """A PNG whose header declares more pixels than Pillow accepts."""
    chunk = lambda kind, data: (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    )
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def nan_tiff():
    buffer = io.BytesIO()
    Image.fromarray(np.full((16, 16), np.nan, np.float32)).save(buffer, "TIFF")
    return buffer.getvalue()


def bad_files(folder):
    jpeg = (IMAGES / "coffee.jpg").read_bytes()
    files = {
        "empty.jpg": (b"", "is empty"),
        "text.png": (b"hello, I am no image", "is not an image that can be read"),
        "truncated.jpg": (jpeg[: len(jpeg) // 2], "cannot be read: .*truncated"),
        "bomb.png": (bomb(50_000, 50_000), "more than 210 million pixels"),
        "dot.png": (encode_image(np.zeros((1, 1, 3)), "PNG"), "is 1x1; .* at least 16"),
        "thread.png": (encode_image(np.zeros((3, 100_000, 3)), "PNG"), "is 100000x3"),
        "flat.png": (encode_image(np.zeros((20, 100_000, 3)), "PNG"), "becomes 512x1 at a long"),
        "nan.tiff": (nan_tiff(), "pixels that are not finite"),
        "headless.tiff": (b"II*\0\xff\xff\xff\x7f", "cannot be read|is not an image"),
    }
    for name, (data, _) in files.items():
        (folder / name).write_bytes(data)
    return {name: message for name, (_, message) in files.items()}


@pytest.mark.parametrize("name", ["empty.jpg", "text.png", "truncated.jpg", "bomb.png", "dot.png",
                                  "thread.png", "flat.png", "nan.tiff", "headless.tiff"])  # fmt: skip
def test_bad_files_are_one_line_errors_with_file_and_reason(tmp_path, name):
    message = bad_files(tmp_path)[name]
    with pytest.raises(ImageReadError, match=message) as error:
        read_image(tmp_path / name, 512)
    assert name in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_files_and_folders_are_errors(tmp_path):
    with pytest.raises(ImageReadError, match=r"none.jpg does not exist"):
        read_image(tmp_path / "none.jpg")
    with pytest.raises(ImageReadError, match="is a folder"):
        read_image(tmp_path)


def test_sizes_that_a_format_cannot_store_are_errors(tmp_path):
    for name, side in (("wide.webp", 16_384), ("wide.jpg", 65_501)):
        with pytest.raises(WriteError, match="per side; use PNG"):
            check_picture(tmp_path / name, (16, side))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("picture.gif", "must end in .png, .jpg"),
        ("picture", "must end in"),
        ("none/picture.png", "folder .*none does not exist; create it"),
    ],
)
def test_outputs_that_cannot_be_written_are_errors(tmp_path, gradient, name, message):
    with pytest.raises(WriteError, match=message):
        write_image(tmp_path / name, gradient)


def test_a_failed_write_keeps_the_old_file_and_leaves_no_other(tmp_path, gradient, monkeypatch):
    path = tmp_path / "picture.png"
    write_image(path, gradient)
    before = path.read_bytes()

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(WriteError, match="No space left on device"):
        write_image(path, 1 - gradient)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_compressed_png_text_does_not_prevent_reading(tmp_path, gradient):
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text("Comment", "x" * 1000, zip=True)
    path = save(tmp_path / "commented.png", to_pil(gradient), pnginfo=chunks)
    np.testing.assert_allclose(read_image(path), gradient, atol=1 / 255)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tiff"])
def test_read_shape_applies_the_orientation(tmp_path, name, orientation):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.new("RGB", (90, 30)).save(tmp_path / name, exif=exif)
    shape = (90, 30) if orientation >= 5 else (30, 90)
    assert read_shape(tmp_path / name) == shape == read_image(tmp_path / name).shape[:2]


@pytest.mark.parametrize("name", ["a.jpg", "a.png"])
def test_thumbnails_match_the_image(tmp_path, name):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    y, x = np.mgrid[0:640, 0:960] / 960
    to_pil(np.stack([x, y, x + y], axis=-1) / 2).save(tmp_path / name, exif=exif)
    thumbnail = np.asarray(read_thumbnail(tmp_path / name, 96)) / 255
    assert thumbnail.shape == (96, 64, 3)
    np.testing.assert_allclose(thumbnail, read_image(tmp_path / name, 96), atol=0.03)


def test_thumbnails_of_unreadable_files_are_errors(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"")
    with pytest.raises(ImageReadError, match=r"a\.jpg"):
        read_thumbnail(tmp_path / "a.jpg", 96)
