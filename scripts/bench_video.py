"""Flow against the truth, warping error, scores and time of videos; print Markdown tables.

    python scripts/bench_video.py                  # clips made of photographs, with known motion
    python scripts/bench_video.py --clip clip.mp4  # a video; its flow is estimated

A clip is painted frame after frame, and some of its frames alone. The warping error is the
difference of neighbors along the flow, over reliable places, as a root of a mean square of 255.
"""

import argparse
import itertools
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from jax.scipy.ndimage import map_coordinates

import jaxstyle
from jaxstyle import StyleConfig, metrics
from jaxstyle.host import enable_compilation_cache
from jaxstyle.motion import reliability, warp
from jaxstyle.video.clip import open_clip, read_frames
from jaxstyle.video.flow import FlowEstimator
from jaxstyle.video.follow import Frame
from jaxstyle.video.paint import Painter, Schedule
from jaxstyle.video.run import paint_forwards
from jaxstyle.video.store import open_store

IMAGES = Path(__file__).parents[1] / "tests/images"
# Factor (turn and zoom) and shift of the photograph from frame to frame, as complex numbers.
MOTIONS = {"shift": (1, 2.5 + 1.2j), "zoom": (0.99, 0), "turn": (np.exp(0.01j), 0)}
FRONT_SHIFT = 3 + 1j
MARGIN = 40


class Motion(NamedTuple):
    """Frames; for all but the first one, the flow to the one before and where it is visible."""

    frames: Sequence[np.ndarray]
    flows: Sequence[np.ndarray]
    visible: Sequence[np.ndarray]


