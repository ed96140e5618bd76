"""Videos with H.264 or VP9, by the program ffmpeg of the package imageio-ffmpeg."""

import contextlib
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

from PIL import Image

FRAME_MILLISECONDS = 40
"""How long each frame of an animation is shown in a video; longer ones are repeated."""

# Without the last filter, players guess how the colors were converted, from the video's size.
_CONVERT = (
    "scale=out_color_matrix=bt709:out_range=tv,format=yuv420p,"
    "setparams=range=tv:colorspace=bt709:color_primaries=bt709:color_trc=iec61966-2-1"
)
_H264 = ("-c:v", "libx264", "-preset", "medium", "-crf", "18", "-movflags", "+faststart")
_VP9 = ("-c:v", "libvpx-vp9", "-crf", "24", "-b:v", "0", "-row-mt", "1")
ENCODERS = {".mp4": _H264, ".mov": _H264, ".webm": _VP9}
"""Options of ffmpeg, by the suffix of the video."""


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


def ffmpeg_version() -> str:
    """Return the version of ffmpeg."""
    import imageio_ffmpeg  # pyright: ignore[reportMissingImports] - an extra

    return imageio_ffmpeg.get_ffmpeg_version()


def write_video(path: Path, frames: Image.Image, milliseconds: Sequence[int]) -> None:
    """Write a video of an animation.

    Args:
      path: file to write, .mp4.
      frames: image of several RGB frames, of an even width and height.
      milliseconds: how long each frame is shown, in multiples of `FRAME_MILLISECONDS`.

    Raises:
      OSError: the file cannot be written.
    """

    def repeat() -> Iterator[bytes]:
        for index, duration in enumerate(milliseconds):
            frames.seek(index)
            data = frames.tobytes()
            for _ in range(duration // FRAME_MILLISECONDS):
                yield data

    encode(path, repeat(), frames.size, Fraction(1000, FRAME_MILLISECONDS))


def encode(
    path: Path,
    frames: Iterable[bytes],
    size: tuple[int, int],
    rate: Fraction,
    *,
    sound: Sequence[str] = (),
) -> None:
    """Encode frames while they are made.

    Args:
      path: file to write; its suffix is in `ENCODERS`.
      frames: 8-bit RGB pixels of each frame.
      size: width and height of the frames, both even.
      rate: frames per second.
      sound: options of ffmpeg that name an input with a sound track, if there is any; it is
        encoded anew.

    Raises:
      OSError: the file cannot be written.
    """
    width, height = size
    source = ["-f", "rawvideo", "-pixel_format", "rgb24", "-video_size", f"{width}x{height}"]
    source += ["-framerate", str(rate), "-i", "pipe:0"]
    command = [find_ffmpeg(), "-loglevel", "error", "-y", *source, *sound, "-map", "0:v"]
    if sound:
        codec = "libopus" if path.suffix == ".webm" else "aac"
        command += ["-map", "1:a:0?", "-c:a", codec]
    command += ["-vf", _CONVERT, *ENCODERS[path.suffix], f"file:{path}"]
    with tempfile.TemporaryFile() as messages:
        # In a session of its own, it does not receive Ctrl-C.
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=messages,
            start_new_session=True,
        )
        # If it ends early, its messages say why.
        complete = False
        with contextlib.suppress(BrokenPipeError), process:
            assert process.stdin is not None
            try:
                for frame in frames:
                    process.stdin.write(frame)
                process.stdin.close()
                complete = True
            except BrokenPipeError:
                pass
            except BaseException:
                process.kill()
                raise
        messages.seek(0)
        lines = messages.read().decode(errors="replace").splitlines()
    if process.returncode or not complete:
        raise OSError(f"ffmpeg: {lines[-1] if lines else f'exit code {process.returncode}'}")
