"""Warping, reliability and the temporal loss, against loops and known motions."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.test_util import check_grads

from jaxstyle.losses import temporal_loss
from jaxstyle.motion import nearest_reliable, reliability, warp


def random(seed, *shape, low=0.0, high=1.0):
    return np.random.default_rng(seed).uniform(low, high, shape).astype(np.float32)


def constant_flow(dx, dy, shape):
    return np.broadcast_to(np.float32([dx, dy]), (*shape, 2))


def moving_square(shape=(24, 32), move=(6, 0), corner=(8, 6), size=8):
    """Flows there and back of a square that moves over a still background."""
    (top, left), (dx, dy) = corner, move
    flow, back = np.zeros((2, *shape, 2), np.float32)
    flow[top : top + size, left : left + size] = move
    back[top + dy : top + dy + size, left + dx : left + dx + size] = (-dx, -dy)
    return flow, back


def test_warp_is_bilinear_interpolation_with_repeated_edges():
    image, flow = random(0, 5, 7, 3), random(1, 4, 6, 2, low=-4, high=4)
    expected = np.zeros((4, 6, 3))
    for row in range(4):
        for column in range(6):
            x = np.clip(column + flow[row, column, 0], 0, 6)
            y = np.clip(row + flow[row, column, 1], 0, 4)
            left, top = min(int(x), 5), min(int(y), 3)
            fx, fy = x - left, y - top
            above = (1 - fx) * image[top, left] + fx * image[top, left + 1]
            below = (1 - fx) * image[top + 1, left] + fx * image[top + 1, left + 1]
            expected[row, column] = (1 - fy) * above + fy * below
    np.testing.assert_allclose(warp(image, flow), expected, atol=1e-5)


def test_cubic_warp_is_exact_for_parabolas_and_sharper_than_a_bilinear_one():
    y, x = np.mgrid[:12, :12].astype(np.float32)
    image = (x**2 - 3 * x * y + 0.5 * y**2)[..., None]
    flow = random(1, 12, 12, 2) - 0.5
    at_x, at_y = x + flow[..., 0], y + flow[..., 1]
    expected = (at_x**2 - 3 * at_x * at_y + 0.5 * at_y**2)[..., None]
    inner = (slice(2, -2), slice(2, -2))
    np.testing.assert_allclose(warp(image, flow, cubic=True)[inner], expected[inner], atol=1e-3)
    noise, half = random(2, 20, 20, 3), constant_flow(0.5, 0.3, (20, 20))
    there_and_back = [
        warp(warp(noise, half, cubic=cubic), -half, cubic=cubic) for cubic in (False, True)
    ]
    linear, cubic = (np.square(image - noise)[3:-3, 3:-3].mean() for image in there_and_back)
    assert cubic < 0.7 * linear


def test_warp_without_motion_changes_no_bit():
    image = random(0, 9, 11, 3)
    for _ in range(3):
        image = warp(image, constant_flow(0, 0, (9, 11)))
    np.testing.assert_array_equal(image, random(0, 9, 11, 3))


def test_gradient_of_a_warp_and_of_the_loss():
    image, target, flow = random(0, 5, 6, 3), random(1, 5, 6, 3), random(2, 5, 6, 2)
    weights = random(3, 5, 6)
    check_grads(lambda x: temporal_loss(warp(x, flow), target, weights), (image,), order=1, eps=0.1)


def test_temporal_loss_counts_reliable_pixels_of_each_image():
    images, warped, weights = random(0, 2, 3, 4, 3), random(1, 2, 3, 4, 3), random(2, 2, 3, 4)
    triples = zip(images, warped, weights, strict=True)
    expected = [np.mean(w[..., None] * (a - b) ** 2) for a, b, w in triples]
    np.testing.assert_allclose(temporal_loss(images, warped, weights), expected, rtol=1e-5)
    assert temporal_loss(images, warped, np.zeros((2, 3, 4), np.float32)).max() == 0


def test_what_leaves_the_frame_is_not_reliable():
    flow = constant_flow(3, -2, (10, 12))
    expected = np.ones((10, 12))
    expected[:, -3:] = expected[:2] = 0
    np.testing.assert_array_equal(reliability(flow, -flow), expected)


def test_what_a_moving_object_hides_or_shows_is_not_reliable():
    flow, back = moving_square()
    hidden = np.zeros(flow.shape[:2], bool)
    # Background that the square covers afterwards.
    hidden[8:16, 14:20] = True
    known = reliability(flow, back)
    assert known[hidden].max() == 0
    # Edges of the motion count 0 too: at most one pixel beside the square or what it hides.
    near = np.zeros_like(hidden)
    near[7:17, 5:21] = True
    inside = np.zeros_like(hidden)
    inside[8:15, 6:13] = True
    assert known[inside].min() == known[~near].min() == 1
    assert reliability(flow, np.zeros_like(back))[inside].max() == 0


def test_each_pixel_comes_from_the_nearest_reliable_frame():
    frames, weights = random(0, 3, 4, 5, 3), random(1, 3, 4, 5) > 0.5
    frame, weight = nearest_reliable(frames, weights.astype(np.float32))
    for row, column in np.ndindex(4, 5):
        first = np.argmax(weights[:, row, column])
        known = np.float32(weights[first, row, column])
        assert weight[row, column] == known
        np.testing.assert_allclose(frame[row, column], known * frames[first, row, column])


def test_loss_of_the_combined_frame_has_the_gradient_of_the_sum_of_losses():
    image, frames, weights = random(0, 4, 5, 3), random(1, 2, 4, 5, 3), random(2, 2, 4, 5)
    remaining = np.stack([weights[0], np.maximum(weights[1] - weights[0], 0)])

    def in_parts(x):
        return sum(temporal_loss(x, f, w) for f, w in zip(frames, remaining, strict=True))

    combined = nearest_reliable(frames, weights)
    gradient = jax.grad(lambda x: temporal_loss(x, *combined))(image)
    np.testing.assert_allclose(gradient, jax.grad(in_parts)(image), atol=1e-6)


def test_jit_and_vmap_agree_with_single_frames():
    images, flows = random(0, 2, 6, 7, 3), random(1, 2, 6, 7, 2, low=-2, high=2)
    backs = random(2, 2, 6, 7, 2, low=-2, high=2)

    def both(image, flow, back):
        return warp(image, flow), reliability(flow, back)

    batch = jax.jit(jax.vmap(both))(images, flows, backs)
    single = [both(*arrays) for arrays in zip(images, flows, backs, strict=True)]
    for i, (warped, known) in enumerate(single):
        np.testing.assert_allclose(batch[0][i], warped, atol=1e-5)
        np.testing.assert_array_equal(batch[1][i], known)


def test_float64_and_integers():
    with jax.enable_x64(True):
        assert warp(random(0, 4, 4, 3).astype(np.float64), np.zeros((4, 4, 2))).dtype == "float64"
    assert warp(jnp.ones((3, 3, 1), jnp.bfloat16), jnp.zeros((3, 3, 2))).dtype == jnp.bfloat16


def test_edges_of_motion_are_not_reliable_even_where_both_ways_agree():
    flow = np.zeros((4, 8, 2), np.float32)
    flow[:, 3:, 0] = 0.3
    expected = np.ones((4, 8))
    expected[:, 2] = expected[:, -1] = 0  # The last column leaves the frame.
    np.testing.assert_array_equal(reliability(flow, -flow), expected)