def sample(photo: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Return a photograph at points `x + iy`, as `uint8[h, w, 3]`."""
    at = [np.imag(points) + MARGIN, np.real(points) + MARGIN]
    channels = [map_coordinates(photo[..., c], at, order=1, mode="nearest") for c in range(3)]
    return np.round(255 * np.stack(channels, axis=-1)).astype(np.uint8)


def known_motion(name: str, count: int, height: int, width: int) -> Motion:
    """Return a clip made of photographs; in `foreground` a disk moves over one that is still."""
    size = width + 2 * MARGIN
    coffee, cat = (jaxstyle.read_image(IMAGES / f"{n}.jpg", size) for n in ("coffee", "chelsea"))
    y, x = np.mgrid[:height, :width]
    z, center = x + 1j * y, (width + 1j * height) / 2
    factor, shift = MOTIONS.get(name, (1, 0))
    frames, flows, visible = [], [], []

    def in_disk(points: np.ndarray, time: int) -> np.ndarray:
        middle = 0.3 * width + 0.5j * height + FRONT_SHIFT * time
        return (abs(points - middle) < 0.25 * height) & (name == "foreground")

    for t in range(count):
        front = in_disk(z, t)
        back = sample(coffee, center + factor**t * (z - center) + shift * t)
        frames.append(np.where(front[..., None], sample(cat, z - FRONT_SHIFT * t), back))
        before = center + factor * (z - center) + shift / factor ** (t - 1)
        before = np.where(front, z - FRONT_SHIFT, before)
        inside = (before.real >= 0) & (before.real <= width - 1)
        inside &= (before.imag >= 0) & (before.imag <= height - 1)
        flows.append(np.stack([(before - z).real, (before - z).imag], axis=-1))
        visible.append(inside & (front | ~in_disk(before, t - 1)))
    return Motion(frames, [f.astype(np.float32) for f in flows[1:]], visible[1:])


def estimated_motion(frames: Sequence[np.ndarray]) -> Motion:
    """Return the frames of a video with its estimated flow, visible where that is reliable."""
    estimate, flows, visible = FlowEstimator(), [], []
    for before, frame in itertools.pairwise(frames):
        flows.append(estimate(frame, before))
        visible.append(np.asarray(reliability(flows[-1], estimate(before, frame))) > 0)
    return Motion(frames, flows, visible)


def flow_errors(motion: Motion) -> str:
    """Return the error of the flow, and what the reliability finds and misses, as cells."""
    found = estimated_motion(motion.frames)
    distances, right, wrong = [], [], []
    for i, visible in enumerate(motion.visible):
        distance = np.linalg.norm(found.flows[i] - motion.flows[i], axis=-1)
        distances.append(distance[visible])
        right.append(found.visible[i][visible].mean())
        wrong.append(found.visible[i][~visible])
    hidden = np.concatenate(wrong)
    share = f"{hidden.mean():.0%}" if hidden.size else "none"
    median, high = np.quantile(np.concatenate(distances), (0.5, 0.95))
    return f"{median:.2f} | {high:.2f} | {np.mean(right):.0%} | {share}"


def warping_error(motion: Motion, images: Sequence[np.ndarray]) -> float:
    """Return the difference of neighbors along the flow."""
    squares, follow = [], jax.jit(partial(warp, cubic=True))
    reliable = estimated_motion(motion.frames).visible
    for i in range(len(images) - 1):
        visible = motion.visible[i] & reliable[i]
        warped = np.asarray(follow(images[i].astype(np.float32), motion.flows[i]))
        squares.append(np.square(images[i + 1] - warped).mean(axis=-1)[visible])
    return float(np.sqrt(np.concatenate(squares).mean()))


def static_change(motion: Motion, images: Sequence[np.ndarray]) -> int:
    """Return the largest change of pixels around which the frames stay the same."""
    import cv2  # pyright: ignore[reportMissingImports]

    largest, side = 0, np.ones((5, 5), np.uint8)
    for i in range(len(images) - 1):
        change = cv2.absdiff(motion.frames[i], motion.frames[i + 1]).max(axis=-1)
        still = cv2.dilate(change, side) == 0
        change = cv2.absdiff(images[i], images[i + 1]).max(axis=-1)
        largest = max(largest, int(change[still].max(initial=0)))
    return largest


def paint(painter: Painter, frames: Sequence[np.ndarray]) -> tuple[list[np.ndarray], list[float]]:
    """Return the results, and the seconds that each one took."""
    with tempfile.TemporaryDirectory() as folder, open_store(Path(folder, "frames"), {}) as store:
        times = [time.perf_counter()]
        for _ in paint_forwards(painter.paint, map(Frame, frames), store, lambda *_: False):
            times.append(time.perf_counter())
        return [store.read(1, n) for n in range(len(frames))], list(np.diff(times))


def main() -> None:
    """Paint clips and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--clip", type=Path)
    parser.add_argument("--style", type=Path, default=IMAGES / "cafe_terrace.jpg")
    parser.add_argument("--motions", nargs="*", default=[*MOTIONS, "foreground"])
    parser.add_argument("--frame-steps", type=int, default=Schedule.steps)
    parser.add_argument("--temporal-weight", type=float, default=Schedule.weight)
    parser.add_argument("--size", type=int, default=192)
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--alone", type=int, default=3, help="frames that are painted alone, too")
    args = parser.parse_args()
    enable_compilation_cache()
    config = StyleConfig(size=args.size)
    params = jaxstyle.load_weights()
    limited = jaxstyle.limit_filters(params)
    style = jaxstyle.read_image(args.style, args.size)
    if args.clip is None:
        shape = round(0.5 * args.size / 2) * 2, args.size
        clips = {n: known_motion(n, args.frames, *shape) for n in args.motions}
        print("| motion | flow error, median | 95 % | visible: reliable | hidden: reliable |")
        print("|---|---|---|---|---|")
        for name, motion in clips.items():
            print(f"| {name} | {flow_errors(motion)} |", flush=True)
    else:
        clip = open_clip(args.clip)
        height, width = jaxstyle.pyramid.fit_shape(clip.shape, args.size)
        frames = read_frames(clip, (height // 2 * 2, width // 2 * 2))
        frames = [frame for _, frame in zip(range(args.frames), frames, strict=False)]
        clips = {args.clip.name: estimated_motion(frames)}
    columns = "warping error | alone | static | seconds | alone | content | alone | style | alone"
    print(f"\n| clip | {columns} |\n|---|---|---|---|---|---|---|---|---|---|")
    score, schedule = jax.jit(metrics.score), Schedule(args.frame_steps, args.temporal_weight)
    for name, motion in clips.items():
        images, seconds = paint(Painter(params, [style], config, schedule), motion.frames)
        alone, alone_seconds = paint(
            Painter(params, [style], config, Schedule(cut=2.0)), motion.frames[: args.alone]
        )
        scores = []
        for results in (images[: args.alone], alone):
            pairs = np.stack([motion.frames[: len(results)], results], axis=1) / np.float32(255)
            each = [score(limited, frame, style, result) for frame, result in pairs]
            scores.append([np.mean([s.content for s in each]), np.mean([s.style for s in each])])
        (content, found), (content_alone, found_alone) = scores
        cells = [f"{warping_error(motion, images):.2f}", f"{warping_error(motion, alone):.2f}"]
        cells += [f"{static_change(motion, images)}"]
        cells += [f"{np.median(seconds[2:]):.1f}", f"{np.median(alone_seconds[1:]):.1f}"]
        cells += [f"{n:.3f}" for n in (content, content_alone, found, found_alone)]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
