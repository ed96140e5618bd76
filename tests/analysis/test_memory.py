"""Memory that a run needs, and the tiles that are chosen by it."""

import dataclasses

import jax
import pytest

from jaxstyle import StyleConfig
from jaxstyle.analysis.cost import compiled_bytes, lower_step
from jaxstyle.analysis.memory import (
    check_memory,
    count_row_devices,
    fit_tile,
    step_bytes,
    tile_work,
    tree_bytes,
)

UHD = (2160, 3840)


def test_tiles_are_as_large_as_memory_allows():
    config = StyleConfig()
    tiles = [fit_tile(UHD, config, gib * 2**30).tile or 0 for gib in (64, 12, 6, 4, 1)]
    assert tiles[0] == 0
    assert tiles[1:] == sorted(tiles[1:], reverse=True)
    assert 0 < tiles[3] < tiles[1] <= 1024
    for gib, tile in zip((12, 6, 4), tiles[1:], strict=False):
        fitted = dataclasses.replace(config, tile=tile)
        assert step_bytes(UHD, fitted) <= 0.8 * gib * 2**30
    # The smallest tile is used where none fits.
    assert tiles[4] == config.least_tile == 80


def test_small_images_and_given_tiles_are_left_alone():
    assert fit_tile((341, 512), StyleConfig(), 4 * 2**30).tile == 0
    for tile in (0, 512):
        assert fit_tile(UHD, StyleConfig(tile=tile), 2**20).tile == tile
    assert fit_tile((64, 96), StyleConfig(), 2**20).tile == 80


def test_losses_that_need_whole_maps_leave_less_for_tiles():
    whole = StyleConfig(style_layers="sliced:relu1_1", tile=512)
    assert step_bytes(UHD, whole) > 2 * step_bytes(UHD, StyleConfig(tile=512))


def test_work_of_tiles():
    assert tile_work(UHD, StyleConfig()) == 1
    assert 1.7 < tile_work((4096, 4096), StyleConfig(tile=1024)) < 1.8
    assert 2.2 < tile_work((4096, 4096), StyleConfig(tile=512)) < 2.4


def test_rows_are_split_only_over_several_devices_that_are_enough(monkeypatch):
    config, need = StyleConfig(), step_bytes(UHD, StyleConfig())
    monkeypatch.setattr("jaxstyle.analysis.memory.available_bytes", lambda: free)
    for devices, share, expected in ((8, 0.5, 8), (1, 0.5, 1), (8, 2, 1), (2, 0.5, 1), (8, 0.1, 1)):
        monkeypatch.setattr(jax, "local_device_count", lambda n=devices: n)
        free = int(share * need)
        assert count_row_devices(UHD, config) == expected
    free = need // 2
    monkeypatch.setattr(jax, "local_device_count", lambda: 8)
    assert count_row_devices(UHD, StyleConfig(tile=512)) == 1
    # 200 rows are not near a multiple of 128.
    assert count_row_devices((200, 3840), config) == 1


def test_an_image_that_fits_only_in_tiles_is_not_refused(monkeypatch):
    monkeypatch.setattr("jaxstyle.analysis.memory.total_bytes", lambda: 4 * 2**30)
    monkeypatch.setattr("jaxstyle.analysis.memory.available_bytes", lambda: 4 * 2**30)
    with pytest.raises(ValueError, match="choose a smaller `--size`"):
        check_memory((4096, 4096), StyleConfig())
    assert check_memory(UHD, fit_tile(UHD, StyleConfig())) == ""


@pytest.mark.slow
@pytest.mark.parametrize("tile", [0, 128])
def test_the_estimate_is_near_what_the_compiler_says(params, tile):
    config = StyleConfig(size=512, tile=tile, conv="direct")
    lowered, arguments = lower_step(params, config, (512, 512))
    need = compiled_bytes(lowered.compile()) + tree_bytes(arguments[1:])
    assert need < 1.1 * step_bytes((512, 512), config) < 2.2 * need
