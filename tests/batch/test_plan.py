"""Groups and batch sizes (`plan`), and the record of finished jobs (`ledger`)."""

import dataclasses
import json
import os
from pathlib import Path

import jax
import pytest

from jaxstyle.batch.jobs import Job
from jaxstyle.batch.ledger import Ledger, Shard
from jaxstyle.batch.locks import lock_output
from jaxstyle.batch.plan import MAX_DISTORTION, batch_size, make_groups, size_batches, snap
from jaxstyle.config import StyleConfig
from jaxstyle.errors import WriteError


@pytest.mark.parametrize(
    ("shape", "size", "expected"),
    [
        ((3000, 4000), 512, (384, 512)),
        ((4000, 3000), 512, (512, 384)),
        # 352 differs from 341.3 by 3.1 %.
        ((2000, 3000), 512, (352, 512)),
        # 96 differs from 85.3 by 12 %, 80 by 6 %, 88 by 3.1 %.
        ((2000, 3000), 128, (88, 128)),
        ((100, 100), 256, (256, 256)),
        # A panorama: 26 differs from 25.6 by 1.6 %, multiples of 4 by over 5 %.
        ((100, 2000), 512, (26, 512)),
    ],
)
def test_short_edge_is_snapped_to_the_coarsest_grid_allowed(shape, size, expected):
    assert snap(shape, size) == expected


def test_snapping_distorts_no_shape_beyond_the_limit():
    for short in range(16, 400, 3):
        for size in (128, 256, 512):
            height, width = snap((short, 400), size)
            exact = size * short / 400
            assert width == size
            assert height <= size
            assert abs(height / exact - 1) <= max(MAX_DISTORTION, 0.5 / exact)


def test_mixed_shapes_snap_to_few_shapes():
    shapes = {snap((500 + 7 * i, 1000), 512) for i in range(70)}
    # Nine multiples of 32, and one of 16 where multiples of 32 are too far apart.
    assert len(shapes) <= 10


def make_job(tmp_path, **changes):
    path = tmp_path / "a.jpg"
    return Job(path, (path,), "a.png", dataclasses.replace(StyleConfig(size=64), **changes))


def test_jobs_that_share_shape_and_program_form_a_group(tmp_path):
    jobs = [
        (0, make_job(tmp_path), (60, 100)),
        (1, make_job(tmp_path, style_weight=3, seed=5, init="noise"), (61, 100)),
        (2, make_job(tmp_path, style_layers=("relu1_1",)), (60, 100)),
        (3, make_job(tmp_path), (100, 60)),
        (4, dataclasses.replace(make_job(tmp_path), start=tmp_path), (60, 100)),
    ]
    assert [group.jobs for group in make_groups(jobs)] == [(0, 1), (2,), (3,), (4,)]


@pytest.mark.parametrize(
    ("count", "limit", "expected"),
    [(1, 8, 1), (8, 8, 8), (16, 8, 8), (5, 4, 1), (12, 5, 4), (33, 32, 17), (7, 1, 1)],
)
def test_batch_size_needs_few_copies(count, limit, expected):
    assert batch_size(count, limit) == expected


