"""The mutations of `mutations.py`."""

from typing import NamedTuple


class Mutation(NamedTuple):
    """One change that the tests must notice.

    Attributes:
      area: part of the package.
      name: what is broken.
      old: text that occurs once in the package.
      new: text that replaces it.
      tests: files, of which the tests not marked as slow are run, or single tests.
    """

    area: str
    name: str
    old: str
    new: str
    tests: tuple[str, ...]


_LOSSES = ("tests/losses/test_losses.py",)
_FAMILIES = "tests/losses/test_families.py::test_"
_MOMENTS = "tests/losses/test_moments.py::test_"
_OBJECTIVE = "tests/test_objective.py::test_"
_OPTIMIZE = ("tests/test_optimize.py",)
_PYRAMID = ("tests/test_pyramid.py",)
_COLOR = ("tests/test_color.py",)
_ADAIN = ("tests/test_adain.py",)
_LEDGER = (
    "tests/batch/test_done.py",
    "tests/batch/test_ledger.py",
    "tests/batch/test_plan.py",
    "tests/cluster/test_tasks.py",
)
_CHECKPOINT = ("tests/io/test_checkpoint.py",)
_ATOMIC = ("tests/io/test_atomic.py", "tests/io/test_images.py")
_READER = tuple(
    f"tests/io/test_{name}.py" for name in ("images", "gamma", "decode", "png", "tiff", "pillow")
)

_LOSS_MUTATIONS = [
    ("content loss is a sum, not a mean",
     "    return squares.mean(axis=(-3, -2, -1))", "    return squares.sum(axis=(-3, -2, -1))"),
    ("Gram matrix divides by channels, not by positions",
     "inner_products(flat) / flat.shape[-2]", "inner_products(flat) / flat.shape[-1]"),
    ("Gram matrix ignores the mask",
     "flat * weight.astype(flat.dtype)) / total", "flat) / total"),
    ("Gram loss of Gatys has another factor", "return 0.25 * loss", "return 0.5 * loss"),
    ("gradient of XᵀX is not symmetrized", "half + half.swapaxes(-1, -2)", "2 * half"),
    ("total variation weighs diagonals twice",
     "(diagonal + antidiagonal) / 12)", "(diagonal + antidiagonal) / 6)"),
    ("squared total variation has no columns",
     "return mean_rows + mean_cols", "return mean_rows"),
]  # fmt: skip

_OTHER_LOSS_MUTATIONS = [
    ("deviation has no floor", "jnp.sqrt(jnp.maximum(variance, 1e-8))", "jnp.sqrt(variance)",
     f"{_FAMILIES}gradients_for_image_and_style_are_finite_on_degenerate_maps[white-mean_std]"),
    ("Wasserstein loss counts the cross term once",
     "(2 / channels) ** 2 * product", "(1 / channels) ** 2 * product",
     f"{_MOMENTS}loss_of_independent_channels_is_that_of_means_and_deviations"),
    ("gradient of the root's trace is twice as large",
     "[0.5 * g[..., None, None] * root", "[g[..., None, None] * root",
     f"{_MOMENTS}gradient_agrees_with_finite_differences"),
    ("Wasserstein loss of few positions drops the target",
     "y = matmul(x, target.root)\n", "y = x\n",
     f"{_MOMENTS}loss_is_the_distance_between_gaussians"),
    ("ranks of the histogram loss are off by a half",
     "jnp.cumsum(weights, axis=-2) - 0.5 * weights", "jnp.cumsum(weights, axis=-2)",
     f"{_FAMILIES}histogram_loss_compares_sorted_values"),
    ("quantiles lie at the left of their level",
     "dtype=flat.dtype)[:, None] + 0.5) / _LEVELS", "dtype=flat.dtype)[:, None]) / _LEVELS",
     f"{_FAMILIES}quantiles_are_those_of_numpy_in_the_middle_of_each_level"),
    ("directions are not unit vectors", "    vectors /= jnp.linalg.norm(vectors, axis=0)\n", "",
     f"{_FAMILIES}sliced_loss_depends_on_correlations_unlike_histogram_loss"),
    ("nearest neighbor is the farthest", "cosines.argmax(axis=-1)", "cosines.argmin(axis=-1)",
     f"{_FAMILIES}nearest_loss_is_the_mean_cosine_distance_to_the_nearest_neighbor"),
    ("nearest loss does not center the style",
     "unit_vectors(target - target.mean(axis=-2, keepdims=True))", "unit_vectors(target)",
     f"{_FAMILIES}nearest_loss_is_the_mean_cosine_distance_to_the_nearest_neighbor"),
    ("transport loss has one direction",
     "return jnp.maximum(image_to_style, style_to_image)", "return image_to_style",
     f"{_FAMILIES}transport_loss_is_the_larger_of_both_directions"),
    ("transport loss finds neighbors outside of the mask",
     "jnp.where(is_inside, distances, 2)", "distances",
     f"{_FAMILIES}masked_loss_is_the_loss_of_the_region[transport]"),
    ("blended points come from the first style",
     "jnp.minimum(jnp.searchsorted(cumulative, fractions)",
     "jnp.minimum(0 * jnp.searchsorted(cumulative, fractions)",
     f"{_FAMILIES}blended_points_are_taken_in_proportion_to_the_weights"),
    ("self-similarity is not divided by the mean",
     "return distances / jnp.maximum(distances.mean(axis=-1, keepdims=True), 1e-6)",
     "return distances",
     f"{_FAMILIES}self_similarity_is_the_formula"),
    ("Laplacian explains half of the covariance",
     "(variance - explained)", "(variance - 0.5 * explained)",
     f"{_FAMILIES}laplacian_loss_is_the_dense_quadratic_form"),
    ("weights of a mask do not sum to 1",
     "return weights / jnp.maximum(weights.sum(axis=-2, keepdims=True), 1e-6), flat",
     "return weights, flat",
     f"{_MOMENTS}masked_mean_is_the_mean_of_the_region"),
]  # fmt: skip

