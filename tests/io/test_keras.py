"""Converters, tested on files that the other frameworks wrote."""

import os
import re

import h5py
import numpy as np
import pytest

from jaxstyle import features, load_weights
from jaxstyle.cli import main
from jaxstyle.errors import WeightsError
from jaxstyle.io.keras import CONVS, from_keras
from jaxstyle.vgg19 import PARAM_SHAPES

os.environ["KERAS_BACKEND"] = "jax"
# Keras warns about its older file format and about NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")


def relative_error(values, expected):
    return np.abs(np.asarray(values) - expected).max() / np.abs(expected).max()


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).random((32, 48, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def keras_model():
    import keras

    keras.utils.set_random_seed(0)
    return keras.applications.VGG19(weights=None, include_top=False, input_shape=(32, 48, 3))


def save_keras(model, path, layout):
    if layout == "keras 3":
        model.save_weights(path)
    elif layout == "whole model":
        model.save(path)
    else:
        from keras.src.legacy.saving import legacy_h5_format

        with h5py.File(path, "w") as file:
            legacy_h5_format.save_weights_to_hdf5_group(file, model)


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["keras 3", "whole model", "keras 2"])
def test_keras_files_give_the_features_of_keras(tmp_path, keras_model, image, layout):
    import keras

    source = tmp_path / ("k.weights.h5" if layout == "keras 3" else "k.h5")
    save_keras(keras_model, source, layout)
    out = tmp_path / "out.h5"
    assert main(["weights", "convert", str(source), str(out), "--dtype", "float32"]) == 0
    actual = features(load_weights(out), image, ("pool5",))["pool5"]
    # RGB in [0, 255] to BGR minus the mean.
    inputs = keras.applications.vgg19.preprocess_input(255 * image[None].copy())
    expected = np.asarray(keras_model(inputs))[0]
    assert relative_error(actual, expected) < 1e-4


def test_layer_names_of_the_first_keras_release_are_read(tmp_path):
    # The layout of vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5.
    with h5py.File(tmp_path / "old.h5", "w") as file:
        for name in CONVS:
            layer = f"block{name[4]}_conv{name[6]}"
            for leaf, suffix in (("kernel", "W_1:0"), ("bias", "b_1:0")):
                file[f"{layer}/{layer}_{suffix}"] = np.zeros(PARAM_SHAPES[name][leaf], np.float32)
    assert set(from_keras(tmp_path / "old.h5")) == set(PARAM_SHAPES)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "does not exist"), (b"", "not a complete HDF5 file"), ("empty", "has no conv1_1")],
)
def test_files_without_vgg19_are_errors(tmp_path, content, message):
    path = tmp_path / "bad.h5"
    if content == "empty":
        h5py.File(path, "w").close()
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(WeightsError, match=message):
        from_keras(path)


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch", reason="torch is an extra: pip install '.[convert]'")


