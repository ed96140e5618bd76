"""The notebook runs from top to bottom in a new process, as in Colab."""

import base64
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

NOTEBOOK = Path(__file__).parent.parent / "scripts" / "colab_tpu.ipynb"
RUN = """
import sys, nbformat, nbclient
notebook = nbformat.read(sys.argv[1], 4)
nbclient.NotebookClient(notebook, timeout=600).execute(cwd=sys.argv[2])
nbformat.write(notebook, sys.argv[3])
"""
CHOSEN = 'platform = "tpu"'


def read_cells():
    return json.loads(NOTEBOOK.read_text())["cells"]


def find_cell(text):
    (cell,) = (source for c in read_cells() if text in (source := "".join(c["source"])))
    return cell


def read_size(data):
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        return image.size


@pytest.mark.slow
def test_notebook_runs_and_displays_images(tmp_path):
    text = NOTEBOOK.read_text()
    escaped = json.dumps(CHOSEN)[1:-1]
    assert text.count(escaped) == 1
    on_cpu, executed = tmp_path / "on_cpu.ipynb", tmp_path / "executed.ipynb"
    on_cpu.write_text(text.replace(escaped, json.dumps('platform = "cpu"')[1:-1]))
    command = [sys.executable, "-c", RUN, str(on_cpu), str(NOTEBOOK.parent), str(executed)]
    subprocess.run(command, check=True, timeout=900)
    outputs = [
        out for cell in json.loads(executed.read_text())["cells"] for out in cell.get("outputs", ())
    ]
    displayed = [out for out in outputs if {"image/png", "image/jpeg"} & out.get("data", {}).keys()]
    # Photographs, live results and a contact sheet.
    assert len(displayed) == 3
    photographs, results = (out["data"] for out in displayed[:2])
    assert read_size(photographs["image/png"]) == (2 * 64, 64)
    # A grid, and the curve of the loss below.
    assert read_size(results["image/jpeg"]) == (512, 254 + 4 + 96)
    assert len(results["image/jpeg"]) < 270_000
    lines = ["".join(out.get("data", {}).get("text/plain", "")) for out in outputs]
    assert [line for line in lines if line.startswith("step 6 of 6, loss ")]
    assert not [out for out in outputs if out["output_type"] == "error"]
    (archive,) = (line for out in outputs for line in out.get("text", ()) if ".zip" in line)
    assert Path(archive.strip()).is_file()


def test_notebook_asks_for_a_restart_if_an_older_jax_is_loaded():
    fake = "import sys, types; sys.modules['jax'] = types.SimpleNamespace(__version__='0.7.2')\n"
    script = f'{fake}platform, repository = "cpu", ""\n{find_cell("importlib.metadata")}'
    command = [sys.executable, "-c", script]
    process = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert "RuntimeError: jax 0.7.2 is still loaded: Runtime > Restart session." in process.stderr


def test_notebook_stops_where_the_chosen_platform_is_missing():
    script = f"{CHOSEN}\n{find_cell('use_platform(platform)')}"
    command = [sys.executable, "-c", script]
    process = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert "ValueError: JAX finds no tpu here" in process.stderr


@pytest.mark.parametrize(("driver", "extra"), [("12.4", "[cuda12]"), ("13.0", "[cuda]")])
def test_notebook_installs_what_the_driver_can_run(tmp_path, monkeypatch, driver, extra):
    smi = tmp_path / "nvidia-smi"
    smi.write_text(f"#!/bin/sh\necho '| Driver Version: 580  CUDA Version: {driver} |'\n")
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    scope: dict[str, Any] = {"platform": "gpu", "repository": ""}
    exec(find_cell("importlib.metadata"), scope)
    assert scope["pip_extra"]() == extra
    smi.unlink()
    with pytest.raises(RuntimeError, match="This runtime has no GPU"):
        scope["pip_extra"]()


def test_notebook_is_stored_without_outputs():
    cells = read_cells()
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)
