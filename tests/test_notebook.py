"""The notebook, run top to bottom in a process of its own, as a reader would."""

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
def test_it_runs_and_shows_pictures(tmp_path):
    done = tmp_path / "done.ipynb"
    command = [sys.executable, "-c", RUN, str(NOTEBOOK), str(NOTEBOOK.parent), str(done)]
    subprocess.run(command, check=True, timeout=900)
    outputs = [
        out for cell in json.loads(done.read_text())["cells"] for out in cell.get("outputs", ())
    ]
    shown = [
        out
        for out in outputs
        if "image/png" in out.get("data", {}) or "image/jpeg" in out.get("data", {})
    ]
    # Three strips and a contact sheet.
    assert len(shown) == 4
    assert not [out for out in outputs if out["output_type"] == "error"]


def test_it_is_kept_without_outputs():
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)
