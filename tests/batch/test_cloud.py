"""Batches whose files are in an object store: a real S3 server of this machine."""

import threading
import time

import numpy as np
import pytest

import jaxstyle
from jaxstyle.batch import lines, remote_lock
from jaxstyle.batch.find import find_images, find_skipped, search_root
from jaxstyle.batch.jobs import Defaults, read_job_file
from jaxstyle.batch.ledger import Ledger, Shard
from jaxstyle.batch.locks import lock_output
from jaxstyle.batch.names import subfolder
from jaxstyle.cli import main
from jaxstyle.errors import ImageReadError, WriteError
from jaxstyle.io import images, remote
from jaxstyle.io.atomic import file_sha256, file_stamp, write_bytes
from jaxstyle.io.remote import downloads, to_path

pytest.importorskip("moto", reason="needs '.[s3]'")
OPTIONS = ["--size", "32", "--min-size", "32", "--steps", "3", "--batch-size", "1"]
OPTIONS += ["--style-layers", "relu1_1", "--content-layers", "relu2_1"]


@pytest.fixture(scope="module")
def server():
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(server, monkeypatch, request):
    """An empty bucket."""
    import s3fs

    for name, value in (
        ("AWS_ENDPOINT_URL", server),
        ("AWS_ACCESS_KEY_ID", "x"),
        ("AWS_SECRET_ACCESS_KEY", "x"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
    ):
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    fs = s3fs.S3FileSystem()
    name = f"bucket{abs(hash(request.node.name))}"
    fs.mkdir(name)
    return to_path(f"s3://{name}/files")


@pytest.fixture
def pictures(bucket):
    """Three photographs and a style image in a bucket, and a file that is no image."""
    for number, name in enumerate(("photos/a.png", "photos/b.png", "photos/c.png", "styles/s.png")):
        pixels = np.random.default_rng(number).random((24 + 8 * (number % 2), 32, 3))
        data = images.encode_image(pixels.astype(np.float32), "PNG")
        write_bytes(bucket / name, data)
    write_bytes(bucket / "photos" / "notes.txt", b"notes")
    return bucket


def batch(bucket, out, *more):
    return main(["batch", f"{bucket}/photos", f"{bucket}/styles", "-o", str(out), *OPTIONS, *more])


def listing(folder):
    folder.fs.invalidate_cache()
    return sorted(name.rpartition("/")[2] for name in folder.fs.ls(folder.path, detail=False))


def records(folder):
    return list(Ledger(folder, Shard()).read())


@pytest.mark.slow
def test_a_batch_in_a_store_gives_the_bytes_of_one_on_a_disk(pictures, tmp_path, capsys):
    out = pictures / "out"
    write_bytes(pictures / "photos" / "bad.png", b"no image")
    assert batch(pictures, tmp_path) == 7
    assert batch(pictures, out) == 7
    assert "bad.png is not an image" in capsys.readouterr().err
    for name in ("a_s.png", "b_s.png", "c_s.png"):
        assert (out / name).read_bytes() == (tmp_path / name).read_bytes()
    names = listing(out)
    assert {"report.html", "contact_sheet.jpg"} <= set(names)
    assert not [name for name in names if name.endswith((".lock", ".partial"))]
    assert batch(pictures, out) == 7
    assert "3 done before, nothing to do" in capsys.readouterr().err
    # A changed input, and a result that is gone.
    write_bytes(pictures / "photos" / "a.png", (pictures / "photos" / "b.png").read_bytes())
    out.fs.rm_file((out / "b_s.png").path)
    assert batch(pictures, out) == 7
    assert "1 done before, 2 to do" in capsys.readouterr().err


@pytest.mark.slow
def test_unchanged_files_are_not_downloaded(pictures, monkeypatch):
    assert batch(pictures, pictures / "out", "--no-report") == 0
    read = []
    fs = type(pictures.fs)
    for name in ("_cat_file", "_info"):
        method = getattr(fs, name)

        async def observe(self, path, *args, method=method, **kwargs):
            read.append(path)
            return await method(self, path, *args, **kwargs)

        monkeypatch.setattr(fs, name, observe)
    assert batch(pictures, pictures / "out", "--no-report") == 0
    assert not [path for path in read if path.endswith(".png") and "photos" in path]


def test_folders_globs_and_files_of_a_store_are_found(pictures):
    def names(source):
        return [path.name for path in find_images(source)]

    assert names(f"{pictures}/photos/") == names(f"{pictures}/photos/*.png")
    assert names(f"{pictures}/photos") == ["a.png", "b.png", "c.png"]
    assert names(f"{pictures}/**/s.png") == ["s.png"]
    assert names(f"{pictures}/photos/b.png") == ["b.png"]
    assert [path.name for path in find_skipped(f"{pictures}/photos")] == ["notes.txt"]
    root = search_root(f"{pictures}/**/*.png")
    assert subfolder(pictures / "photos" / "a.png", root) == "photos"
    for source in (f"{pictures}/missing", "s3://no-such-bucket/photos"):
        with pytest.raises(ImageReadError, match="does not exist"):
            find_images(source)


@pytest.mark.parametrize(
    "url", ["file:///tmp/a.png", "github://a:b@/x", "http://host/a.png", "x://a"]
)
def test_only_object_stores_are_used(url):
    with pytest.raises(ValueError, match="is not a URL that can be used"):
        to_path(url)


def test_local_and_remote_folders_can_be_mixed(pictures, tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("x")
    write_bytes(tmp_path / "a.png", (pictures / "photos" / "a.png").read_bytes())
    write_bytes(pictures / "styles" / "more.txt", b"x")
    arguments = [str(tmp_path), f"{pictures}/styles", "-o", str(tmp_path / "out")]
    assert main(["batch", *arguments, *OPTIONS, "--dry-run"]) == 0
    assert "2 files skipped" in capsys.readouterr().err


def test_large_files_are_not_downloaded(pictures, monkeypatch):
    monkeypatch.setattr(remote, "_MAX_DOWNLOAD_BYTES", 10)
    with downloads(), pytest.raises(ImageReadError, match="it has more than"):
        images.read_shape(pictures / "photos" / "a.png")


def test_a_file_changes_its_stamp(pictures):
    path = pictures / "photos" / "a.png"
    first = file_stamp(path)
    assert file_stamp(path) == first
    write_bytes(path, b"x" * int(first[0]))
    assert file_stamp(path) != first
    with pytest.raises(FileNotFoundError):
        file_stamp(pictures / "missing.png")


def test_a_file_is_downloaded_once(pictures, monkeypatch):
    path, downloaded = pictures / "photos" / "a.png", []
    cat_file = path.fs.cat_file
    monkeypatch.setattr(path.fs, "cat_file", lambda key: (downloaded.append(key), cat_file(key))[1])
    with downloads():
        shape, pixels = images.read_shape(path), jaxstyle.read_image(str(path))
        file_sha256(path)
    assert shape == pixels.shape[:2]
    assert len(downloaded) == 1
    assert images.read_shape(path) == shape


def test_records_are_kept_in_parts(bucket, monkeypatch):
    monkeypatch.setattr(lines, "_PART_LINES", 3)
    monkeypatch.setattr(lines, "_READ_AT_ONCE", 2)
    ledgers = [Ledger(bucket / "out", Shard()) for _ in range(2)]
    for number in range(8):
        ledgers[number % 2].append({"output": f"{number}.png", "status": "done"})
    ledgers[0].append(*({"output": f"{number}.png"} for number in range(8, 16)))
    assert {record["output"] for record in records(bucket / "out")} == {
        f"{number}.png" for number in range(16)
    }
    assert (
        max(len((bucket / "out" / n).read_bytes().splitlines()) for n in listing(bucket / "out"))
        == 3
    )


def test_records_of_workers_are_merged(bucket):
    out = bucket / "out"
    ledger, worker = Ledger(out, Shard()), Ledger(out, Shard(), worker=3)
    ledger.append({"output": "a.png"})
    worker.append({"output": "b.png"})
    assert [record["output"] for record in worker.read_own()] == ["b.png"]
    ledger.merge()
    ledger.merge()
    assert sorted(record["output"] for record in ledger.read_own()) == ["a.png", "b.png"]
    assert not [name for name in listing(out) if "worker" in name]


@pytest.fixture
def quick_locks(monkeypatch):
    monkeypatch.setattr(remote_lock, "_BEAT_SECONDS", 0.1)
    monkeypatch.setattr(remote_lock, "_PATIENCE_SECONDS", 1.0)


def test_a_folder_is_locked(bucket, quick_locks):
    out = bucket / "out"
    with lock_output(out, Shard()):
        for shard in (Shard(), Shard(1, 2)):
            lock = lock_output(out, shard)
            with pytest.raises(WriteError, match="another process is writing"), lock:
                pass
    with lock_output(out, Shard(1, 2)), lock_output(out, Shard(2, 2)):
        pass
    bucket.fs.invalidate_cache()
    assert bucket.fs.find(bucket.path) == []


def test_the_lock_of_a_killed_process_is_taken(bucket, quick_locks):
    out = bucket / "out"
    write_bytes(out / ".jaxstyle-1-of-1.lock", b"other 7")
    began = time.monotonic()
    with lock_output(out, Shard()):
        assert time.monotonic() - began >= 1.0
        assert b"other" not in (out / ".jaxstyle-1-of-1.lock").read_bytes()


def test_of_two_that_wait_for_a_killed_process_one_gets_the_lock(bucket, quick_locks):
    out, got = bucket / "out", []
    write_bytes(out / ".jaxstyle-1-of-1.lock", b"other 7")
    done = threading.Event()

    def attempt():
        try:
            with lock_output(out, Shard()):
                got.append(True)
                done.wait(3)
        except WriteError:
            got.append(False)
            done.set()

    threads = [threading.Thread(target=attempt) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got) == [False, True]


@pytest.mark.parametrize(
    ("out", "code", "message"),
    [
        ("s3://no-such-bucket/out", 6, "there is no such bucket"),
        ("xyz://bucket/out", 2, "is not a URL that can be used"),
    ],
)
def test_bad_urls_are_one_line(pictures, capsys, out, code, message):
    assert batch(pictures, out) == code
    assert message in capsys.readouterr().err.strip().splitlines()[-1]


@pytest.mark.slow
def test_a_store_that_does_not_answer_is_one_line(pictures, capsys, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    type(pictures.fs).clear_instance_cache()
    assert batch(pictures, "out") == 3
    assert "Could not connect" in capsys.readouterr().err


def test_urls_in_a_job_file(pictures, tmp_path):
    job_file = tmp_path / "jobs.csv"
    job_file.write_text(f"content,style\n{pictures}/photos/a.png,s.png\n")
    (job,) = read_job_file(job_file, Defaults("default", {}))
    assert job.content == pictures / "photos" / "a.png"
    assert job.styles == (tmp_path / "s.png",)
