"""The notebook runs from top to bottom, with a tiny network and few steps."""

import os
import pathlib

import nbformat
from nbclient import NotebookClient

NOTEBOOK = pathlib.Path(__file__).parents[2] / "colab" / "quickstart.ipynb"

SMALL = """
config.model.variant, config.model.length, config.model.size = "tiny", 8, (32, 64)
config.data.dataset, config.eval.stride = "demo/tiny", 16
config.steps = config.eval.every = config.checkpoint.every = 2
"""


def test_quickstart(tmp_path, monkeypatch):
  notebook = nbformat.read(NOTEBOOK, as_version=4)
  (settings,) = (i for i, c in enumerate(notebook.cells) if "get_config" in c.source)
  notebook.cells.insert(settings + 1, nbformat.v4.new_code_cell(SMALL))
  flags = os.environ["XLA_FLAGS"].replace("device_count=8", "device_count=1")
  monkeypatch.setenv("XLA_FLAGS", flags)
  monkeypatch.setenv("PYTHONWARNINGS", "default")
  resources = {"metadata": {"path": str(tmp_path)}}
  NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources).execute()

  outputs = [o for c in notebook.cells for o in c.get("outputs", [])]
  pictures = [o for o in outputs if "image/png" in o.get("data", {})]
  assert len(pictures) == 4  # frames of the set, curves, contact sheet, a map
  assert any("<video" in o.get("data", {}).get("text/html", "") for o in outputs)
  assert (tmp_path / "jaxsal-quickstart" / "saliency" / "overlay.mp4").stat().st_size > 1000


def test_no_outputs_are_committed():
  notebook = nbformat.read(NOTEBOOK, as_version=4)
  assert not any(c.get("outputs") or c.get("execution_count") for c in notebook.cells)
