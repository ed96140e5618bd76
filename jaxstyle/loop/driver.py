"""The loop from photograph and paintings to picture: levels, chunks of steps, progress.

Everything that computes is compiled: preparing, measuring targets, a chunk of steps,
moving to the next level, and the picture so far. The numbers of a configuration are
traced, so that a sweep over weights compiles once. A batch is the same loop under `vmap`:
each picture is prepared and measured by itself, then all descend in one program.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from jaxstyle import pyramid
from jaxstyle.config import StyleConfig
from jaxstyle.loop import programs
from jaxstyle.loop.initialize import prepare
from jaxstyle.loop.style_cache import StyleCache
from jaxstyle.objective import Targets, blend_weights, check_masks
from jaxstyle.optimize import Info, State
from jaxstyle.types import AnyArray, Params

# Steps between two calls of a callback: at most so many, in about so many seconds. A call takes
# its memory anew from the system, which at 512 pixels is a sixth of a step.
_CHUNK = 32
_CHUNK_SECONDS = 3.0


class TransferInputs(NamedTuple):
    """What one picture is made of, and how."""

    content: AnyArray | None
    styles: tuple[AnyArray, ...]
    config: StyleConfig
    key: PRNGKeyArray | None = None
    start: AnyArray | None = None
    masks: AnyArray | None = None

    @property
    def random_key(self) -> PRNGKeyArray:
        """The key that was given, or the one of the configuration's seed."""
        return jax.random.key(self.config.seed) if self.key is None else self.key


class Progress(NamedTuple):
    """What a callback is told between chunks of steps; given back, a run goes on from it.

    Of a batch, `loss`, `image`, `state` and `trace` have a leading axis of pictures.

    Attributes:
      step: number of steps done, of `steps` in all.
      level: index of the level at work, of `levels` in all.
      loss: loss before the last step.
      image: the picture so far, at the level's size.
      state: what the descent carries.
      trace: loss and terms before every step so far.
    """

    step: int
    steps: int
    level: int
    levels: int
    loss: np.ndarray
    image: Float[Array, "*batch h w 3"]
    state: State
    trace: Info


class Result(NamedTuple):
    """A picture and how it came about; of a batch, with a leading axis of pictures.

    Attributes:
      image: RGB in [0, 1].
      trace: loss and terms before every step, all levels in one row. `trace.finite`
        is false from the step on at which the descent failed; the image is then
        the last good one.
    """

    image: Float[Array, "*batch h w 3"]
    trace: Info


Callback = Callable[[Progress], bool | None]


def paint(
    params: Params,
    subjects: Sequence[TransferInputs],
    callback: Callback | None,
    *,
    shape: Sequence[int],
    batched: bool = False,
    resume: Progress | None = None,
    sharding: jax.sharding.NamedSharding | None = None,
    paintings: StyleCache | None = None,
) -> Result:
    """The one loop behind every way to make a picture.

    Args:
      params: weights from `load_weights`.
      subjects: one, or with `batched` several whose configurations differ in numbers alone.
      callback: called between chunks of steps.
      shape: proportions of the pictures.
      batched: whether everything has a leading axis of pictures.
      resume: where an earlier run of the same subjects stood.
      sharding: how that axis is laid over devices.
      paintings: remembers what was measured, also for other calls.
    """
    config = _common(subjects)
    paintings = paintings or StyleCache()
    params = programs.transform_weights(params, spec=config.spec)
    plan = pyramid.levels(shape, config)
    gather = partial(_gather, batched=batched, sharding=sharding)
    advance = partial(programs.run_steps, method=config.optimizer_spec, batched=batched)
    blends = [blend_weights(s.config, len(s.styles)) for s in subjects]
    sources, starts = [], []
    for subject, blend in zip(subjects, blends, strict=True):
        check_masks(subject.masks, len(subject.styles))
        source, start = _prepared(params, subject, blend, plan[0][0])
        sources.append(source)
        starts.append(start)
    rates = gather([programs.Hyperparams.of(s.config, s.start) for s in subjects])
    originals = gather([s.content for s in subjects]) if config.color == "luminance" else None
    picture = partial(
        programs.render_image,
        content=originals,
        decay=rates.average,
        color=config.color,
        batched=batched,
    )
    infos: list[Info] = []
    done, stopped = 0, False
    if resume is None:
        state = programs.init_state(
            gather(starts), rates, method=config.optimizer_spec, batched=batched
        )
    else:
        done, state = resume.step, jax.tree.map(jnp.asarray, resume.state)
        infos.append(resume.trace)
    first = 0
    for level, (size, count) in enumerate(plan):
        left = min(count, first + count - done)
        if level and left == count and not stopped:
            keys = gather([jax.random.fold_in(s.random_key, level) for s in subjects])
            coarse = plan[level - 1][0]
            details = gather(
                [
                    _detail(s.config, c, coarse, size)
                    for s, (c, _) in zip(subjects, sources, strict=True)
                ]
            )
            state = programs.enlarge_state(
                keys,
                state,
                rates,
                details,
                method=config.optimizer_spec,
                shape=size,
                batched=batched,
            )
        first += count
        if left <= 0 or stopped:
            continue
        targets = gather(_build_targets(params, subjects, sources, blends, size, paintings))
        chunks = _descend(partial(advance, params, targets, rates), state, left, callback is None)
        for state, info in chunks:
            infos.append(info)
            if callback is None:
                continue
            infos = [_joined(infos, np)]
            step = infos[0].loss.shape[-1]
            progress = Progress(
                step=step,
                steps=sum(count for _, count in plan),
                level=level,
                levels=len(plan),
                loss=np.asarray(info.loss)[..., -1],
                image=picture(state),
                state=state,
                trace=infos[0],
            )
            stopped = bool(callback(progress)) or not state.finite.any()
            if stopped:
                break
    # With a callback as NumPy: on the device every length would be one more program.
    trace = _joined(infos, jnp if callback is None else np)
    return Result(picture(state, shape=plan[-1][0]), jax.device_put(trace))


