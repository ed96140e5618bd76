"""Videos that the tests make."""

import subprocess

import pytest

from jaxstyle.io.video import find_ffmpeg

pytest.importorskip("imageio_ffmpeg")


@pytest.fixture(scope="session")
def ffmpeg():
    """Run ffmpeg with these arguments."""

    def run(*arguments, **options):
        command = [find_ffmpeg(), "-v", "error", "-y", *map(str, arguments)]
        subprocess.run(command, check=True, **options)

    return run


@pytest.fixture(scope="session")
def write_clip(ffmpeg):
    """Write frames `uint8[h, w, 3]` to a video without loss."""

    def write(path, frames, rate=10, *options):
        height, width = frames[0].shape[:2]
        source = ("-f", "rawvideo", "-pixel_format", "rgb24", "-video_size", f"{width}x{height}")
        data = b"".join(frame.tobytes() for frame in frames)
        codec = ("-c:v", "libx264rgb", "-crf", "0")
        ffmpeg(*source, "-framerate", rate, "-i", "pipe:0", *codec, *options, path, input=data)
        return path

    return write