@pytest.fixture(scope="module")
def state_dict(torch):
    """VGG19 with the names of torchvision, random weights and a small classifier."""
    torch.manual_seed(0)
    modules = []
    for name in CONVS:
        *_, in_channels, out_channels = PARAM_SHAPES[name]["kernel"]
        modules += [torch.nn.Conv2d(in_channels, out_channels, 3, padding=1), torch.nn.ReLU()]
        if name in ("conv1_2", "conv2_2", "conv3_4", "conv4_4", "conv5_4"):
            modules.append(torch.nn.MaxPool2d(2))
    model = torch.nn.ModuleDict(
        {"features": torch.nn.Sequential(*modules), "classifier": torch.nn.Linear(4, 2)}
    )
    return model


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["torchvision", "caffe"])
@pytest.mark.parametrize("zipped", [True, False])
def test_pytorch_files_give_the_features_of_pytorch(
    tmp_path, torch, state_dict, image, layout, zipped
):
    import convert_vgg19

    source, out = tmp_path / "vgg.pth", tmp_path / "out.h5"
    # The public releases use the older format, which is not a zip archive.
    torch.save(state_dict.state_dict(), source, _use_new_zipfile_serialization=zipped)
    arguments = [str(source), str(out), "--layout", layout, "--dtype", "float32"]
    assert convert_vgg19.main(arguments) == 0
    actual = features(load_weights(out), image, ("pool5",))["pool5"]
    if layout == "torchvision":
        inputs = (image - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    else:
        inputs = 255 * image[..., ::-1] - [103.939, 116.779, 123.68]
    inputs = torch.from_numpy(inputs.astype(np.float32)).permute(2, 0, 1)[None]
    with torch.no_grad():
        expected = state_dict["features"](inputs)[0].permute(1, 2, 0).numpy()
    assert relative_error(actual, expected) < 1e-4


def test_unknown_pytorch_files_need_a_layout(tmp_path, torch, state_dict, capsys):
    import convert_vgg19

    torch.save(state_dict.state_dict(), tmp_path / "vgg.pth")
    assert convert_vgg19.main([str(tmp_path / "vgg.pth"), str(tmp_path / "out.h5")]) == 4
    assert "--layout" in capsys.readouterr().err
    assert not (tmp_path / "out.h5").exists()


class Hostile:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def expanded(torch, *shape):
    return torch.zeros(1).expand(*shape)


# State dicts that are not VGG19 of the layout of torchvision, from the modules of one that is.
FOREIGN = {
    "pickle": (lambda torch, state, path: Hostile(path), "is not a PyTorch state dict"),
    "list": (lambda torch, state, path: [1, 2], "is not a PyTorch state dict"),
    "tensor": (lambda torch, state, path: torch.zeros(2), "is not a PyTorch state dict"),
    "empty": (lambda torch, state, path: {}, "has 0 convolutions; the layout torchvision has 16"),
    "number as a name": (
        lambda torch, state, path: {3: torch.zeros(2, 3, 1, 1)},
        "has a convolution without a bias",
    ),
    "huge": (
        lambda torch, state, path: (
            state | {"features.0.weight": expanded(torch, 10**6, 10**6, 3, 3)}
        ),
        r"conv1_1/kernel has shape \(1000000, 1000000, 3, 3\); in this layout it is \(64, 3, 3, 3\)",
    ),
    "bias that is no tensor": (
        lambda torch, state, path: state | {"features.0.bias": "x"},
        r"conv1_1/bias has shape \(\)",
    ),
    "integers": (
        lambda torch, state, path: state | {"features.0.bias": torch.zeros(64, dtype=torch.int32)},
        "conv1_1/bias is not a dense tensor of floats",
    ),
    "sparse": (
        lambda torch, state, path: state | {"features.0.bias": torch.zeros(64).to_sparse()},
        "conv1_1/bias is not a dense tensor of floats",
    ),
    "infinite": (
        lambda torch, state, path: state | {"features.0.bias": torch.full((64,), torch.inf)},
        "conv1_1/bias is not finite",
    ),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_pytorch_files_of_other_content_are_one_line_errors(
    tmp_path, torch, state_dict, capsys, case
):
    import convert_vgg19

    make, message = FOREIGN[case]
    source, made = tmp_path / "vgg.pth", tmp_path / "made"
    torch.save(make(torch, state_dict.state_dict(), made), source)
    arguments = [str(source), str(tmp_path / "out.h5"), "--layout", "torchvision"]
    assert convert_vgg19.main(arguments) == 4
    captured = capsys.readouterr()
    assert re.search(message, captured.err)
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert list(tmp_path.iterdir()) == [source]


def test_damaged_pytorch_files_are_one_line_errors(tmp_path, torch, capsys):
    import convert_vgg19

    source = tmp_path / "vgg.pth"
    torch.save({"features.0.weight": torch.zeros(4, 3, 3, 3)}, source)
    data = source.read_bytes()
    arguments = [str(source), str(tmp_path / "out.h5"), "--layout", "torchvision"]
    for i in range(50):
        source.write_bytes(data[: len(data) * i // 50])
        assert convert_vgg19.main(arguments) == 4
        assert capsys.readouterr().err.count("\n") == 1
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.slow
def test_conversion_can_normalize(tmp_path, keras_model, image, content):
    from jaxstyle import write_image

    save_keras(keras_model, tmp_path / "k.weights.h5", "keras 3")
    write_image(tmp_path / "picture.png", content)
    arguments = ["weights", "convert", str(tmp_path / "k.weights.h5"), str(tmp_path / "n.h5")]
    # Random filters rarely activate, so normalization gives them weights beyond float16.
    arguments += ["--dtype", "float32"]
    assert main([*arguments, "--normalize", str(tmp_path / "picture.png")]) == 0
    from jaxstyle import read_image

    written = read_image(tmp_path / "picture.png")
    mean = features(load_weights(tmp_path / "n.h5"), written, ("relu3_1",))["relu3_1"].mean((0, 1))
    assert abs(np.median(mean) - 1) < 0.01
