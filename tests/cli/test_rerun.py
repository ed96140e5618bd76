"""`jaxstyle rerun`: an image is made again from its metadata."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from cli.quick import PAINTING, PHOTO, run
from PIL import Image

from jaxstyle import PRESETS, StyleConfig, __version__, read_image, write_image
from jaxstyle.cli.rerun import compare, describe_differences
from jaxstyle.cli.rerun_command import make_command
from jaxstyle.cli.rerun_inputs import Input
from jaxstyle.io.atomic import file_sha256
from jaxstyle.io.origin import parse_origin
from jaxstyle.io.provenance import file_id, metadata, provenance
from jaxstyle.io.weights import weights_path

SIZE = ["--size", "32", "--steps", "2"]
LAYERS = ["--style-layers", "relu1_1", "--content-layers", "relu1_1"]
TINY = [*SIZE, *LAYERS]


def folder_with_inputs(folder):
    for path in (PHOTO, PAINTING):
        shutil.copy(path, folder)
    return folder / "chelsea.jpg", folder / "cafe_terrace.jpg"


@pytest.fixture(scope="module")
def stylized(tmp_path_factory):
    """A folder with a photograph, a painting, and a result with options of its own."""
    folder = tmp_path_factory.mktemp("stylized")
    inputs = folder_with_inputs(folder)
    options = ["--style-weight", "3", "--seed", "7", "--init", inputs[0]]
    assert run("stylize", *inputs, *TINY, *options, "-o", folder / "out.png").code == 0
    return folder


@pytest.fixture
def copied(stylized, tmp_path):
    """A copy of the folder, which a test may change."""
    return shutil.copytree(stylized, tmp_path / "copy")


@pytest.fixture
def recorded(tmp_path):
    """A folder with a photograph, a painting, and a gray image that says it was made from them."""
    photo, painting = folder_with_inputs(tmp_path)
    ids = {"content": [file_id(photo)], "style": [file_id(painting)], "start": [file_id(photo)]}
    record = provenance("stylize", StyleConfig(), ids, file_id(weights_path(None)))
    write_image(tmp_path / "out.png", np.full((16, 16, 3), 0.5), metadata=metadata(record))
    return tmp_path


@pytest.mark.slow
def test_the_new_image_has_the_same_pixels(copied):
    result = run("rerun", copied / "out.png", "-o", copied / "new.png")
    assert result.code == 0
    assert result.out == f"{copied}/new.png: same pixels as {copied}/out.png\n"
    assert (copied / "new.png").read_bytes() == (copied / "out.png").read_bytes()


@pytest.mark.slow
def test_another_input_is_announced_and_the_difference_is_measured(copied):
    other = copied / "other.png"
    write_image(other, 1 - read_image(copied / "chelsea.jpg"))
    arguments = ["--content", other, "-o", copied / "new.png", "--log-format", "json"]
    result = run("rerun", copied / "out.png", *arguments)
    assert result.code == 0
    events = [json.loads(line) for line in result.out.splitlines()]
    assert events[0]["text"] == f"content: {other} is not the recorded file 'chelsea.jpg'"
    (row,) = (event for event in events if event["event"] == "row")
    pixels = [np.asarray(Image.open(copied / name), float) for name in ("out.png", "new.png")]
    difference = np.abs(pixels[0] - pixels[1])
    assert row["same"] is False
    assert row["mean"] == pytest.approx(difference.mean())
    assert row["largest"] == difference.max()


COMMANDS = {
    "texture": ["texture", PAINTING, *SIZE, "--style-layers", "relu1_1", "--aspect", "1.37"],
    "content": ["reconstruct", PHOTO, *SIZE, "--layers", "relu1_1=3,relu1_2"],
    "statistics": ["reconstruct", PAINTING, *SIZE, "--layers", "relu1_1", "--of", "style"],
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("case", "suffix"), [("texture", "jpg"), ("content", "webp"), ("statistics", "tiff")]
)
def test_a_texture_and_a_reconstruction_are_repeated(tmp_path, case, suffix):
    image, new = tmp_path / f"out.{suffix}", tmp_path / f"new.{suffix}"
    folder_with_inputs(tmp_path)
    assert run(*COMMANDS[case], "-o", image).code == 0
    result = run("rerun", image, "-o", new)
    assert result.code == 0, result.err
    assert result.out == f"{new}: same pixels as {image}\n"
    assert new.read_bytes() == image.read_bytes()


def test_a_preview_is_repeated_with_its_strength(tmp_path, monkeypatch):
    calls = []

    def preview(params, content, styles, config, *, strength):
        calls.append((config, strength))
        return content

    monkeypatch.setattr("jaxstyle.transfer.preview", preview)
    folder_with_inputs(tmp_path)
    image, new = tmp_path / "out.png", tmp_path / "new.png"
    options = [*SIZE[:2], "--strength", "0.3", "--color", "match"]
    assert run("preview", PHOTO, PAINTING, *options, "-o", image).code == 0
    assert run("rerun", image, "-o", new).code == 0
    assert calls[0] == calls[1]


def test_a_layer_study_is_repeated_with_its_sets_and_preset(tmp_path, monkeypatch):
    photo, painting = folder_with_inputs(tmp_path)
    image, new = tmp_path / "out.png", tmp_path / "new.png"
    inputs = {"content": [file_id(photo)], "style": [file_id(painting)]}
    config = replace(PRESETS["painterly"], size=96, steps=(2,))
    record = provenance("layers", config, inputs, file_id(weights_path(None)))
    record |= {"sets": [{"relu1_1": 2.0, "relu1_2": 0.1}], "style_weights": (3.0, 4.5)}
    text = metadata(record | {"reconstructions": False})
    write_image(image, np.full((16, 16, 3), 0.5), metadata=text)
    calls = []

    def layers(options, config):
        calls.append((options, config))
        shutil.copy(image, options.output)
        return 0

    monkeypatch.setattr("jaxstyle.cli.layers.layers", layers)
    result = run("rerun", image, "-o", new)
    assert (result.code, result.out) == (0, f"{new}: same pixels as {image}\n")
    ((options, used),) = calls
    assert used == config
    assert (options.content, options.style) == (photo, painting)
    assert (options.set, options.style_weights) == (["relu1_1=2.0,relu1_2=0.1"], (3.0, 4.5))
    assert options.reconstructions is False


@pytest.mark.slow
def test_an_image_of_a_batch_is_repeated(tmp_path):
    photo, painting = folder_with_inputs(tmp_path)
    assert run("batch", photo, painting, *TINY, "-o", tmp_path, "--no-report", "-q").code == 0
    image, new = tmp_path / "chelsea_cafe_terrace.png", tmp_path / "new.png"
    assert run("rerun", image, "-o", new).out == f"{new}: same pixels as {image}\n"


def test_without_an_output_it_shows_what_it_would_do(recorded, monkeypatch):
    monkeypatch.setattr("jaxstyle.transfer.stylize", pytest.fail)
    before = set(recorded.iterdir())
    result = run("rerun", recorded / "out.png")
    assert (result.code, result.err, set(recorded.iterdir())) == (0, "", before)
    assert f"  content  chelsea.jpg: {recorded}/chelsea.jpg\n" in result.out
    line = result.out.splitlines()[-1].removeprefix("  run      jaxstyle ").split()
    inputs = [str(recorded / name) for name in ("chelsea.jpg", "cafe_terrace.jpg")]
    assert line == [
        *("stylize", f"--config={recorded}/out.png", "--output=NEW.png", f"--init={inputs[0]}"),
        *("--", *inputs),
    ]


def test_a_missing_input_is_an_error_with_its_name_and_hash(recorded):
    sha256 = file_sha256(recorded / "cafe_terrace.jpg")
    (recorded / "cafe_terrace.jpg").unlink()
    for arguments in ([], ["-o", recorded / "new.png"]):
        result = run("rerun", recorded / "out.png", *arguments)
        assert (result.code, result.err.count("\n")) == (3, 1)
        assert f"style 'cafe_terrace.jpg' is not found (SHA-256 {sha256})" in result.err
        assert "`--search`, or another file with `--style`" in result.err
    assert not (recorded / "new.png").exists()


def test_a_changed_input_is_not_used(recorded):
    with (recorded / "cafe_terrace.jpg").open("ab") as file:
        file.write(b"\0")
    result = run("rerun", recorded / "out.png", "-o", recorded / "new.png")
    assert result.code == 3
    assert f"is not found: {recorded}/cafe_terrace.jpg is another file" in result.err


def test_inputs_are_found_below_the_folders_of_a_search(recorded):
    (recorded / "a" / "b").mkdir(parents=True)
    for name in ("chelsea.jpg", "cafe_terrace.jpg"):
        (recorded / name).rename(recorded / "a" / "b" / name)
    # A file of the same name that is not the input.
    (recorded / "a" / "chelsea.jpg").write_bytes(b"x")
    assert run("rerun", recorded / "out.png").code == 3
    result = run("rerun", recorded / "out.png", "--search", recorded / "a")
    assert result.code == 0
    assert f"chelsea.jpg: {recorded}/a/b/chelsea.jpg\n" in result.out


def test_recorded_weights_are_found_by_their_hash(recorded):
    shutil.copy(weights_path(None), recorded / "mine.h5")
    change_record(recorded / "out.png", weights={"file": "mine.h5", "sha256": "5" * 64})
    assert "mine.h5" not in run("rerun", recorded / "out.png").out.splitlines()[-1]
    with (recorded / "mine.h5").open("ab") as file:
        file.write(b"\0")
    change_record(recorded / "out.png", weights=file_id(recorded / "mine.h5"))
    assert f"--weights={recorded}/mine.h5" in run("rerun", recorded / "out.png").out


def change_record(path, **changes):
    """Replace entries of the metadata of an image."""
    with Image.open(path) as image:
        record = json.loads(image.text["jaxstyle"]) | changes
    write_image(path, read_image(path), metadata=metadata(record))


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["chelsea.jpg"], 2, "chelsea.jpg carries no metadata of jaxstyle"),
        (["none.png"], 3, "none.png does not exist"),
        (["out.png", "-o", "out.png"], 2, "is the image to repeat; give the new one another name"),
        (["out.png", "-o", "-"], 2, "needs a file to compare, not stdout"),
        (["out.png", "-o", "chelsea.jpg"], 2, "is also an input"),
        (["out.png", "--style", "a", "--style", "b"], 2, "`--style` is given 2 times; the image"),
        (["out.png", "--mask", "a"], 2, "`--mask` is given 1 times; the image was made from 0"),
        (["out.png", "--style", "none.jpg"], 3, "none.jpg cannot be read"),
    ],
)
def test_mistakes_are_one_line(recorded, monkeypatch, arguments, code, message):
    monkeypatch.chdir(recorded)
    result = run("rerun", *arguments)
    assert (result.code, result.out, result.err.count("\n")) == (code, "", 1)
    assert message in result.err


HASH = "0" * 64
INPUTS = {role: [{"file": f"{role}.png", "sha256": HASH}] for role in ("content", "style")}


def origin_of(command="stylize", inputs=INPUTS, **changes):
    record = provenance(command, StyleConfig(), inputs, {"file": "w.h5", "sha256": HASH})
    return parse_origin(json.loads(json.dumps({**record, **changes})))


def differences(*inputs, **changes):
    return list(describe_differences(origin_of(**changes), inputs, "TPU v5 lite"))


def test_nothing_differs_in_a_run_of_the_same_environment():
    assert differences() == []


def test_other_versions_are_told():
    assert differences(jaxstyle="0.1") == [f"made with jaxstyle 0.1, now {__version__}"]
    (line,) = differences(versions={"jax": "0.4.1"})
    assert line.startswith("made with jax 0.4.1, now ")


def test_another_device_is_told():
    assert differences(device="TPU v5 lite") == []
    assert differences(device="cpu") == ["made on cpu, now on TPU v5 lite"]


def test_options_that_were_not_recorded_are_told():
    config = {name: v for name, v in StyleConfig().record.items() if name not in ("conv", "noise")}
    assert differences(config=config) == ["not recorded, so at their defaults: conv, noise"]


def test_an_interrupted_image_is_told():
    assert "step 5 of a run that was stopped" in differences(step=5)[0]


def test_an_input_of_another_hash_is_told(tmp_path):
    item = Input("weights", {"file": "w.h5", "sha256": HASH}, tmp_path, "is not the recorded file")
    assert differences(item) == [f"weights: {tmp_path} is not the recorded file 'w.h5'"]


@pytest.mark.parametrize(
    ("origin", "message"),
    [
        (origin_of(inputs={"style": INPUTS["style"]}), "names 0 files as content"),
        (origin_of("texture", inputs={}), "names 0 files as style"),
        (origin_of("layers", INPUTS | {"style": 2 * INPUTS["style"]}), "names 2 files as style"),
        (origin_of("preview"), "`strength` of the metadata has something else than a number"),
        (origin_of("layers"), "`sets` of the metadata must be a list"),
        (origin_of("layers", sets=[3]), "`sets` of the metadata must be a list of tables"),
    ],
)
def test_a_record_that_does_not_fit_its_command_is_an_error(tmp_path, origin, message):
    paths = {role: [tmp_path] * len(files) for role, files in origin.inputs.items()}
    with pytest.raises(ValueError, match=message):
        make_command(origin, paths, tmp_path / "a.png", tmp_path / "b.png")


def test_names_that_begin_with_a_dash_are_no_options(tmp_path):
    paths = {role: [Path(f"-{role[0]}.png")] for role in ("content", "style", "mask")}
    command = make_command(origin_of(), paths, tmp_path / "a.png", tmp_path / "b.png")
    assert "--mask=-m.png" in command
    assert command[-3:] == ["--", "-c.png", "-s.png"]


def test_images_of_other_sizes_differ():
    before, after = np.zeros((2, 3, 3), np.uint8), np.zeros((2, 3, 4), np.uint8)
    assert compare(before, after) == {"same": False, "size": [3, 2, 4], "recorded_size": [3, 2, 3]}
