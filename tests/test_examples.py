"""The examples run as they are, and show what they promise."""

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import nearfar as nf
import pytest
from nbclient import NotebookClient

EXAMPLES = Path(__file__).parent.parent / "python" / "examples"


@pytest.fixture
def environment(monkeypatch):
    """For child processes: this package, wherever they run."""
    monkeypatch.setenv("PYTHONPATH", str(Path(nf.__file__).parent.parent))
    return dict(os.environ)


def run_script(name, environment, tmp_path, *arguments):
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_loop_by_hand(environment, tmp_path):
    printed = run_script("loop_by_hand.py", environment, tmp_path, "8")
    accuracies = [float(text) for text in re.findall(r"kNN accuracy ([\d.]+)", printed)]
    losses = [float(text) for text in re.findall(r"loss ([\d.]+)", printed)]
    assert accuracies[-1] > accuracies[0] and losses[-1] < losses[0] - 0.5


def test_own_recipe(environment, tmp_path):
    printed = run_script("own_recipe.py", environment, tmp_path, "4")
    assert "step   20" in printed and "same encoder, untrained" in printed


def test_notebook(environment, tmp_path):
    notebook = nbformat.read(EXAMPLES / "simclr_digits.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "outputs must not be stored"
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 3
    printed = "".join(output.get("text", "") for output in outputs)
    assert "features v" in printed and "epoch 5: loss" in printed
    assert not any(output.output_type == "error" for output in outputs)
