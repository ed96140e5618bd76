"""Hostile and damaged HDF5 files: one line of error, and nothing read before it is checked."""

import os
import resource
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest

from jaxstyle.errors import WeightsError
from jaxstyle.io import hdf5
from jaxstyle.io.keras import CONVS, from_keras
from jaxstyle.io.weights import read_weights, write_weights
from jaxstyle.vgg19 import PARAM_SHAPES

SHAPES = {"conv1_1": {"kernel": (3, 3, 3, 64), "bias": (64,)}}
NAME = "conv1_1/bias"
# A plain file of the same network, which links and external storage can point to.
OTHER = "other.h5"


def link(file, target):
    file[NAME] = target


def external(file):
    file.create_dataset(NAME, (64,), np.float32, external=[("secret.bin", 0, 256)])


def virtual(file):
    layout = h5py.VirtualLayout((64,), np.float32)
    layout[:] = h5py.VirtualSource(OTHER, NAME, (64,))
    file.create_virtual_dataset(NAME, layout)


def plain(file, values, **options):
    file.create_dataset(NAME, data=values, **options)


def declared(file, shape, dtype=np.float32, **options):
    file.create_dataset(NAME, shape, dtype, **options)


def wide_chunk(file):
    declared(file, (64,), maxshape=(None,), chunks=(2**29,), compression="gzip")


def bomb(file):
    """A chunk of 256 bytes, which holds 128 MiB."""
    declared(file, (64,), chunks=(64,), compression="gzip")
    data = zlib.compress(bytes(2**27), 1)
    file[NAME].id.write_direct_chunk((0,), data)


def unknown_filter(file):
    """A filter that only a plugin provides."""
    space = h5py.h5s.create_simple((64,))
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk((64,))
    plist.set_filter(32015, h5py.h5z.FLAG_OPTIONAL, (3,))
    h5py.h5d.create(file.id, NAME.encode(), h5py.h5t.IEEE_F32LE, space, plist, _made_groups())


def _made_groups():
    plist = h5py.h5p.create(h5py.h5p.LINK_CREATE)
    plist.set_create_intermediate_group(True)
    return plist


HOSTILE = {
    "external link": (lambda f: link(f, h5py.ExternalLink(OTHER, NAME)), "is a link"),
    "soft link": (lambda f: link(f, h5py.SoftLink("/conv1_1/kernel")), "is a link"),
    "loop of links": (lambda f: link(f, h5py.SoftLink(f"/{NAME}")), "is a link"),
    "external storage": (external, "keeps its values in another file"),
    "virtual dataset": (virtual, "keeps its values in another file"),
    "huge": (lambda f: declared(f, (10**12,), chunks=(64,), compression=9), "has shape"),
    "no space": (lambda f: plain(f, h5py.Empty(np.float32)), "has shape None"),
    "group": (lambda f: f.create_group(NAME), f"has no {NAME}"),
    "type": (lambda f: f.__setitem__(NAME, np.dtype("f4")), f"has no {NAME}"),
    "integers": (lambda f: plain(f, np.zeros(64, np.int32)), "has dtype int32"),
    "complex": (lambda f: plain(f, np.zeros(64, np.complex64)), "has dtype complex64"),
    "long": (lambda f: plain(f, np.zeros(64, np.longdouble)), "has dtype"),
    "compound": (lambda f: plain(f, np.zeros(64, [("\x1b[31m", "f4")])), r"has dtype \[\('\\x1b"),
    "text": (lambda f: declared(f, (64,), h5py.string_dtype()), "has dtype object"),
    "references": (lambda f: declared(f, (64,), h5py.ref_dtype), "has dtype object"),
    "lists": (lambda f: declared(f, (64,), h5py.vlen_dtype(np.float32)), "has dtype object"),
    "another filter": (lambda f: declared(f, (64,), compression="lzf"), r"filters \[32000\]"),
    "plugin": (unknown_filter, r"filters \[32015\]; store it with gzip"),
    "wide chunk": (wide_chunk, "in chunks of shape"),
    "bomb": (bomb, "longer than declared"),
    "too large": (lambda f: plain(f, np.full(64, 1e300)), "not finite in float32"),
    "infinite": (lambda f: plain(f, np.full(64, np.inf, np.float16)), "not finite in float32"),
    "filled with NaN": (lambda f: declared(f, (64,), fillvalue=np.nan), "not finite in float32"),
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working folder, with files that a hostile file can refer to."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secret.bin").write_bytes(bytes(256))
    write_weights(
        tmp_path / OTHER, {"conv1_1": {n: np.zeros(s) for n, s in SHAPES["conv1_1"].items()}}
    )
    return tmp_path