_OBJECTIVE_MUTATIONS = [
    ("content loss has no coefficient",
     "weigh(weights.content[term], losses[split_term(term)[1]][0][term])",
     "weigh(1.0, losses[split_term(term)[1]][0][term])",
     f"{_OBJECTIVE}loss_is_the_weighted_sum_of_its_terms"),
    ("regions count equally", "weigh(targets.shares, loss)",
     "weigh(1 / len(targets.shares), loss)",
     f"{_OBJECTIVE}masked_styles_apply_only_to_their_regions"),
    ("the area of a mask does not count",
     "blend.astype(masks.dtype) * coverage(masks)", "blend.astype(masks.dtype)",
     f"{_OBJECTIVE}shares_of_regions_are_proportional_to_area"),
]  # fmt: skip

_OPTIMIZE_MUTATIONS = [
    ("Adam's second moment decays as in other programs",
     "optax.adam(learning_rate, b2=0.99)", "optax.adam(learning_rate, b2=0.999)"),
    ("pyramid Adam has no bias correction", "bias_correction=True", "bias_correction=False"),
    ("L-BFGS keeps one pair", "LBFGS_HISTORY = 10", "LBFGS_HISTORY = 1"),
    ("line search is never used", "    if line_search:\n", "    if False:\n"),
    ("L-BFGS keeps pairs of negative curvature",
     "jnp.vdot(s, y) > 1e-6 * s_norm * y_norm", "jnp.vdot(s, y) > -jnp.inf"),
    ("iterates are averaged with equal weights",
     "(AVERAGE_POWER + 1) / (state.num_steps + AVERAGE_POWER + 1)", "1 / (state.num_steps + 1)"),
    ("coarse levels take full steps", "PYRAMID_SHARE * jax.image", "1.0 * jax.image"),
    ("average of images has no bias correction",
     "return state.average / total", "return state.average"),
    ("pixels are not clipped", "jnp.clip(image, 0, 1) if clamp else image", "image"),
    ("gradients that are not finite pass", " & jnp.isfinite(grad).all()", ""),
    ("a state that is not finite is kept", "jnp.where(finite, new, old), updated", "new, updated"),
]  # fmt: skip

_PYRAMID_MUTATIONS = [
    ("detail contains the coarse level",
     "return resize(image, shape) - resize(resize(image, coarse), shape)",
     "return resize(image, shape)"),
    ("a level starts from the last image, not the average",
     "resize(averaged(state, decay=decay), shape)", "resize(state.image, shape)"),
    ("levels run fine to coarse", "zip(reversed(shapes), steps", "zip(shapes, steps"),
    ("style images are enlarged without a limit", "min(long_edge, _MAX_ENLARGEMENT * long)",
     "long_edge"),
    ("Adam's mean is not carried", "mu=mean, nu=jnp.maximum", "nu=jnp.maximum"),
    ("a level forgets that it diverged", "._replace(finite=state.finite)", ""),
]  # fmt: skip

