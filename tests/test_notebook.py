"""The notebook of docs/, executed cell by cell in a process of its own, as Jupyter would from another directory."""

import json
import os
import subprocess
import sys

import pytest

from environments.checkout import ROOT

NOTEBOOK = ROOT / "docs" / "first_steps.ipynb"


def read_code() -> str:
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


def test_the_notebook_is_kept_without_outputs():
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)


@pytest.mark.end_to_end
def test_the_notebook_trains_plots_and_lets_the_agent_play(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg", "RAY_AUTH_MODE": "disabled"}
    words = [sys.executable, "-c", read_code()]
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    scores = [line for line in done.stdout.splitlines() if line.startswith(("mean score", "score of"))]
    printed = dict(line.split(": ", 1) for line in scores)
    assert float(printed["mean score of 10 greedy games"]) > 50  # random play scores 22
    assert float(printed["score of one game"]) > 20