def assert_one_line(error):
    text = str(error)
    assert text.isprintable()
    assert len(text) < 400
    assert text.endswith(".")


@pytest.mark.parametrize("case", HOSTILE)
def test_a_dataset_that_is_no_plain_array_is_refused(folder, case):
    edit, message = HOSTILE[case]
    with h5py.File("w.h5", "w") as file:
        file["conv1_1/kernel"] = np.zeros(SHAPES["conv1_1"]["kernel"], np.float32)
        edit(file)
    with pytest.raises(WeightsError, match=message) as caught:
        read_weights(folder / "w.h5", SHAPES)
    assert_one_line(caught.value)


def test_refusing_a_bomb_takes_little_memory(folder):
    with h5py.File("w.h5", "w") as file:
        file["conv1_1/kernel"] = np.zeros(SHAPES["conv1_1"]["kernel"], np.float32)
        bomb(file)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(WeightsError):
        read_weights(folder / "w.h5", SHAPES)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"chunks": (16,), "compression": 9, "shuffle": True, "fletcher32": True},
        {"chunks": (64,), "maxshape": (None,), "compression": 1},
    ],
)
@pytest.mark.parametrize("dtype", ["<f2", ">f4", "<f8"])
def test_the_ways_to_store_plain_arrays_are_read(folder, random, dtype, options):
    # The smallest float16 is subnormal; random bytes do not compress and are stored as they are.
    values = random.normal(size=64).astype(dtype)
    values[0] = 6e-8
    with h5py.File("w.h5", "w") as file:
        plain(file, values, **options)
    leaves, _ = read_weights(folder / "w.h5", {"conv1_1": {"bias": (64,)}})
    np.testing.assert_array_equal(leaves["conv1_1"]["bias"], values)


def test_an_attribute_that_is_no_short_text_is_left_out(folder):
    with h5py.File(OTHER, "r+") as file:
        del file.attrs["sha256"]
        file.attrs["number"] = 3
        file.attrs["fixed"] = np.bytes_(b"caf\xc3\xa9")
        file.attrs["long"] = "x" * 20_000
        file.attrs["list"] = ["a", "b"]
        file.attrs["empty"] = h5py.Empty("f4")
        file.attrs["reference"] = file["conv1_1"].ref
    _, attributes = read_weights(folder / OTHER, SHAPES)
    assert attributes == {"dtype": "float16", "fixed": "café"}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (os.mkfifo, "is not a regular file"),
        (os.mkdir, "is not a regular file"),
        (lambda path: Path(path).symlink_to("/dev/zero"), "is not a regular file"),
        (lambda path: Path(path).symlink_to(path), "Too many levels of symbolic links"),
    ],
)
def test_what_is_no_regular_file_is_refused_at_once(folder, make, message):
    make("x.h5")
    for read in (read_weights, from_keras):
        with pytest.raises(WeightsError, match=message):
            read(folder / "x.h5")


@pytest.mark.parametrize("name", ["x" * 300, "x\0y"])
def test_an_impossible_name_is_an_error(folder, name):
    with pytest.raises(WeightsError, match="cannot read weights file"):
        hdf5.check_file(folder / name)


