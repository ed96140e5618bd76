"""The loop from inputs to result: levels, chunks of steps, callbacks.

Every computation runs in a compiled program of `jaxstyle.loop.programs`. A batch is the same
loop under `vmap`: targets are built for each image, then all images take their steps in one
program.
"""

import time
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.stages import Traced
from jaxtyping import Array, Float, PRNGKeyArray

from jaxstyle import pyramid
from jaxstyle.color import match_luminance
from jaxstyle.config import StyleConfig, is_traced
from jaxstyle.loop import programs
from jaxstyle.loop.ahead import Ahead
from jaxstyle.loop.initialize import prepare
from jaxstyle.loop.placement import Placement
from jaxstyle.loop.plateau import Plateau
from jaxstyle.loop.style_cache import StyleCache
from jaxstyle.objective import Previous, Targets, blend_weights, check_masks
from jaxstyle.optimize import Info, State
from jaxstyle.types import AnyArray, Params, check_floating

# A chunk has at most `_MAX_CHUNK` steps and takes about `_CHUNK_SECONDS`. Each call allocates its
# memory again, so very short chunks are slow.
_MAX_CHUNK = 32
_CHUNK_SECONDS = 3.0
# Tiles of style images where the rows of the result are split over devices.
_STYLE_TILE = 1024


class TransferInputs(NamedTuple):
    """Arrays and configuration of one result.

    Attributes:
      content: content image, or `None`.
      styles: style images.
      config: configuration.
      key: random key, or `None` for one made from the configuration's seed.
      start: image to start from, or `None` for `config.init`.
      masks: one mask per style image, or `None`.
      previous: what the frames before show, or `None`.
    """

    content: AnyArray | None
    styles: tuple[AnyArray, ...]
    config: StyleConfig
    key: PRNGKeyArray | None = None
    start: AnyArray | None = None
    masks: AnyArray | None = None
    previous: Previous | None = None

    @property
    def random_key(self) -> PRNGKeyArray:
        """The random key, made from the configuration's seed if none was given."""
        return jax.random.key(self.config.seed) if self.key is None else self.key


class Progress(NamedTuple):
    """State of a run between two chunks, as a callback receives it.

    A run can resume from it. In a batch, `loss`, `image`, `state` and `trace` have a leading
    axis of images.

    Attributes:
      step: number of steps done.
      steps: number of steps in all.
      level: index of the current level.
      levels: number of levels.
      loss: loss before the last step.
      image: current image, at the size of its level.
      state: optimization state.
      trace: loss and terms before each step so far.
      fraction: share of the run's work that is done, from 0 to 1; work is counted in pixels.
    """

    step: int
    steps: int
    level: int
    levels: int
    loss: np.ndarray
    image: Float[Array, "*batch h w 3"]
    state: State
    trace: Info
    fraction: float = 0.0


class Result(NamedTuple):
    """Result of a run. In a batch, both fields have a leading axis of images.

    Attributes:
      image: RGB in [0, 1].
      trace: loss and terms before each step, over all levels. `trace.finite` is false from the
        step on at which the loss or its gradient was not finite; `image` is then the last
        finite one.
    """

    image: Float[Array, "*batch h w 3"]
    trace: Info


Callback = Callable[[Progress], bool | None]
"""Called between chunks of steps; a true return value stops the run."""


