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