def test_batches_on_a_cpu_are_small(tmp_path, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    small, large = (
        [(i, make_job(tmp_path, size=n), (60, 100)) for i in range(9)] for n in (64, 400)
    )
    groups = size_batches(make_groups(small + large), params={})
    assert [group.batch for group in groups] == [3, 1]


def test_shards_partition_the_list():
    items = list(range(11))
    for n in (1, 2, 3, 20):
        parts = [Shard(i + 1, n).of(items) for i in range(n)]
        assert [item for part in parts for item in part] == items
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/0", "-1/2", "1/2/3", ""])
def test_invalid_shard_is_an_error(text):
    with pytest.raises(ValueError, match="must be i/n"):
        Shard.parse(text)


def outputs(ledger):
    return [record["output"] for record in ledger.read()]


def test_incomplete_line_is_ignored_and_does_not_damage_the_next(tmp_path):
    ledger = Ledger(tmp_path, Shard())
    ledger.append({"output": "a.png", "status": "done"})
    with (tmp_path / "jobs.jsonl").open("ab") as file:
        file.write(b'{"output": "b.png", "sta')
    ledger.append({"output": "c.png", "status": "done"})
    assert outputs(ledger) == ["a.png", "c.png"]


@pytest.mark.parametrize(
    "junk",
    [
        b"null\n",
        b"[]\n",
        b'"x"\n',
        b"{}\n",
        b"\xff\xfe\n",
        b'{"output": 3}\n',
        b'{"output": ["a.png"]}\n',
        b"[" * 200_000,
        b'{"a":' * 200_000,
        b'{"output": ' + b"9" * 10_000 + b"}",
        b"\0" * 1000,
    ],
    ids=range(11),
)
def test_lines_that_are_not_records_are_ignored(tmp_path, junk):
    (tmp_path / "jobs.jsonl").write_bytes(junk)
    assert outputs(Ledger(tmp_path, Shard())) == []


def test_only_ledger_files_are_read(tmp_path):
    line = b'{"output": "a.png"}\n'
    for name in ("jobs-old.jsonl", "jobs.1-of-x.jsonl"):
        (tmp_path / name).write_bytes(line)
    (tmp_path / "jobs.1-of-2.jsonl").mkdir()
    os.mkfifo(tmp_path / "jobs.jsonl")
    assert outputs(Ledger(tmp_path, Shard())) == []
    with pytest.raises(WriteError, match="not a regular file"):
        Ledger(tmp_path, Shard()).append({"output": "a.png"})


def test_outputs_outside_the_folder_are_not_results(tmp_path):
    ledger = Ledger(tmp_path, Shard())
    ledger.append(*({"output": o} for o in ("a.png", "../b.png", "/c.png", "", "d\0.png")))
    paths = [tmp_path / "a.png", tmp_path / ".." / "b.png", Path("/c.png")]
    assert ledger.remove_outputs(paths) == paths[1:]


def test_announced_outputs_are_listed_once(tmp_path):
    ledger = Ledger(tmp_path, Shard())
    ledger.append({"output": "a.png", "status": "done"})
    ledger.announce(["a.png", "b.png"])
    ledger.announce(["a.png", "b.png"])
    assert outputs(ledger) == ["a.png", "b.png"]


def test_ledger_reads_the_records_of_all_shards(tmp_path):
    Ledger(tmp_path, Shard(1, 2)).append({"output": "a.png"})
    Ledger(tmp_path, Shard(2, 2)).append({"output": "b.png"})
    assert outputs(Ledger(tmp_path, Shard())) == ["a.png", "b.png"]


def test_ledger_preserves_names_that_are_not_utf8(tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    Ledger(tmp_path, Shard()).append({"output": name})
    assert outputs(Ledger(tmp_path, Shard())) == [name]
    assert json.loads((tmp_path / "jobs.jsonl").read_bytes())["output"] == name


@pytest.mark.parametrize(
    ("one", "two", "compatible"),
    [
        (Shard(), Shard(), False),
        (Shard(1, 2), Shard(2, 2), True),
        (Shard(1, 2), Shard(1, 2), False),
        (Shard(1, 2), Shard(2, 3), False),
        (Shard(), Shard(1, 2), False),
        (Shard(1, 2), Shard(), False),
    ],
)
def test_only_different_shards_of_one_count_run_together(tmp_path, one, two, compatible):
    with lock_output(tmp_path, one):
        if compatible:
            with lock_output(tmp_path, two):
                pass
        else:
            with (
                pytest.raises(WriteError, match="another process is writing to"),
                lock_output(tmp_path, two),
            ):
                pass
    with lock_output(tmp_path, two):
        pass