def run_transfer(
    params: Params,
    inputs: Sequence[TransferInputs],
    callback: Callback | None,
    *,
    shape: Sequence[int],
    callback_steps: Collection[int] = (),
    batched: bool = False,
    resume: Progress | None = None,
    sharding: jax.sharding.NamedSharding | None = None,
    style_cache: StyleCache | None = None,
) -> Result:
    """Run all levels.

    Args:
      params: weights from `load_weights`.
      inputs: one entry, or with `batched` several whose configurations differ in numbers alone.
      callback: called between chunks of steps; stops the run by returning true.
      shape: height and width of the result, in proportion.
      callback_steps: numbers of steps after which a chunk ends in any case.
      batched: whether all arrays have a leading axis of images.
      resume: progress of an earlier run with the same inputs.
      sharding: sharding of the images, and of their rows, over devices; see `Placement`.
      style_cache: statistics of style images, which other calls may share.

    Raises:
      ValueError: the inputs do not fit each other, or the result is too small for its layers.
    """
    run = _Run(params, inputs, shape, batched, sharding, style_cache or StyleCache())
    # The steps of a run that may end early are chunks even if nobody is called between them.
    chunked = callback is not None or run.stops
    infos: list[Info] = []
    steps_done, stopped = 0, False
    if resume is None:
        state = run.init_state()
    else:
        steps_done, state = resume.step, run.resume_state(resume.state)
        infos.append(resume.trace)
    if run.stops and is_traced(state.image):
        raise ValueError("`stop` needs the loss of each step; set it to 0 under `jit` or `grad`.")
    with Ahead() as ahead:
        if callback is not None and sharding is None:
            run.compile_ahead(ahead, state, steps_done)
        level_start = 0
        for level, (_, level_steps) in enumerate(run.plan):
            remaining = min(level_steps, level_start + level_steps - steps_done)
            level_start += level_steps
            if remaining <= 0:
                continue
            if level and remaining == level_steps:
                state = run.enlarge_state(state, level)
            first = level_start - remaining
            ends = [step - first for step in callback_steps if first < step < level_start]
            ends = [*sorted(ends), remaining]
            plateau = run.plateau(level, remaining, infos)
            chunks = run.run_level(state, level, ends, ahead, plateau, chunked=chunked)
            for state, info in chunks:
                infos.append(info)
                if not chunked:
                    continue
                infos = [_concatenate(infos, np)]
                if callback is None:
                    continue
                progress = run.progress(state, info, infos[0], level)
                (stopped,) = run.agree(bool(callback(progress)) or not state.finite.any())
                if stopped:
                    break
            if stopped:
                break
    # On the device, every length of a trace would compile one more program.
    trace = _concatenate(infos, np if chunked else jnp)
    trace = jax.device_put(trace) if chunked else run.make_readable(trace)
    return Result(run.render(state, shape=run.shape), trace)