_COLOR_MUTATIONS = [
    ("luminance is added twice",
     "reference + luminance(image) - luminance(reference)", "reference + luminance(image)"),
    ("colors are not whitened",
     "inverse_root(covariance, _MIN_VARIANCE)", "root(covariance)"),
    ("luma takes red for green", "_LUMA = (0.299, 0.587", "_LUMA = (0.587, 0.299"),
    ("luminance keeps its deviation", "(y - y.mean()) * deviation_ref", "(y - y.mean())"),
    ("colors of a gray image are amplified",
     "jnp.where(values > cutoff, jnp.maximum(values, cutoff) ** -0.5, 0)",
     "jnp.maximum(values, 1e-12) ** -0.5"),
]  # fmt: skip

_ADAIN_MUTATIONS = [
    ("features keep their deviation",
     "deviation(style) / jnp.maximum(deviation(content), 1e-3)",
     "deviation(content) / jnp.maximum(deviation(content), 1e-3)"),
    ("features keep their mean", "+ style_mean", "+ mean"),
    ("a flat channel is divided by 0",
     "jnp.maximum(deviation(content), 1e-3)", "(deviation(content) - 1e-4)"),
]  # fmt: skip

_CONV = ("tests/ops/test_conv.py",)
_CONV_MUTATIONS = [
    ("the end is padded with the second line",
     "(-1, (2 + offset, -offset))", "(-1, (1 + offset, 1 - offset))"),
    ("CPUs pad columns by the second last",
     "*range(width), width - 1 - offset]", "*range(width), width - 2 - offset]"),
    ("gradients lose the corners",
     "            if row is None and column is None:", "            if None not in (row, column):"),
    ("accelerators convolve as CPUs do",
     "default=partial(_convolve_padded", "default=partial(_convolve_and_crop"),
]  # fmt: skip

_POOLING = ("tests/ops/test_pooling.py",)
_POOLING_MUTATIONS = [
    ("the gradient goes to the last maximum", "for number in (2, 1, 0):",
     "for number in (0, 1, 2):"),
    ("TPUs pool by strided positions", "tpu=_max_of_windows, ", ""),
]  # fmt: skip

_FORECAST = ("tests/analysis/test_compiled.py", "tests/analysis/test_forecast.py")
_FORECAST_MUTATIONS = [
    ("all rounds of a loop move the bytes of one", "moved += rounds * number", "moved += number"),
    ("memory on the chip counts", ' if not re.search(r"S\\(\\d", a[2]))', ")"),
    ("tiles have no padding", "shape[-i] = -(-shape[-i] // side) * side", "pass"),
    ("each image has weights of its own", "max(step.arguments - weights_bytes, 0)",
     "step.arguments"),
    ("higher precision takes no time", "peaks.slowdown.get(precision, 1.0)", "1.0"),
]  # fmt: skip

_ROOTS = ("tests/ops/test_newton_schulz.py",)
_ROOT_MUTATIONS = [
    ("blocks lie on top of each other", "used[k] += sizes[i]", "used[k] += 0"),
    ("blocks are scaled by the norm of all", "numbers[:, :, None] == numbers[:, None, :]",
     "numbers[:, :, None] >= 0 * numbers[:, None, :]"),
    ("accelerators take one root after the other", "default=_roots_together",
     "default=_roots_in_turn"),
]  # fmt: skip

_SINGLE_MUTATIONS = [
    ("linear algebra", "the root's gradient has no floor",
     "*tangents, 1 / sums)", "*tangents, 1 / _pairwise_sums(roots))",
     ("tests/ops/test_linalg.py",)),
    ("AdaIN", "strength has no effect", "encoded + strength * (stylized - encoded)", "stylized",
     ("tests/test_adain.py::test_strength_interpolates_from_the_content_to_the_style",)),
    ("AdaIN", "the decoder upsamples after another layer",
     '("conv1", "conv5", "conv7")', '("conv1", "conv4", "conv7")',
     ("tests/test_adain.py::test_decoder_matches_pytorch",)),
    ("resume", "a checkpoint of another run is taken",
     "changed = [k for k in self._identity if saved_identity.get(k) != self._identity[k]]",
     "changed = []",
     ("tests/io/test_checkpoint.py::test_checkpoint_of_another_run_is_rejected",)),
    ("resume", "a resumed level begins again",
     "min(level_steps, level_start + level_steps - steps_done)", "level_steps",
     ("tests/test_transfer.py::test_resumed_run_is_bit_identical",)),
    ("resume", "no checkpoint at the end of a level",
     " or progress.step in self._level_ends)", ")",
     ("tests/io/test_checkpoint.py::test_a_checkpoint_is_saved_at_the_end_of_every_level",)),
]  # fmt: skip

