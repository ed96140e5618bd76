"""Read the frames of a video with ffmpeg, one after another, or those of a folder of images."""

import math
import re
import subprocess
import tempfile
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from jaxstyle.errors import ImageReadError
from jaxstyle.io.formats import READ_SUFFIXES
from jaxstyle.io.images import read_image_as
from jaxstyle.io.video import find_ffmpeg

FOLDER_RATE = Fraction(25)
"""Frames per second of a folder of images."""

# Pixels of some videos are not square. ffmpeg turns a video by its rotation before this filter.
_SQUARE = "scale=w='if(gt(sar,1),iw*sar,iw)':h='if(gt(sar,1),ih,ih/sar)',setsar=1"
# White is 203 cd/m2 in videos with a high dynamic range (ITU-R BT.2408); colors below 0.7 of it
# stay as they are.
_TONE_MAP = (
    "zscale=t=linear:npl=203,format=gbrpf32le,zscale=p=bt709,tonemap=mobius:param=0.7:desat=0,"
    "zscale=t=bt709:m=bt709:r=tv,format=yuv444p10le"
)
_HIGH_RANGES = "arib-std-b67", "smpte2084"
# Long frames that begin up to this many seconds before `--from` are found.
_LEAD = 10.0
# Frame rates beyond this are units of time, not rates.
_MAX_RATE = 240
_HEADER = re.compile(rb"YUV4MPEG2 W(\d+) H(\d+) F(\d+):(\d+) ")


@dataclass(frozen=True)
class Clip:
    """A video.

    Attributes:
      path: its file, or the folder of its images.
      shape: height and width of its frames, upright and with square pixels.
      rate: frames per second; the average one if they are not evenly spaced.
      seconds: duration, or `None` if the file does not say it.
      sound: whether it has a sound track.
      uneven: whether its frames are not evenly spaced.
      images: the images of a folder in the order of their names, or nothing.
      filters: those of ffmpeg that make its frames progressive, with the colors of BT.709.
    """

    path: Path
    shape: tuple[int, int]
    rate: Fraction
    seconds: float | None
    sound: bool
    uneven: bool
    images: tuple[Path, ...] = ()
    filters: Sequence[str] = ()

    def at_rate(self, rate: Fraction) -> "Clip":
        """Return a folder of images with another rate."""
        return replace(self, rate=rate, seconds=float(len(self.images) / rate))

    @property
    def files(self) -> Sequence[Path]:
        """All files that are read."""
        return self.images or (self.path,)


def open_clip(path: Path) -> Clip:
    """Read what the header of a video says, and its first frame, or list a folder of images.

    Raises:
      ImageReadError: there is no such file, it has no video stream, or its first frame is
        damaged; the folder has no images.
    """
    try:
        is_folder, is_file = path.is_dir(), path.is_file()
    except OSError as error:
        raise ImageReadError(f"cannot read the video {path}: {error.strerror}.") from error
    if is_folder:
        return _open_folder(path)
    if not is_file:
        raise ImageReadError(f"cannot read the video {path}: it does not exist.")
    command = [*_ffmpeg(), "-i", _url(path), "-map", "0:v:0", "-frames:v", "1", "-vf", _SQUARE]
    command += ["-pix_fmt", "yuv444p", "-strict", "-1", "-f", "yuv4mpegpipe", "pipe:1"]
    done = subprocess.run(command, capture_output=True, check=False, start_new_session=True)
    said = done.stderr.decode(errors="replace")
    header = _HEADER.match(done.stdout)
    if header is None:
        raise ImageReadError(f"cannot read the video {path}: {_reason(said)}.")
    width, height, count, scale = map(int, header.groups())
    stream = re.search(r"Stream #0.*?: Video: .*", said)
    average = re.search(r"([\d.]+) fps", stream[0]) if stream else None
    rate = Fraction(count, scale)
    uneven = False
    if average and abs(Fraction(average[1]) / rate - 1) > Fraction(1, 100):
        rate, uneven = Fraction(average[1]).limit_denominator(1001), True
    if not 0 < rate <= _MAX_RATE:
        raise ImageReadError(
            f"cannot read the video {path}: it says {float(rate):g} frames per second."
        )
    duration = re.search(r"Duration: (\d+):(\d+):([\d.]+)", said)
    seconds = None
    if duration:
        hours, minutes, rest = duration.groups()
        seconds = 3600 * int(hours) + 60 * int(minutes) + float(rest)
    filters = _filters(stream[0], (height, width)) if stream else ()
    return Clip(path, (height, width), rate, seconds, " Audio: " in said, uneven, filters=filters)