class _Run:
    """Prepared inputs of a run, and the compiled programs bound to its configuration."""

    def __init__(
        self,
        params: Params,
        inputs: Sequence[TransferInputs],
        shape: Sequence[int],
        batched: bool,
        sharding: jax.sharding.NamedSharding | None,
        style_cache: StyleCache,
    ):
        self._config, self._placement = _check_one_program(inputs), Placement(sharding, batched)
        rows = self._placement.rows
        spec = self._config.spec
        if rows > 1 and spec.tile:
            raise ValueError(
                f"`tile` is {spec.tile}, and `sharding` splits the rows; choose one of them."
            )
        if rows > 1:
            # Winograd's tiles do not end where the rows of a device do. Style images, which are
            # not split, are computed in tiles.
            spec = replace(spec, conv="direct", tile=_STYLE_TILE)
        self._style_spec = spec
        self._params = self._placement.replicate(programs.transform_weights(params, spec=spec))
        self._inputs, self._style_cache = inputs, style_cache
        self.shape = pyramid.fit_shape(shape, self._config.size)
        self.plan = pyramid.levels(shape, self._config, rows)
        self.stops = self._config.stop > 0
        self.agree, self.make_readable = self._placement.agree, self._placement.make_readable
        self._stack = partial(_stack, batched=batched, put=self._placement.put)
        self._static = {"optimizer_spec": self._config.optimizer_spec, "batched": batched}
        self._blends = [blend_weights(item.config, len(item.styles)) for item in inputs]
        self._prepared: list[_Prepared] = []
        for item, blend in zip(inputs, self._blends, strict=True):
            check_masks(item.masks, len(item.styles))
            check_floating(content=item.content, start=item.start)
            for style in item.styles:
                check_floating(styles=style)
            self._prepared.append(_prepare(self._params, item, blend, self.plan[0][0]))
        self._hyperparams = self._stack(
            [programs.Hyperparams.of(item.config, item.start) for item in inputs]
        )
        color = self._config.color
        self._render = partial(
            programs.render_image,
            content=self._stack([i.content for i in inputs]) if color == "luminance" else None,
            decay=self._hyperparams.average,
            color=color,
            batched=batched,
        )

    def init_state(self) -> State:
        """Return the state before the first step."""
        starts = self._stack([prepared.start for prepared in self._prepared])
        state = programs.init_state(starts, self._hyperparams, **self._static)
        return self._placement.put_images(state)

    def resume_state(self, state: State) -> State:
        """Return the state of an earlier run."""
        return self._placement.put_images(jax.tree.map(jnp.asarray, state))

    def enlarge_state(self, state: State, level: int) -> State:
        """Return the state at the start of a level, from the end of the level before."""
        coarse, size = self.plan[level - 1][0], self.plan[level][0]
        keys = self._stack([jax.random.fold_in(i.random_key, level) for i in self._inputs])
        details = None
        if self._config.carry == "detail":
            details = self._stack(
                [
                    None
                    if prepared.content is None
                    else programs.extract_detail(prepared.content, coarse=coarse, shape=size)
                    for prepared in self._prepared
                ]
            )
        state = programs.enlarge_state(
            keys, state, self._hyperparams, details, shape=size, **self._static
        )
        return self._placement.put_images(state)

    def plateau(self, level: int, remaining: int, infos: Sequence[Info]) -> Plateau | None:
        """Return what finds where the loss of a level is flat, if the run may end early."""
        if not self.stops:
            return None
        _, steps = self.plan[level]
        if remaining < steps:
            losses = np.asarray(infos[-1].loss)[..., remaining - steps :]
        else:
            losses = np.zeros((len(self._inputs), 0) if self._static["batched"] else 0)
        return Plateau(self._config.stop, steps, losses)

    def run_level(
        self,
        state: State,
        level: int,
        ends: Sequence[int],
        ahead: Ahead,
        plateau: Plateau | None,
        *,
        chunked: bool,
    ) -> Iterator[tuple[State, Info]]:
        """Yield the state and the report after each chunk of a level's steps.

        Args:
          state: state before the steps.
          level: index of the level.
          ends: numbers of steps, ascending, at which a chunk ends; the last one is that of the
            level's steps.
          ahead: compilations that another thread may have begun.
          plateau: finds where the loss is flat; the level then ends. `None` takes all steps.
          chunked: whether to take the steps in chunks, or in one call.
        """
        ahead.claim(("targets", level))
        targets = self._build_targets(self.plan[level][0])
        targets = self._stack(targets, put=self._placement.put_targets)
        run_steps = partial(
            programs.run_steps, self._params, targets, self._hyperparams, **self._static
        )
        ahead.claim(("steps", level))
        if not chunked:
            # With a static number of steps the run is differentiable.
            yield run_steps(state, None, length=ends[-1])
            return
        if plateau is not None:
            ends = sorted({*ends, *plateau.ends()})
        steps_done, chunk = 0, 1
        while steps_done < ends[-1] and not (plateau is not None and plateau.flat.all()):
            began = time.perf_counter()
            count = min(chunk, ends[bisect_right(ends, steps_done)] - steps_done)
            before = state
            state, info = run_steps(before, count, length=_MAX_CHUNK)
            steps_done += count
            info = self.make_readable(info)
            # As NumPy: on the device, every length of a slice would compile one more program.
            info = jax.tree.map(lambda rows, n=count: np.asarray(rows)[..., :n], info)
            if plateau is not None:
                state, info = plateau.hold(before, state, info)
            state = self._placement.put_images(state)
            yield state, info
            # By now the caller has waited for the chunk.
            (seconds,) = self.agree(time.perf_counter() - began)
            pace = _CHUNK_SECONDS / seconds
            chunk = max(1, min(_MAX_CHUNK, round(count * pace)))

    def compile_ahead(self, ahead: Ahead, state: State, steps_done: int) -> None:
        """Compile the large programs of the levels that are not done in another thread."""
        # Shapes alone, so that the first state's memory is freed.
        state = jax.eval_shape(lambda arrays: arrays, state)
        level_end, first = 0, True
        for level, (_, level_steps) in enumerate(self.plan):
            level_end += level_steps
            if steps_done >= level_end:
                continue
            ahead.add(("steps", level), partial(self._compile_steps, state, level))
            if not first:
                # The run itself compiles those of its first level meanwhile.
                ahead.add(("targets", level), partial(self._compile_targets, level))
            first = False

    def _compile_steps(self, state: State, level: int) -> None:
        (shape, _), static = self.plan[level], self._static
        if state.image.shape[-3:-1] != shape:
            state = jax.eval_shape(partial(self.enlarge_state, level=level), state)
        _, builds = self._trace_targets(shape)
        targets = jax.eval_shape(lambda *t: self._stack(t), *(build.out_info for build in builds))
        args = (self._params, targets, self._hyperparams, state, 1)
        programs.run_steps.trace(*args, length=_MAX_CHUNK, **static).lower().compile()

    def _compile_targets(self, level: int) -> None:
        for traces in self._trace_targets(self.plan[level][0]):
            for traced in traces:
                traced.lower().compile()

    def render(self, state: State, shape: tuple[int, int] | None = None) -> Array:
        """Return the current image, at its own size or at `shape`."""
        return self.make_readable(self._render(state, shape=shape))

    def progress(self, state: State, info: Info, trace: Info, level: int) -> Progress:
        """Return what a callback receives after a chunk."""
        step = trace.loss.shape[-1]
        return Progress(
            step=step,
            steps=sum(count for _, count in self.plan),
            level=level,
            levels=len(self.plan),
            loss=np.asarray(info.loss)[..., -1],
            image=self.render(state),
            state=state,
            trace=trace,
            fraction=pyramid.work(self.plan, step) / pyramid.work(self.plan),
        )

    def _build_targets(self, shape: tuple[int, int]) -> list[Targets]:
        """Build the targets of each image for a level of the size `shape`."""
        targets = []
        for item, prepared, blend in zip(self._inputs, self._prepared, self._blends, strict=True):
            content = prepared.content
            if content is not None and self._placement.rows > 1:
                resized = programs.resize(content, shape=shape)
                content = self._placement.of_one.put_images(resized)
            sizes = prepared.style_shapes(shape, item.config)
            statistics = tuple(
                self._style_cache.get(self._params, style, self._style_spec, size)
                for style, size in zip(prepared.styles, sizes, strict=True)
            )
            build = partial(programs.build_targets, spec=item.config.spec, shape=shape)
            targets.append(
                build(self._params, content, statistics, blend, item.masks, prepared.previous)
            )
        return targets

    def _trace_targets(self, shape: tuple[int, int]) -> tuple[list[Traced], list[Traced]]:
        """Trace what `_build_targets` computes: the statistics, and the targets."""
        all_statistics, builds = [], []
        for item, prepared, blend in zip(self._inputs, self._prepared, self._blends, strict=True):
            sizes = prepared.style_shapes(shape, item.config)
            compute = partial(programs.compute_style_statistics.trace, spec=self._style_spec)
            statistics = [
                compute(self._params, style, shape=size)
                for style, size in zip(prepared.styles, sizes, strict=True)
            ]
            shapes = tuple(traced.out_info for traced in statistics)
            build = partial(programs.build_targets.trace, spec=item.config.spec, shape=shape)
            builds.append(
                build(self._params, prepared.content, shapes, blend, item.masks, prepared.previous)
            )
            all_statistics += statistics
        return all_statistics, builds


