import dataclasses
import json
import os

import jax
import pytest

from jaxstyle.batch.jobs import Job
from jaxstyle.batch.ledger import Ledger, Shard, is_done, lock_output
from jaxstyle.batch.plan import MAX_DISTORTION, batch_size, make_groups, size_batches, snap
from jaxstyle.config import StyleConfig
from jaxstyle.errors import WriteError
from jaxstyle.io.atomic import file_sha256


@pytest.mark.parametrize(
    ("shape", "size", "expected"),
    [
        ((3000, 4000), 512, (384, 512)),
        ((4000, 3000), 512, (512, 384)),
        # 341.3 is 3.1 % from 352.
        ((2000, 3000), 512, (352, 512)),
        # 96 would be 12 % from 85.3, 80 6 %; 88 is 3.1 % away.
        ((2000, 3000), 128, (88, 128)),
        ((100, 100), 256, (256, 256)),
        # A panorama: 25.6 is 1.6 % from 26.
        ((100, 2000), 512, (26, 512)),
    ],
)
def test_shapes_are_snapped_to_few(shape, size, expected):
    assert snap(shape, size) == expected


def test_no_shape_is_distorted_beyond_the_limit():
    for short in range(16, 400, 3):
        for size in (128, 256, 512):
            height, width = snap((short, 400), size)
            exact = size * short / 400
            assert width == size
            assert height <= size
            assert abs(height / exact - 1) <= max(MAX_DISTORTION, 0.5 / exact)


def test_a_folder_of_mixed_shapes_has_few_groups():
    shapes = {snap((500 + 7 * i, 1000), 512) for i in range(70)}
    # Nine multiples of 32, and one of 16 where these are too far apart.
    assert len(shapes) <= 10


def job(tmp_path, **changes):
    path = tmp_path / "a.jpg"
    return Job(path, (path,), "a.png", dataclasses.replace(StyleConfig(size=64), **changes))


def test_jobs_of_one_program_are_one_group(tmp_path):
    jobs = [
        (0, job(tmp_path), (60, 100)),
        (1, job(tmp_path, style_weight=3, seed=5, init="noise"), (61, 100)),
        (2, job(tmp_path, style_layers=("relu1_1",)), (60, 100)),
        (3, job(tmp_path), (100, 60)),
        (4, dataclasses.replace(job(tmp_path), start=tmp_path), (60, 100)),
    ]
    assert [group.jobs for group in make_groups(jobs)] == [(0, 1), (2,), (3,), (4,)]


@pytest.mark.parametrize(
    ("count", "limit", "expected"),
    [(1, 8, 1), (8, 8, 8), (16, 8, 8), (5, 4, 1), (12, 5, 4), (33, 32, 17), (7, 1, 1)],
)
def test_batches_waste_little(count, limit, expected):
    assert batch_size(count, limit) == expected


def test_a_cpu_takes_few_and_small_pictures_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "cpu")
    small, large = ([(i, job(tmp_path, size=n), (60, 100)) for i in range(9)] for n in (64, 400))
    groups = size_batches(make_groups(small + large), params={})
    assert [group.batch for group in groups] == [3, 1]


def test_shards_are_all_of_the_list_once():
    items = list(range(11))
    for n in (1, 2, 3, 20):
        parts = [Shard(i + 1, n).of(items) for i in range(n)]
        assert [item for part in parts for item in part] == items
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/0", "-1/2", "1/2/3", ""])
def test_shards_that_are_none_are_named(text):
    with pytest.raises(ValueError, match="must be i/n"):
        Shard.parse(text)


def test_a_line_cut_short_is_passed_over_and_the_next_is_whole(tmp_path):
    ledger = Ledger(tmp_path, Shard())
    ledger.append({"output": "a.png", "status": "done"})
    with (tmp_path / "jobs.jsonl").open("ab") as file:
        file.write(b'{"output": "b.png", "sta')
    ledger.append({"output": "c.png", "status": "done"})
    assert set(ledger.read()) == {"a.png", "c.png"}


@pytest.mark.parametrize("junk", [b"null\n", b"[]\n", b'"x"\n', b"{}\n", b"\xff\xfe\n"])
def test_lines_that_are_no_records_are_passed_over(tmp_path, junk):
    (tmp_path / "jobs.jsonl").write_bytes(junk)
    assert Ledger(tmp_path, Shard()).read() == {}


def test_every_shard_reads_what_the_others_wrote(tmp_path):
    Ledger(tmp_path, Shard(1, 2)).append({"output": "a.png"})
    Ledger(tmp_path, Shard(2, 2)).append({"output": "b.png"})
    assert set(Ledger(tmp_path, Shard()).read()) == {"a.png", "b.png"}


def test_a_job_is_done_when_its_line_and_its_file_agree(tmp_path):
    (tmp_path / "a.png").write_bytes(b"picture")
    sha256 = file_sha256(tmp_path / "a.png")
    record = {"output": "a.png", "job": "h", "status": "done", "output_sha256": sha256}
    assert is_done(record, "h", tmp_path)
    assert not is_done(record, "other", tmp_path)
    assert not is_done({**record, "status": "failed"}, "h", tmp_path)
    (tmp_path / "a.png").write_bytes(b"pict")
    assert not is_done(record, "h", tmp_path)
    (tmp_path / "a.png").unlink()
    assert not is_done(record, "h", tmp_path)


def test_names_that_are_not_utf8_survive_the_ledger(tmp_path):
    name = os.fsdecode(b"caf\xe9.png")
    Ledger(tmp_path, Shard()).append({"output": name})
    assert list(Ledger(tmp_path, Shard()).read()) == [name]
    assert json.loads((tmp_path / "jobs.jsonl").read_bytes())["output"] == name


@pytest.mark.parametrize(
    ("one", "two", "fits"),
    [
        (Shard(), Shard(), False),
        (Shard(1, 2), Shard(2, 2), True),
        (Shard(1, 2), Shard(1, 2), False),
        (Shard(1, 2), Shard(2, 3), False),
        (Shard(), Shard(1, 2), False),
        (Shard(1, 2), Shard(), False),
    ],
)
def test_two_processes_work_only_on_parts_of_one_division(tmp_path, one, two, fits):
    with lock_output(tmp_path, one):
        if fits:
            with lock_output(tmp_path, two):
                pass
        else:
            with (
                pytest.raises(WriteError, match="another process is at work"),
                lock_output(tmp_path, two),
            ):
                pass
    with lock_output(tmp_path, two):
        pass


def test_what_a_killed_process_left_unfinished_is_removed(tmp_path):
    (tmp_path / "deep").mkdir()
    left = [tmp_path / ".1-2.partial", tmp_path / "deep" / ".1-2.partial"]
    for path in left:
        path.write_bytes(b"half")
    with lock_output(tmp_path, Shard()):
        assert not any(path.exists() for path in left)
