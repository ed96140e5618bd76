"""The compilation cache with damaged entries, without a folder, and in several processes."""

import logging
import os
import subprocess
import sys
import warnings
import zlib
from collections import Counter
from pathlib import Path

import jax
import pytest
from filelock import FileLock
from jax._src.lru_cache import LRUCache
from jax.experimental.compilation_cache import compilation_cache

from jaxstyle.host import enable_compilation_cache

_PREFIX = "/jax/compilation_cache/cache_"
_SETTINGS = (
    "jax_compilation_cache_dir",
    "jax_compilation_cache_max_size",
    "jax_persistent_cache_min_compile_time_secs",
)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Return a function that does what a new process does: enable the cache, and compile.

    It returns what happened to the cache. Python's warnings are errors in tests.
    """
    settings = {name: jax.config.values[name] for name in _SETTINGS}
    logger = logging.getLogger("jax._src.compiler")
    level, filters = logger.level, list(logger.filters)
    events = Counter()

    def count(event, **_):
        events[event.removeprefix(_PREFIX)] += 1

    def reset():
        compilation_cache.reset_cache()
        jax.clear_caches()
        logger.setLevel(logging.NOTSET)
        logger.filters.clear()

    def run(number=1):
        jax.config.update("jax_compilation_cache_dir", None)
        reset()
        events.clear()
        enable_compilation_cache()
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        with jax.numpy_dtype_promotion("standard"):
            assert float(jax.jit(lambda x: x * 3 + number)(2.0)) == 6 + number
        return {name: events[name] for name in ("hits", "misses")}

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for name in _SETTINGS:
        monkeypatch.delenv(name.upper(), raising=False)
    jax.monitoring.register_event_listener(count)
    yield run
    jax.monitoring.unregister_event_listener(count)
    for name, value in settings.items():
        jax.config.update(name, value)
    reset()
    logger.setLevel(level)
    logger.filters.extend(filters)


READ, ADDED, NOTHING = {"hits": 1, "misses": 0}, {"hits": 0, "misses": 1}, {"hits": 0, "misses": 0}


def entry(folder):
    (path,) = folder.glob("*-cache")
    return path


def cut(path, part):
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])


DAMAGES = {
    "no time stamp": lambda path: Path(str(path).replace("-cache", "-atime")).unlink(),
    "empty": lambda path: cut(path, 0),
    "half": lambda path: cut(path, 0.5),
    "one byte short": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "garbage": lambda path: path.write_bytes(bytes(range(256)) * 8),
    "compressed garbage": lambda path: path.write_bytes(zlib.compress(bytes(1000))),
    "another version": lambda path: path.write_bytes(zlib.compress(b"\0\0\0\1" + os.urandom(99))),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_entry_is_replaced(tmp_path, run, capfd, damage):
    assert (run(), run()) == (ADDED, READ)
    path = entry(tmp_path / "jaxstyle")
    whole = len(path.read_bytes())
    DAMAGES[damage](path)
    assert (run(), run()) == (ADDED, READ)
    assert len(path.read_bytes()) == pytest.approx(whole, rel=0.1)
    assert capfd.readouterr() == ("", "")


def test_an_entry_without_its_time_stamp_does_not_keep_others_out(tmp_path, run):
    assert run(1) == ADDED
    DAMAGES["no time stamp"](entry(tmp_path / "jaxstyle"))
    assert run(2) == ADDED
    assert run(2) == READ


def test_entries_stay_if_the_user_removes_the_limit(tmp_path, run, monkeypatch):
    # JAX writes no time stamps then.
    monkeypatch.setenv("JAX_COMPILATION_CACHE_MAX_SIZE", "-1")
    jax.config.update("jax_compilation_cache_max_size", -1)
    assert [run(), run()] == [ADDED, READ]
    cut(entry(tmp_path / "jaxstyle"), 0.5)
    assert [run(), run()] == [ADDED, READ]


def test_the_log_of_jax_keeps_its_level(run, caplog):
    with caplog.at_level(logging.WARNING):
        run()
    assert caplog.records == []
    with caplog.at_level(logging.DEBUG, "jax"):
        run()
    assert any("with key" in record.message for record in caplog.records)


def test_other_users_cannot_read_or_write_the_folder(tmp_path, run):
    # Whoever writes an entry decides what the program does.
    run()
    assert (tmp_path / "jaxstyle").stat().st_mode & 0o777 == 0o700


def test_a_stamp_that_is_no_number_does_no_harm(tmp_path, run):
    run(1)
    Path(str(entry(tmp_path / "jaxstyle")).replace("-cache", "-atime")).write_bytes(b"x" * 100)
    assert [run(1), run(2), run(1)] == [READ, ADDED, READ]


def test_other_files_in_the_folder_stay(tmp_path, run):
    (tmp_path / "jaxstyle").mkdir()
    for name in ("notes.txt", "a-cache.bak", "b-atime"):
        (tmp_path / "jaxstyle" / name).touch()
    run()
    assert {"notes.txt", "a-cache.bak", "b-atime"} < {
        p.name for p in (tmp_path / "jaxstyle").iterdir()
    }


def make_file(folder, _):
    folder.write_bytes(b"mine")


def make_loop(folder, _):
    folder.symlink_to(folder)


def make_unwritable(folder, monkeypatch):
    # Root can write to a read-only folder, so pretend that access is denied.
    folder.mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: False)


def make_lock_a_folder(folder, _):
    (folder / ".lockfile").mkdir(parents=True)


def remove_home(folder, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(folder / "none"))


def forget_home(folder, monkeypatch):
    def fail():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", fail)


@pytest.mark.parametrize(
    "make",
    [make_file, make_loop, make_unwritable, make_lock_a_folder, remove_home, forget_home],
)
def test_without_a_usable_folder_there_is_no_cache(tmp_path, run, monkeypatch, capfd, make):
    make(tmp_path / "jaxstyle", monkeypatch)
    before = sorted(tmp_path.rglob("*"))
    assert run() == NOTHING
    assert sorted(tmp_path.rglob("*")) == before
    assert capfd.readouterr() == ("", "")


def test_a_relative_cache_folder_is_ignored(tmp_path, run, monkeypatch):
    # As the XDG specification says.
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", "cache")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert run() == ADDED
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_a_folder_that_disappears_does_no_harm(tmp_path, run, capfd):
    run()
    (tmp_path / "jaxstyle").rename(tmp_path / "moved")
    jax.clear_caches()
    assert jax.jit(lambda x: x - 7)(jax.numpy.float32(2)) == -5
    assert capfd.readouterr() == ("", "")


def test_a_full_disk_does_no_harm(tmp_path, run, monkeypatch, capfd):
    def fail(cache, key, value):
        (cache.path / f"{key}-cache").write_bytes(value[: len(value) // 2])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(LRUCache, "put", fail)
        assert run() == ADDED
    assert (run(), run()) == (ADDED, READ)
    assert capfd.readouterr() == ("", "")


def test_a_lock_that_another_process_holds_delays_the_start_only(tmp_path, run, monkeypatch):
    monkeypatch.setattr("jaxstyle.host._LOCK_SECONDS", 0.01)
    monkeypatch.setattr(LRUCache.__init__, "__kwdefaults__", {"lock_timeout_secs": 0.01})
    (tmp_path / "jaxstyle").mkdir()
    with FileLock(tmp_path / "jaxstyle" / ".lockfile"):
        run()
    assert (run(), run()) == (ADDED, READ)


def test_warnings_of_a_folder_of_the_user_are_silent_too(tmp_path, run, monkeypatch):
    (tmp_path / "file").touch()
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "file"))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        enable_compilation_cache()
        compilation_cache.reset_cache()
        jax.jit(lambda x: x - 8)(jax.numpy.float32(2)).block_until_ready()
    assert caught == []


PROGRAM = """
import sys
import jax
from jaxstyle.host import enable_compilation_cache
enable_compilation_cache()
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
for i in range(12):
    assert float(jax.jit(lambda x: x * 3 + i)(2.0)) == 6 + i
"""


@pytest.mark.slow
def test_two_processes_at_once_share_the_cache(tmp_path, run):
    names = [name for name in os.environ if not name.startswith("JAX_")]
    environ = {name: os.environ[name] for name in names}
    damaged = tmp_path / "jaxstyle" / "x-cache"
    for _ in range(2):
        damaged.parent.mkdir(exist_ok=True)
        damaged.touch()
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", PROGRAM],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=environ,
            )
            for _ in range(2)
        ]
        for process in processes:
            out, _ = process.communicate(timeout=60)
            assert (process.returncode, out) == (0, b"")
        files = Counter(path.name.rsplit("-", 1)[-1] for path in damaged.parent.iterdir())
        assert files["cache"] == files["atime"] >= 12