def read_frames(
    clip: Clip,
    shape: Sequence[int],
    *,
    start: float = 0.0,
    end: float | None = None,
    rate: Fraction | None = None,
) -> Generator[np.ndarray, None, None]:
    """Yield frames `uint8[h, w, 3]` in RGB, evenly spaced in time.

    Memory does not grow with the length of the video.

    Args:
      clip: result of `open_clip`.
      shape: height and width of the frames, to which they are resampled.
      start: seconds from the start of the video.
      end: seconds from its start, at which to stop; `None` for all of it.
      rate: frames per second; that of the clip by default.

    Raises:
      ImageReadError: the video is damaged. All frames before have been yielded.
    """
    if clip.images:
        yield from _read_images(clip, shape, start, end, rate or clip.rate)
        return
    height, width = shape
    # Both limits are options of the input, so that they count from the start of the video. A frame
    # that begins before them is dropped, even if it is shown longer.
    lead = min(start, _LEAD) if clip.uneven else 0.0
    first = start - lead
    command = [*_ffmpeg(), "-xerror", *(["-ss", f"{first:.6f}"] if first else [])]
    command += [*(["-to", f"{end:.6f}"] if end is not None else []), "-i", _url(clip.path)]
    even = f"fps={rate or clip.rate}"
    filters = [*clip.filters, _SQUARE, even]
    # `setpts` forgets the rate: ffmpeg would repeat frames at another one.
    filters += [f"trim=start={lead:.6f},setpts=PTS-STARTPTS", even] if lead else []
    filters += [f"scale={width}:{height}:flags=area+accurate_rnd"]
    command += ["-map", "0:v:0", "-vf", ",".join(filters)]
    command += ["-pix_fmt", "rgb24", "-f", "rawvideo", "pipe:1"]
    size, count = height * width * 3, 0
    # Messages go to a file: nobody reads a pipe while frames are read from the other one.
    with tempfile.TemporaryFile() as messages:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=messages, start_new_session=True
        )
        try:
            assert process.stdout is not None
            while len(data := process.stdout.read(size)) == size:
                yield np.frombuffer(data, np.uint8).reshape(height, width, 3)
                count += 1
            code = process.wait()
        finally:
            process.kill()
            process.communicate()
        messages.seek(0)
        said = messages.read().decode(errors="replace")
    if code:
        time = start + count / (rate or clip.rate)
        raise ImageReadError(
            f"the video {clip.path} is damaged {float(time):.2f} seconds after its start: "
            f"{_reason(said)}."
        )


def _filters(stream: str, shape: tuple[int, int]) -> Sequence[str]:
    """Return what makes a stream, as ffmpeg describes it, progressive with colors of BT.709."""
    filters = ["yadif"] if re.search(r"\b(top|bottom) (coded )?first\b", stream) else []
    # Players take large videos that do not name their colors for BT.709, ffmpeg for BT.601.
    is_large = shape[0] > 576 or shape[1] >= 1280
    if any(name in stream for name in _HIGH_RANGES):
        filters.append(_TONE_MAP)
    elif is_large and re.search(r", yuv\w+(?!\w|\([^()]*(bt\d|smpte|fcc|ycgco))", stream):
        filters.append("setparams=colorspace=bt709")
    return tuple(filters)


def _open_folder(path: Path) -> Clip:
    try:
        images = [file for file in path.iterdir() if _is_image(file)]
    except OSError as error:
        raise ImageReadError(f"cannot read the video {path}: {error.strerror}.") from error
    if not images:
        raise ImageReadError(f"cannot read the video {path}: the folder has no images.")
    images.sort(key=_natural)
    shape = []

    def target(file_shape: tuple[int, int]) -> tuple[int, int]:
        shape[:] = file_shape
        return 1, 1

    read_image_as(images[0], target)
    seconds = float(len(images) / FOLDER_RATE)
    return Clip(path, (shape[0], shape[1]), FOLDER_RATE, seconds, False, False, tuple(images))


def _is_image(file: Path) -> bool:
    return file.suffix.lower() in READ_SUFFIXES and not file.name.startswith(".")


def _natural(path: Path) -> list[tuple[int, str]]:
    """Return a key that sorts `2.png` before `10.png`."""
    parts = re.findall(r"\d+|\D+", path.name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def shown_images(clip: Clip, start: float, end: float | None, rate: Fraction) -> Iterator[Path]:
    """Yield the images of a folder that are shown at the times of the frames."""
    # In microseconds, as ffmpeg gets them: 0.2 is a little more than 1/5.
    first, last = Fraction(f"{start:.6f}"), len(clip.images) / clip.rate
    if end is not None:
        last = min(last, Fraction(f"{end:.6f}"))
    for number in range(math.ceil((last - first) * rate)):
        yield clip.images[int((first + number / rate) * clip.rate)]


def _read_images(
    clip: Clip, shape: Sequence[int], start: float, end: float | None, rate: Fraction
) -> Iterator[np.ndarray]:
    for path in shown_images(clip, start, end, rate):

        def target(file_shape: tuple[int, int], path: Path = path) -> tuple[int, int]:
            if file_shape != clip.shape:
                (h, w), (height, width) = file_shape, clip.shape
                raise ImageReadError(f"{path} is {w}x{h}, the images before are {width}x{height}.")
            return shape[0], shape[1]

        yield np.round(255 * read_image_as(path, target)).astype(np.uint8)


def _ffmpeg() -> list[str]:
    try:
        return [find_ffmpeg(), "-hide_banner", "-nostdin"]
    except (OSError, ImportError) as error:
        raise ImageReadError(
            "videos need ffmpeg; install it with `pip install 'jaxstyle[video]'`"
        ) from error


def _url(path: Path) -> str:
    # A name with a colon would be read as a protocol.
    return f"file:{path}"


def _reason(said: str) -> str:
    """Return the line of ffmpeg's messages that says what is wrong."""
    lines = [line for line in said.splitlines() if line and not line.startswith(" ")]
    if any("matches no streams" in line for line in lines):
        return "it has no video stream"
    for line in lines:
        text = re.sub(r"^(\[[^]]*\] *)+|^Error opening input files: ", "", line)
        if re.match(r"[Ii]nvalid|Error|moov atom|corrupt", text):
            return text.strip().rstrip(".")
    return lines[-1].strip().rstrip(".") if lines else "ffmpeg said nothing"
