"""H.264 video in MP4 files, by the program ffmpeg of the package imageio-ffmpeg."""

import contextlib
import subprocess
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

FRAME_MILLISECONDS = 40
"""How long each frame of a video is shown; longer ones are repeated."""

# Without the last filter, players guess how the colors were converted, from the video's size.
_CONVERT = (
    "scale=out_color_matrix=bt709:out_range=tv,format=yuv420p,"
    "setparams=range=tv:colorspace=bt709:color_primaries=bt709:color_trc=iec61966-2-1"
)


def find_ffmpeg() -> str:
    """Return the path of ffmpeg.

    Raises:
      OSError: imageio-ffmpeg has no program for this platform.
    """
    import imageio_ffmpeg  # pyright: ignore[reportMissingImports] - an extra

    try:
        return imageio_ffmpeg.get_ffmpeg_exe()
    except RuntimeError as error:
        raise OSError(f"imageio-ffmpeg: {error}") from error


def write_video(path: Path, frames: Image.Image, milliseconds: Sequence[int]) -> None:
    """Write a video.

    Args:
      path: file to write, .mp4.
      frames: image of several RGB frames, of an even width and height.
      milliseconds: how long each frame is shown, in multiples of `FRAME_MILLISECONDS`.

    Raises:
      OSError: the file cannot be written.
    """
    size, rate = f"{frames.width}x{frames.height}", str(1000 // FRAME_MILLISECONDS)
    source = ("-f", "rawvideo", "-pixel_format", "rgb24", "-video_size", size, "-framerate", rate)
    codec = ("-c:v", "libx264", "-preset", "medium", "-crf", "18")
    command = [find_ffmpeg(), "-loglevel", "error", "-y", *source, "-i", "pipe:0"]
    command += ["-vf", _CONVERT, *codec, "-movflags", "+faststart", str(path)]
    log = path.with_suffix(".log")
    with log.open("wb") as messages:
        # In a session of its own, it does not receive Ctrl-C.
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=messages,
            start_new_session=True,
        )
        # If it ends early, its messages say why.
        with process, contextlib.suppress(BrokenPipeError):
            assert process.stdin is not None
            for index, duration in enumerate(milliseconds):
                frames.seek(index)
                data = frames.tobytes()
                for _ in range(duration // FRAME_MILLISECONDS):
                    process.stdin.write(data)
            process.stdin.close()
    if process.returncode:
        lines = log.read_text(errors="replace").splitlines()
        reason = lines[-1] if lines else f"exit code {process.returncode}"
        raise OSError(f"ffmpeg: {reason}")