_RESUME_MUTATIONS = [
    ("a job with other options is done", 'record.get("job") != job_hash(', "not job_hash("),
    ("a changed output is done",
     'file_sha256(self._folder / job.output) == record.get("output_sha256")', "True"),
    ("an output with other times is done",
     'if record.get("output_stamp") == self._output_stamp(job):', "if True:"),
    ("an input with other times is the same", 'record["stamps"][role][i] == stamp', "True"),
    ("images that a dead worker had done are done again",
     "[index for index in task.group.jobs if index not in set(done)]", "task.group.jobs"),
    ("an image that kills its workers is never given up",
     "if self._deaths.get(index, 0) >= MAX_DEATHS:", "if False:"),
    ("records of workers are merged twice", "if _digest(line) not in known", "if line"),
    ("a record is glued to an incomplete line", 'if file.read(1) != b"\\n":', "if False:"),
    ("other weights do not change a job",
     '        ("weights", json.dumps(weights["sha256"])),\n', ""),
    ("other options do not change a job",
     '        ("config", _to_json(job.config)),\n', ""),
    ("shards overlap", "for k in (self.index - 1, self.index))", "for k in (0, self.index))"),
    ("a failed job is done",
     'record.get("status") != "done" or', 'record.get("status") == "started" or'),
    ("records are not fsynced",
     "file.flush()\n                os.fsync(file.fileno())", "file.flush()"),
]  # fmt: skip

_ATOMIC_MUTATIONS = [
    ("the file itself is written", 'with_name(f"{_partial_prefix(path.name)}{owner}.partial")',
     "with_name(path.name)"),
    ("the file is renamed before it is on the disk",
     "            os.fsync(file.fileno())\n        temporary", "        temporary"),
    ("a failed write leaves a partial file", "temporary.unlink(missing_ok=True)", "pass"),
    ("partial files of others are removed", "if match[1] in expected:", "if True:"),
]  # fmt: skip

_READER_MUTATIONS = [
    ("one orientation is not mirrored",
     "if self.orientation in (2, 3, 6, 7):\n            pixels",
     "if self.orientation in (2, 3, 6):\n            pixels"),
    ("read_shape turns half of the orientations",
     "return (width, height) if self.orientation >= 5 else (height, width)",
     "return (width, height) if self.orientation >= 7 else (height, width)"),
    ("bands of a turned image come in the wrong order",
     "top, bottom = self.shape[0] - bottom, self.shape[0] - top", "pass"),
    ("16-bit gray is not scaled to 1", "else 65535.0) if deep", "else 65280.0) if deep"),
    ("signed gray is scaled as unsigned", "2 ** (bits - signed) - 1", "2 ** bits - 1"),
    ("gray whose 0 is white is inverted", "gray = 1 - gray if levels.inverted else gray", "pass"),
    ("gamma is applied the wrong way",
     "rgb ** np.float32(1 / self._gamma)", "rgb ** np.float32(self._gamma)"),
    ("color profiles are ignored",
     'return converted or image.convert("RGB")', 'return image.convert("RGB")'),
    ("gray profiles of 16-bit images are ignored", "ramp = self._gray_ramp()", "ramp = None"),
    ("hidden pixels keep their color", "            if mean is not None:\n",
     "            if False:\n"),
    ("hidden pixels get a mean without weights",
     "color += (band[..., :3] * band[..., 3:])", "color += band[..., :3]"),
    ("opacity is lost", "alpha = np.asarray(opacity, np.float32)[..., None] / 255",
     "alpha = np.ones((*opacity.size[::-1], 1), np.float32)"),
    ("a PNG with fewer rows is read", "    if found < needed:\n", "    if False:\n"),
    ("any format that Pillow knows is read", "formats=formats)", "formats=None)"),
    ("large images are not refused before they are decoded",
     "if excess := pillow.explain_excess(", "if False and pillow.explain_excess("),
    ("values wrap when written",
     "pil_image = Image.fromarray(np.round(np.clip(pixels, 0, 1) * 255)",
     "pil_image = Image.fromarray(np.round(pixels * 255)"),
    ("JPEG subsamples chroma", '"subsampling": "4:4:4"', '"subsampling": "4:2:0"'),
    ("JPEG composites over black", "pixels[..., :3] * alpha + background * (1 - alpha)",
     "pixels[..., :3] * alpha"),
    ("size is the short edge", "1.0 if size is None else size / max(shape)",
     "1.0 if size is None else size / min(shape)"),
]  # fmt: skip