def test_a_file_without_permission_is_an_error(folder, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.open", refuse)
    with pytest.raises(WeightsError, match=r"other.h5: Permission denied\."):
        read_weights(folder / OTHER, SHAPES)


def test_damage_anywhere_is_noticed_or_harmless(folder, random, capfd):
    expected, _ = read_weights(folder / OTHER, SHAPES)
    data = (folder / OTHER).read_bytes()
    damaged = [data[: len(data) * i // 50] for i in range(50)]
    for position in random.integers(len(data), size=300):
        changed = bytearray(data)
        changed[position] ^= 1 << random.integers(8)
        damaged.append(bytes(changed))
    refused = 0
    for content in damaged:
        (folder / "w.h5").write_bytes(content)
        try:
            leaves, _ = read_weights(folder / "w.h5", SHAPES)
        except WeightsError as error:
            assert_one_line(error)
            refused += 1
        else:
            np.testing.assert_array_equal(leaves["conv1_1"]["bias"], expected["conv1_1"]["bias"])
    assert refused > 50
    assert capfd.readouterr() == ("", "")


def write_keras(path):
    with h5py.File(path, "w") as file:
        for name in CONVS:
            for leaf, shape in PARAM_SHAPES[name].items():
                dataset = f"block{name[4]}_conv{name[6]}/{leaf}:0"
                file.create_dataset(dataset, shape, np.float32, chunks=shape, compression=1)


KERAS_NAME = "block3_conv2/bias:0"
KERAS_HOSTILE = {
    "external link": (lambda f: h5py.ExternalLink("other.h5", "x"), "is a link"),
    "integers": (lambda f: np.zeros(256, np.int64), "has dtype int64"),
    "too large": (lambda f: np.full(256, 1e300), "not finite in float32"),
    "shape": (
        lambda f: np.zeros(255, np.float32),
        r"no conv3_2 with the shapes .*'bias': \(255,\)",
    ),
    "compound": (lambda f: np.zeros(256, [("x", "f4")]), "has dtype"),
}


@pytest.mark.parametrize("case", KERAS_HOSTILE)
def test_keras_files_are_checked_in_the_same_way(folder, case):
    make, message = KERAS_HOSTILE[case]
    write_keras("k.h5")
    with h5py.File("k.h5", "r+") as file:
        del file[KERAS_NAME]
        file[KERAS_NAME] = make(file)
    with pytest.raises(WeightsError, match=message) as caught:
        from_keras(folder / "k.h5")
    assert_one_line(caught.value)


def test_a_huge_layer_of_keras_is_never_read(folder):
    write_keras("k.h5")
    with h5py.File("k.h5", "r+") as file:
        del file[KERAS_NAME]
        file.create_dataset(KERAS_NAME, (10**12,), np.float32, chunks=(64,), compression=9)
    with pytest.raises(WeightsError, match="no conv3_2 with the shapes"):
        from_keras(folder / "k.h5")


def test_names_that_are_no_text_are_left_out(folder):
    with h5py.File("k.h5", "w") as file:
        file[b"block1_conv1/\xff"] = np.zeros(3)
    with pytest.raises(WeightsError, match=r"no conv1_1 .*found nothing"):
        from_keras(folder / "k.h5")


@pytest.mark.parametrize("case", ["cycle", "deep", "wide"])
def test_groups_that_never_end_are_refused(folder, case):
    with h5py.File("k.h5", "w") as file:
        if case == "wide":
            for i in range(hdf5._MAX_OBJECTS + 1):
                file.create_group(str(i))
        elif case == "cycle":
            for i in range(10):
                file[f"again{i}"] = file["/"]
        else:
            group = file
            for _ in range(3000):
                group = group.create_group("g")
    message = "has more than" if case == "wide" else "has no conv1_1"
    with pytest.raises(WeightsError, match=message):
        from_keras(folder / "k.h5")