def _common(subjects: Sequence[TransferInputs]) -> StyleConfig:
    """The first configuration, if all shape one program.

    Raises:
      ValueError: there is none, or another differs in more than numbers.
    """
    if not subjects:
        raise ValueError("`contents` is empty; give at least one picture.")
    first = subjects[0].config
    for config in (s.config for s in subjects):
        if config.static_key != first.static_key:
            names = [n for n, v in config.static_key.items() if v != first.static_key[n]]
            raise ValueError(
                f"`config` differs in {', '.join(names)} between pictures; a batch is one "
                "program, so only weights, rates, seeds and starts may differ."
            )
    return first


def _joined(infos: Sequence[Info], numpy: Any) -> Info:
    return jax.tree.map(lambda *rows: numpy.concatenate(rows, axis=-1), *infos)


def _gather(
    leaves: Sequence[Any], *, batched: bool, sharding: jax.sharding.NamedSharding | None = None
) -> Any:
    """Pytrees of several pictures as one, with a leading axis; of one picture as it is."""
    if not batched:
        (leaf,) = leaves
        return leaf
    stacked = jax.tree.map(lambda *rows: jnp.stack([jnp.asarray(r) for r in rows]), *leaves)
    return stacked if sharding is None else jax.device_put(stacked, sharding)


def _prepared(
    params: Params, subject: TransferInputs, blend: Array, shape: tuple[int, int]
) -> tuple[tuple[AnyArray | None, tuple[AnyArray, ...]], Array]:
    """Content and styles in the colors to work in, and the picture to start from."""
    config = subject.config
    # In its own colors a painting stays itself: it is measured once for all pictures, and
    # its size makes no other program.
    own = config.color == "style"
    seen = not own or config.init in ("statistics", "adain")
    content, styles, image = prepare(
        subject.random_key,
        subject.content,
        subject.styles if seen else (),
        blend,
        subject.start,
        config.noise,
        init=config.init,
        color=config.color,
        shape=shape,
    )
    if config.init == "adain" and content is not None and subject.start is None:
        sizes = pyramid.style_shapes(styles, shape, config)
        guess = programs.apply_adain(params, content, styles, blend, shape=shape, sizes=sizes)
        image = pyramid.add_noise(subject.random_key, guess, config.noise)
    return (content, subject.styles if own else styles), image


def _detail(
    config: StyleConfig, content: AnyArray | None, coarse: tuple[int, int], shape: tuple[int, int]
) -> Array | None:
    """What the photograph adds to a picture that is enlarged."""
    if config.carry != "detail" or content is None:
        return None
    return programs.extract_detail(content, coarse=coarse, shape=shape)


def _build_targets(
    params: Params,
    subjects: Sequence[TransferInputs],
    sources: Sequence[tuple[AnyArray | None, tuple[AnyArray, ...]]],
    blends: Sequence[Array],
    shape: tuple[int, int],
    paintings: StyleCache,
) -> list[Targets]:
    """Targets of every picture at one level."""
    targets = []
    for subject, (content, styles), blend in zip(subjects, sources, blends, strict=True):
        spec = subject.config.spec
        sizes = pyramid.style_shapes(styles, shape, subject.config)
        found = tuple(
            paintings.get(params, style, spec, size)
            for style, size in zip(styles, sizes, strict=True)
        )
        targets.append(
            programs.build_targets(
                params, content, found, blend, subject.masks, spec=spec, shape=shape
            )
        )
    return targets


def _descend(
    advance: Callable[..., tuple[State, Info]], state: State, steps: int, whole: bool
) -> Iterator[tuple[State, Info]]:
    """State and report after each chunk of a level's steps; one chunk if `whole`."""
    done, chunk = 0, steps if whole else 1
    while done < steps:
        began = time.perf_counter()
        n = min(chunk, steps - done)
        # As one piece the number of steps is static, and the run differentiable.
        state, info = advance(state, None if whole else n, length=steps if whole else _CHUNK)
        done += n
        if not whole:
            # As NumPy: every length of a slice on the device would be one more program.
            info = jax.tree.map(lambda rows, n=n: np.asarray(rows)[..., :n], info)
        yield state, info
        # The caller has waited for the chunk if there is another.
        pace = _CHUNK_SECONDS / (time.perf_counter() - began)
        chunk = max(1, min(_CHUNK, round(n * pace)))
