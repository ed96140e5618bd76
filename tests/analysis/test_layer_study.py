import dataclasses
import json
import signal
from typing import Any

import numpy as np
import pytest
from conftest import IMAGES, SHORT_STEP, assert_same_picture
from PIL import Image

import jaxstyle.cli.layers
from jaxstyle import StyleConfig, reconstruct, stylize
from jaxstyle.analysis.grid import draw_grid
from jaxstyle.analysis.layer_study import (
    CONTENT_LAYERS,
    Panel,
    reconstructions,
    render_panels,
    sweep,
)
from jaxstyle.cli import main

CONTENT, STYLE = str(IMAGES / "chelsea.jpg"), str(IMAGES / "cafe_terrace.jpg")
CONFIG = StyleConfig(size=48, steps=(4,), style_layers=("relu1_1",), content_layers=("relu2_1",))


def test_reconstructions_are_those_of_figure_1(params):
    content, style = reconstructions(CONFIG)
    assert [panel.label for panel in content] == list(CONTENT_LAYERS)
    assert [len(panel.config.weights.style) for panel in style] == [1, 2, 3, 4, 5]
    assert all(panel.config.init == "noise" for panel in (*content, *style))
    rows = sweep(CONFIG, [{"relu1_1": 1.0}, {"relu2_1": 1.0, "relu3_1": 2.0}], (3.0, 5.0))
    assert [panel.label for panel in rows[1]] == ["2_1 3_1=2\nweight 3", "2_1 3_1=2\nweight 5"]
    assert rows[1][0].config.weights.style == {"relu2_1": 1.0, "relu3_1": 2.0}


@pytest.mark.slow
@pytest.mark.parametrize("batch_size", [1, 2])
def test_panels_equal_results_of_separate_runs(params, content, style, batch_size):
    # All panels share one program, so the layers of other panels must not contribute.
    (row,) = sweep(CONFIG, [{"relu1_1": 1.0}], (3.0,))
    reconstruction = [panel for panel in reconstructions(CONFIG)[0] if panel.label == "relu2_2"]
    panels = [*row, *reconstruction, *sweep(CONFIG, [{"relu2_1": 1.0, "relu3_1": 1.0}], (5.0,))[0]]
    panels = [
        panel._replace(config=dataclasses.replace(panel.config, learning_rate=SHORT_STEP))
        for panel in panels
    ]
    rendered = list(render_panels(params, content, style, panels, batch_size=batch_size))
    assert [scores is None for _, scores in rendered] == [False, True, False]
    separate = [
        stylize(params, content, style, panels[0].config).image,
        reconstruct(params, content, ("relu2_2",), panels[1].config).image,
        stylize(params, content, style, panels[2].config).image,
    ]
    for (image, _), expected in zip(rendered, separate, strict=True):
        assert_same_picture(image, expected)


@pytest.mark.slow
def test_scores_compare_at_the_size_of_the_result(params, style):
    content = np.asarray(Image.open(CONTENT).resize((64, 48)), np.float32) / 255
    config = StyleConfig(size=64, steps=(1,), noise=0, learning_rate=1e-4)
    ((_, scores),) = render_panels(params, content, style, [Panel("", config, scored=True)])
    assert scores is not None
    assert scores.content < 0.01


def test_grid_arranges_images_in_rows():
    red, blue = np.zeros((20, 30, 3)), np.zeros((20, 30, 3))
    red[..., 0], blue[..., 2] = 1, 1
    grid = draw_grid([[(red, "r"), (blue, "b\nsecond line")], [(blue, "b")]])
    assert tuple(grid[10, 10]) == (1, 0, 0)
    assert tuple(grid[-1, -1]) == (1, 1, 1)
    counts = [(grid == color).all(axis=-1).sum() for color in ((1, 0, 0), (0, 0, 1))]
    assert counts == [20 * 30, 2 * 20 * 30]
    lower = grid[grid.shape[0] // 2 :, :36]
    assert (lower == (0, 0, 1)).all(axis=-1).sum() == 20 * 30


@pytest.mark.slow
def test_layers_writes_a_grid_and_scores(tmp_path):
    out, report = tmp_path / "grid.png", tmp_path / "scores.json"
    arguments = ["layers", CONTENT, STYLE, "-o", str(out), "--report", str(report)]
    quick = ["--size", "72", "--steps", "1", "--no-reconstructions", "--quiet"]
    sets = ["--set", "relu1_1,relu2_1", "--set", "relu2_1=2", "--style-weights", "1,9"]
    assert main([*arguments, *quick, *sets]) == 0
    grid: Any = Image.open(out)
    assert grid.width > 2 * 72
    assert grid.height > 2 * 48
    assert "jaxstyle" in grid.text
    scores = json.loads(report.read_text())["scores"]
    assert [entry["label"] for entry in scores] == [
        "1_1 2_1, weight 1",
        "1_1 2_1, weight 9",
        "2_1=2, weight 1",
        "2_1=2, weight 9",
    ]
    assert scores[0]["content"] > 0


def test_layers_rejects_a_grid_too_large_for_its_format(tmp_path, capsys):
    out, weights = tmp_path / "grid.webp", ",".join(map(str, range(99)))
    quick = ["--size", "72", "--set", "relu1_1", "--style-weights", weights]
    assert main(["layers", CONTENT, STYLE, "-o", str(out), *quick]) == 6
    assert "WEBP allows at most 16383 pixels" in capsys.readouterr().err


@pytest.mark.slow
def test_an_interrupted_study_writes_the_finished_panels(tmp_path, monkeypatch, capsys):
    def interrupted(*args, **kwargs):
        panels = render_panels(*args, **kwargs)
        yield next(panels)
        signal.raise_signal(signal.SIGINT)
        yield from panels

    monkeypatch.setattr(jaxstyle.cli.layers, "render_panels", interrupted)
    out, report = tmp_path / "grid.png", tmp_path / "scores.json"
    arguments = ["layers", CONTENT, STYLE, "-o", str(out), "--report", str(report)]
    quick = ["--size", "72", "--steps", "1", "--no-reconstructions", "--set", "relu1_1"]
    assert main([*arguments, *quick, "--style-weights", "1,2,3"]) == 130
    assert "2 of 3 images" in capsys.readouterr().err
    written = json.loads(report.read_text())
    assert not written["complete"]
    assert len(written["scores"]) == 2
    # The third panel is blank, and its caption is short because it has no scores.
    assert np.asarray(Image.open(out).convert("L"))[:, -60:].min() == 255


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--set", "relu9_1"], "unknown layer 'relu9_1'"),
        (["--set", "relu1_1=0"], "must name a layer with a weight above 0"),
        (["--set", "relu1_1,relu1_1=2"], "`style_layers` names a layer twice"),
        (["-o", "-"], "`--output` needs a file to write to"),
        (["--style-weights", "x"], "'x' is not a list of numbers"),
        (["--style-weights", "-1"], "`style_weight` is -1.0; it must be at least 0"),
        (["--size", "48"], "both sides must be at least 48 to be scored"),
    ],
)
def test_layers_rejects_invalid_arguments(tmp_path, arguments, message, capsys):
    out = tmp_path / "grid.png"
    assert main(["layers", CONTENT, STYLE, "-o", str(out), *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()