_TILES = ("tests/test_tiles.py",)
_MEMORY = ("tests/analysis/test_memory.py",)

_TILE_MUTATIONS = [
    ("windows see less than the layers", "    halo = -(-halo // TILE_UNIT) * TILE_UNIT\n    count",
     "    halo = 0\n    count", _TILES),
    ("bands count rows twice", "jnp.where(start + jnp.arange(band) >= begin, function(parts), 0)",
     "function(parts)", _TILES),
    ("positions count in several tiles", "inside.append(is_after & (position",
     "inside.append((position == position) | (position",
     ("tests/test_tiles.py::test_tiles_change_neither_loss_nor_gradient",)),
    ("tiles determine the result", 'if n != "tile"}', "}", _TILES),
    ("tiles do not depend on memory", "if step_bytes(shape, fitted) <= BATCH_MEMORY * free:",
     "if free:", _MEMORY),
    ("rows are split where one device is enough", "need > free >= need / devices", "need > 0",
     _MEMORY),
    ("rows of maps are not split", "                entries[axis] = rows\n",
     "                entries[axis] = None\n",
     ("tests/loop/test_placement.py::test_rows_over_devices_give_the_result_of_one_device",)),
]  # fmt: skip

_SERVER = ("tests/live/test_server.py",)

_RUN_MUTATIONS = [
    ("a flat image goes on", "state = programs.hold(self.flat, before, state)",
     "programs.hold(self.flat, before, state)",
     ("tests/loop/test_plateau.py::test_each_image_of_a_batch_ends_by_its_own_loss",)),
    ("a loss is tested between two windows", "if done < 2 * WINDOW or done % WINDOW:",
     "if done < 2 * WINDOW:",
     ("tests/loop/test_plateau.py::test_chunks_do_not_change_where_it_ends",)),
    ("programs are compiled with another thread's settings",
     "if _settings() == self._settings:", "if True:", ("tests/loop/test_ahead.py",)),
    ("edges of strokes are those of an enlarged style image",
     "if shape[0] <= style.shape[0] or not edges:", "if True:", ("tests/loop/test_programs.py",)),
    ("a page needs no token", "if not secrets.compare_digest(token, self._token.encode()):",
     "if False:", _SERVER),
    ("a page may have any host", "if not _LOCAL.fullmatch(host):", "if False:", _SERVER),
    ("a page of another site may ask", 'if origin is not None and origin != f"http://{host}":',
     "if False:", _SERVER),
    ("a timelapse has its last frame twice",
     "progress.step >= self._due[-1] and progress.step < progress.steps:",
     "progress.step >= self._due[-1]:", ("tests/io/test_timelapse.py",)),
    ("grain is measured where the content image has detail",
     "is_smooth = variance <= jnp.quantile(", "is_smooth = variance >= jnp.quantile(",
     ("tests/test_metrics.py",)),
    ("a repeated image is always the same", "    if not difference.any():", "    if True:",
     ("tests/cli/test_rerun.py::test_another_input_is_announced_and_the_difference_is_measured",)),
]  # fmt: skip

_MOTION_MUTATIONS = [
    ("warp confuses rows and columns", "x, y = jnp.moveaxis(points, -1, 0)",
     "y, x = jnp.moveaxis(points, -1, 0)"),
    ("warp has a wrong spline", "((3 * t - 5) * t * t + 2)", "((3 * t - 4) * t * t + 2)"),
    ("a flow is reliable where there and back disagree", "consistent & smooth & inside",
     "smooth & inside"),
    ("a flow is reliable at the edges of motion", "consistent & smooth & inside",
     "consistent & inside"),
    ("a flow is reliable outside of the frame", "consistent & smooth & inside",
     "consistent & smooth"),
    ("a pixel is a mean of all reliable frames", "jnp.maximum(weights - before, 0)", "weights"),
    ("temporal loss ignores the reliability", "(jnp.asarray(reliability) * squares).mean(",
     "squares.mean("),
]  # fmt: skip