class _Prepared(NamedTuple):
    """Content and style images in the colors that the run works in, and the first image."""

    content: AnyArray | None
    styles: tuple[AnyArray, ...]
    start: Array
    previous: Previous | None

    def style_shapes(
        self, shape: tuple[int, int], config: StyleConfig
    ) -> tuple[tuple[int, int], ...]:
        """Return the size of each style image for a level of the size `shape`."""
        return pyramid.style_shapes(self.styles, shape, config, enlarge=self.content is not None)


def _prepare(
    params: Params, item: TransferInputs, blend: Array, shape: tuple[int, int]
) -> _Prepared:
    """Prepare one image's inputs for a first level of the size `shape`."""
    config = item.config
    # With `color="style"` style images stay unchanged. They are then left out of the program:
    # their statistics are shared between images, and their sizes compile no further programs.
    unchanged = config.color == "style"
    needs_styles = not unchanged or config.init in ("statistics", "adain")
    content, styles, start = prepare(
        item.random_key,
        item.content,
        item.styles if needs_styles else (),
        blend,
        item.start,
        config.noise,
        init=config.init,
        color=config.color,
        shape=shape,
    )
    if config.init == "adain" and content is not None and item.start is None:
        sizes = pyramid.style_shapes(styles, shape, config)
        guess = programs.apply_adain(params, content, styles, blend, shape=shape, sizes=sizes)
        start = pyramid.add_noise(item.random_key, guess, config.noise)
    previous = item.previous
    if previous is not None and config.color == "luminance":
        image = jnp.asarray(previous.image)
        previous = previous._replace(image=match_luminance(image, image))
    return _Prepared(content, item.styles if unchanged else styles, start, previous)


def _check_one_program(inputs: Sequence[TransferInputs]) -> StyleConfig:
    """Return the first configuration, after checking that all share one compiled program.

    Raises:
      ValueError: there are no inputs, or a configuration differs in more than numbers.
    """
    if not inputs:
        raise ValueError("`contents` is empty; give at least one image.")
    first = inputs[0].config
    for config in (item.config for item in inputs):
        if config.static_key != first.static_key:
            names = [n for n, v in config.static_key.items() if v != first.static_key[n]]
            raise ValueError(
                f"`config` differs in {', '.join(names)} between images; one batch is one compiled "
                "program, so only weights, rates, seeds and starts may differ."
            )
    return first


def _concatenate(infos: Sequence[Info], numpy: Any) -> Info:
    return jax.tree.map(lambda *rows: numpy.concatenate(rows, axis=-1), *infos)


def _stack(leaves: Sequence[Any], *, batched: bool, put: Callable[[Any], Any]) -> Any:
    """Stack pytrees along a leading axis of images, if they are a batch, and place them."""
    if not batched:
        (leaf,) = leaves
        return put(leaf)
    return put(jax.tree.map(lambda *rows: jnp.stack([jnp.asarray(r) for r in rows]), *leaves))
