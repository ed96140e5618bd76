"""Comparison sheets."""

import numpy as np
import pytest

from jaxstyle.io.sheet import _BACKGROUND, compare_sheet

RED, GREEN, BLUE = np.eye(3)


def flat(color, shape=(64, 96)):
    return np.broadcast_to(np.asarray(color, np.float32), (*shape, len(color))).copy()


def widths(line):
    """Lengths of the runs of one color in a line of pixels, without the background."""
    keys = [tuple(np.round(pixel, 2)) for pixel in line]
    runs = []
    for key in keys:
        if runs and runs[-1][0] == key:
            runs[-1][1] += 1
        else:
            runs.append([key, 1])
    background = (round(_BACKGROUND, 2),) * 3
    return [(key, count) for key, count in runs if key != background]


def test_content_style_and_result_have_the_same_height():
    sheet = compare_sheet(flat(RED), [flat(GREEN, (50, 50))], flat(BLUE))
    middle = widths(sheet[len(sheet) // 2])
    assert middle == [((1, 0, 0), 96), ((0, 1, 0), 64), ((0, 0, 1), 96)]
    for x in (20, 130, 200):
        assert [count for _, count in widths(sheet[:, x])] == [64]


def test_several_styles_are_stacked_at_one_width():
    styles = [flat(GREEN, (40, 80)), flat(BLUE, (80, 80))]
    sheet = compare_sheet(flat(RED), styles, flat(RED))
    column = widths(sheet[:, 110])
    (_, upper), (_, lower) = column
    assert [key for key, _ in column] == [(0, 1, 0), (0, 0, 1)]
    # Heights of 1/2 and 1 widths, with one gap of 2 pixels.
    assert abs(upper - 62 / 3) <= 1
    assert upper + lower == 62


def test_region_of_each_style_is_below_it():
    mask = np.zeros((64, 96), np.float32)
    mask[:, :48] = 1
    styles = [flat(GREEN), flat(BLUE)]
    sheet = compare_sheet(flat(RED), styles, flat(RED), masks=[mask, 1 - mask])
    lower = widths(sheet[-20])
    assert [key for key, _ in lower if key == (1, 0, 0)] == [(1, 0, 0)] * 4
    # The rest of the content image is shown faintly.
    assert [key for key, count in lower if count > 10 and 0.5 < key[1] < 0.9]


def test_opacity_is_put_on_the_background():
    clear = np.concatenate([flat(RED), np.zeros((64, 96, 1), np.float32)], axis=-1)
    sheet = compare_sheet(clear, [flat(GREEN)], clear)
    assert widths(sheet[30]) == [((0, 1, 0), 96)]


def test_large_results_are_reduced():
    sheet = compare_sheet(flat(RED, (8, 4096)), [flat(GREEN)], flat(RED, (8, 4096)))
    assert sheet.shape[1] < 2 * 2048 + 200


@pytest.mark.parametrize("shape", [(1, 900), (900, 1)])
def test_extreme_styles_stay_within_their_columns(shape):
    sheet = compare_sheet(flat(RED), [flat(GREEN, shape)], flat(RED))
    assert sheet.shape[1] < 2 * 96 + 2.5 * 96 + 20
    assert sheet.shape[0] == 64 + 2 * 2


@pytest.mark.parametrize("count", [3, 4, 7])
def test_every_style_is_shown(count):
    styles = [flat([0.1 * (i + 1), 0.5, 0.2], (30 + 5 * i, 40)) for i in range(count)]
    sheet = compare_sheet(flat(RED), styles, flat(RED))
    shown = {round(float(value), 1) for value in np.unique(sheet[..., 0])}
    assert {round(0.1 * (i + 1), 1) for i in range(count)} <= shown


def test_missing_styles_and_masks_are_errors():
    with pytest.raises(ValueError, match="`styles` is empty"):
        compare_sheet(flat(RED), [], flat(RED))
    with pytest.raises(ValueError, match="1 masks for 2 styles"):
        compare_sheet(flat(RED), [flat(RED)] * 2, flat(RED), masks=[np.ones((4, 6), np.float32)])
