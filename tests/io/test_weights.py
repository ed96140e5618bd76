import h5py
import numpy as np
import pytest

from jaxstyle import load_weights
from jaxstyle.errors import WeightsError, WriteError
from jaxstyle.io.weights import read_weights, weights_path, write_weights
from jaxstyle.vgg19 import PARAM_SHAPES


@pytest.fixture(scope="module")
def small_shapes():
    """Shapes of a one-layer network."""
    return {"color": {"kernel": (3, 3), "bias": (3,)}, "conv1_1": {"kernel": (3, 3, 3, 64)}}


@pytest.fixture
def leaves(small_shapes, random):
    return {
        layer: {name: random.normal(size=shape).astype(np.float32) for name, shape in group.items()}
        for layer, group in small_shapes.items()
    }


def test_written_weights_are_read_back(tmp_path, small_shapes, leaves):
    path = tmp_path / "w.h5"
    write_weights(path, leaves, "float32", source="a test", license="none")
    stored, attributes = read_weights(path, small_shapes)
    for layer, group in leaves.items():
        for name, leaf in group.items():
            np.testing.assert_array_equal(stored[layer][name], leaf)
    assert attributes["source"] == "a test"


def test_float16_applies_to_all_but_the_color_map(tmp_path, small_shapes, leaves):
    write_weights(tmp_path / "w.h5", leaves)
    stored, _ = read_weights(tmp_path / "w.h5", small_shapes)
    assert stored["conv1_1"]["kernel"].dtype == np.float16
    assert stored["color"]["bias"].dtype == np.float32


def test_equal_values_give_equal_files(tmp_path, leaves):
    for name in ("a.h5", "b.h5"):
        write_weights(tmp_path / name, leaves)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_embedded_file_records_its_source():
    leaves, attributes = read_weights(weights_path())
    assert set(leaves) == set(PARAM_SHAPES)
    assert attributes["license"] == "MIT"
    assert attributes["source_sha256"].startswith("804ca283")


def test_filters_are_loaded_as_stored(params):
    leaves, _ = read_weights(weights_path())
    for layer, group in leaves.items():
        for name, leaf in group.items():
            np.testing.assert_array_equal(params[layer][name], leaf)


def test_path_overrides_environment_overrides_embedded(tmp_path, monkeypatch):
    embedded = weights_path()
    one, two = tmp_path / "one.h5", tmp_path / "two.h5"
    one.touch()
    two.touch()
    monkeypatch.setenv("JAXSTYLE_WEIGHTS", str(two))
    assert weights_path() == two
    assert weights_path(one) == one
    monkeypatch.delenv("JAXSTYLE_WEIGHTS")
    assert weights_path() == embedded


def test_the_working_directory_is_never_searched(tmp_path, monkeypatch):
    (tmp_path / "vgg19.h5").touch()
    monkeypatch.chdir(tmp_path)
    assert weights_path().parent.resolve() != tmp_path.resolve()


def test_missing_files_are_errors_with_the_origin_of_the_path(tmp_path, monkeypatch):
    with pytest.raises(WeightsError, match=r"none.h5 does not exist"):
        load_weights(tmp_path / "none.h5")
    monkeypatch.setenv("JAXSTYLE_WEIGHTS", str(tmp_path / "none.h5"))
    with pytest.raises(WeightsError, match=r"from \$JAXSTYLE_WEIGHTS"):
        load_weights()


def test_truncated_file_is_an_error(tmp_path):
    data = weights_path().read_bytes()
    (tmp_path / "half.h5").write_bytes(data[: len(data) // 2])
    with pytest.raises(WeightsError, match=r"half.h5 .* is not a complete HDF5 file"):
        load_weights(tmp_path / "half.h5")


def test_a_changed_value_fails_the_checksum(tmp_path, small_shapes, leaves):
    path = tmp_path / "w.h5"
    write_weights(path, leaves, "float32")
    with h5py.File(path, "r+") as file:
        file["conv1_1/kernel"][0, 0, 0, 0] += 1
    with pytest.raises(WeightsError, match="is damaged"):
        read_weights(path, small_shapes)


def test_another_network_is_an_error_with_the_first_wrong_leaf(tmp_path, leaves):
    path = tmp_path / "w.h5"
    write_weights(path, leaves)
    with pytest.raises(WeightsError, match="no conv1_1/bias"):
        load_weights(path)
    leaves["conv1_1"] = {"kernel": leaves["conv1_1"]["kernel"][..., :32], "bias": np.zeros(64)}
    write_weights(path, leaves)
    with pytest.raises(WeightsError, match=r"conv1_1/kernel has shape \(3, 3, 3, 32\); it must be"):
        load_weights(path)


def test_values_that_are_not_finite_are_errors(tmp_path, small_shapes, leaves):
    write_weights(tmp_path / "w.h5", leaves)
    with h5py.File(tmp_path / "w.h5", "r+") as file:
        file["color/bias"][0] = np.nan
    with pytest.raises(WeightsError, match="color/bias contains values that are not finite"):
        read_weights(tmp_path / "w.h5", small_shapes)


def test_values_too_large_for_float16_are_not_written(tmp_path, leaves):
    leaves["conv1_1"]["kernel"][0, 0, 0, 0] = 1e5
    with pytest.raises(WeightsError, match="conv1_1/kernel is not finite as float16; use float32"):
        write_weights(tmp_path / "w.h5", leaves)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_float32_is_no_advice_for_values_that_are_not_finite(tmp_path, leaves, dtype):
    leaves["conv1_1"]["kernel"][0, 0, 0, 0] = np.nan
    with pytest.raises(WeightsError, match=f"not finite as {dtype}; correct the source"):
        write_weights(tmp_path / "w.h5", leaves, dtype)


def test_an_unwritable_path_is_an_error(tmp_path, leaves):
    with pytest.raises(WriteError, match=r"cannot write .*none/w.h5"):
        write_weights(tmp_path / "none" / "w.h5", leaves)
