"""Frames on disk: what is complete, and whose they are."""

import numpy as np
import pytest

from jaxstyle.errors import WriteError
from jaxstyle.video.store import open_store


def test_a_frame_is_read_back_in_8_bits_with_its_record(tmp_path):
    image = np.random.default_rng(0).random((6, 8, 3)).astype(np.float32)
    with open_store(tmp_path / "a.frames", {"version": 1}) as store:
        assert store.get(1, 0) is None
        store.write(1, 0, image, loss=2.5)
        np.testing.assert_array_equal(store.read(1, 0), np.round(image * 255))
    with open_store(tmp_path / "a.frames", {"version": 1}) as store:
        assert store.get(1, 0)["loss"] == 2.5
        assert store.get(2, 0) is None


def test_a_frame_without_file_or_record_is_not_there(tmp_path):
    image = np.zeros((6, 8, 3), np.float32)
    with open_store(tmp_path, {}) as store:
        for frame in range(3):
            store.write(1, frame, image)
        store.path(1, 0).unlink()
        assert store.get(1, 0) is None
    ledger = tmp_path / "jobs.jsonl"
    ledger.write_bytes(ledger.read_bytes()[:-5])  # Killed while the last record was written.
    with open_store(tmp_path, {}) as store:
        assert [store.get(1, frame) is not None for frame in range(3)] == [False, True, False]
        store.write(1, 2, image)
    with open_store(tmp_path, {}) as store:
        assert store.get(1, 2) is not None


def test_the_frames_of_another_run_are_not_touched(tmp_path):
    with open_store(tmp_path / "a.frames", {"steps": 5}) as store:
        store.write(1, 0, np.zeros((6, 8, 3), np.float32))
    other = open_store(tmp_path / "a.frames", {"steps": 6})
    with pytest.raises(WriteError, match="of a run with other inputs or options"):
        other.__enter__()


def test_a_run_without_frames_does_not_block_the_next_one(tmp_path):
    with open_store(tmp_path, {"steps": 5}):
        pass
    with open_store(tmp_path, {"steps": 6}) as store:
        assert len(store) == 0


def test_two_runs_do_not_share_a_folder(tmp_path):
    other = open_store(tmp_path, {})
    with open_store(tmp_path, {}), pytest.raises(WriteError, match="another process is writing"):
        other.__enter__()