_VIDEO_RUN = "tests/video/test_run.py"
_VIDEO_MUTATIONS = [
    ("the loss has no temporal term", 'terms["temporal"] = temporal_loss(',
     'terms["temporal"] = 0 * temporal_loss(', "tests/test_temporal.py"),
    ("what looks different counts as much", "known = reliable * jnp.exp(-change",
     "known = reliable * jnp.exp(-0 * change",
     f"{_VIDEO_RUN}::test_what_lights_up_in_its_place_is_not_taken_from_the_frame_before"),
    ("still pixels are painted again", "if followed is not None and still is not None:",
     "if False:", f"{_VIDEO_RUN}::test_what_does_not_move_does_not_change"),
    ("a slow fade is still", "self._anchor = np.where(still[..., None], self._anchor, frame)",
     "self._anchor = frame", f"{_VIDEO_RUN}::test_a_slow_fade_is_not_still"),
    ("masks may move where pixels are still", "    if frame.masks is None:\n        return",
     "    if True:\n        return",
     f"{_VIDEO_RUN}::test_what_a_mask_uncovers_is_painted_anew"),
    ("another scene is no new shot", "if reliable < self._schedule.cut:", "if False:",
     f"{_VIDEO_RUN}::test_another_scene_is_a_new_shot"),
    ("a pass looks across a cut", " and not any(shots[n] for n in between)", "",
     f"{_VIDEO_RUN}::test_no_pass_looks_across_a_cut"),
    ("frames of another run are used", "elif path.read_bytes() != text.encode():", "elif False:",
     "tests/video/test_store.py"),
    ("a damaged video ends in silence", "    if code:\n        time =",
     "    if False:\n        time =",
     "tests/video/test_clip.py::test_a_damaged_video_gives_what_came_before"),
    ("image 10 comes before image 9", "images.sort(key=_natural)", "images.sort()",
     "tests/video/test_clip.py::test_a_folder_of_images"),
]  # fmt: skip

MUTATIONS: list[Mutation] = [
    *(Mutation("run", *row) for row in _RUN_MUTATIONS),
    *(Mutation("tiles", *row) for row in _TILE_MUTATIONS),
    *(Mutation("motion", *row, ("tests/test_motion.py",)) for row in _MOTION_MUTATIONS),
    *(Mutation("video", *row[:3], (row[3],)) for row in _VIDEO_MUTATIONS),
    *(Mutation("losses", *row, _LOSSES) for row in _LOSS_MUTATIONS),
    *(Mutation("losses", *row[:3], (row[3],)) for row in _OTHER_LOSS_MUTATIONS),
    *(Mutation("objective", *row[:3], (row[3],)) for row in _OBJECTIVE_MUTATIONS),
    *(Mutation("optimizers", *row, _OPTIMIZE) for row in _OPTIMIZE_MUTATIONS),
    *(Mutation("pyramid", *row, _PYRAMID) for row in _PYRAMID_MUTATIONS),
    *(Mutation("color", *row, _COLOR) for row in _COLOR_MUTATIONS),
    *(Mutation("AdaIN", *row, _ADAIN) for row in _ADAIN_MUTATIONS),
    *(Mutation("convolution", *row, _CONV) for row in _CONV_MUTATIONS),
    *(Mutation("pooling", *row, _POOLING) for row in _POOLING_MUTATIONS),
    *(Mutation("forecast", *row, _FORECAST) for row in _FORECAST_MUTATIONS),
    *(Mutation("linear algebra", *row, _ROOTS) for row in _ROOT_MUTATIONS),
    *(Mutation(*row) for row in _SINGLE_MUTATIONS),
    *(Mutation("resume", *row, _LEDGER) for row in _RESUME_MUTATIONS),
    *(Mutation("atomic writing", *row, _ATOMIC) for row in _ATOMIC_MUTATIONS),
    *(Mutation("reader", *row, _READER) for row in _READER_MUTATIONS),
]
"""All mutations."""
