"""The notebook runs from top to bottom in a new process."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parent.parent / "scripts" / "colab_tpu.ipynb"
RUN = """
import sys, nbformat, nbclient
notebook = nbformat.read(sys.argv[1], 4)
nbclient.NotebookClient(notebook, timeout=600).execute(cwd=sys.argv[2])
nbformat.write(notebook, sys.argv[3])
"""


@pytest.mark.slow
def test_notebook_runs_and_displays_images(tmp_path):
    executed = tmp_path / "executed.ipynb"
    command = [sys.executable, "-c", RUN, str(NOTEBOOK), str(NOTEBOOK.parent), str(executed)]
    subprocess.run(command, check=True, timeout=900)
    outputs = [
        out for cell in json.loads(executed.read_text())["cells"] for out in cell.get("outputs", ())
    ]
    displayed = [
        out
        for out in outputs
        if "image/png" in out.get("data", {}) or "image/jpeg" in out.get("data", {})
    ]
    # Three rows and a contact sheet.
    assert len(displayed) == 4
    assert not [out for out in outputs if out["output_type"] == "error"]


def test_notebook_is_stored_without_outputs():
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)
