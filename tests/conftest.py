"""What is set before JAX starts: eight fake devices, strict dtype promotion, quick compiling."""

import atexit
import os
import shutil
import tempfile

# Compiling takes most of the tests' time. LLVM's optimisations buy nothing here (convolutions and
# matrix products come from libraries), XLA's older way of writing a CPU's loops compiles twice as
# fast, and a program that one test compiled serves the others.
os.environ["XLA_FLAGS"] = (
  f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"
  " --xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
).strip()
os.environ.setdefault("JAX_PLATFORMS", "cpu")
if "PYTEST_XDIST_WORKER" not in os.environ:  # workers share the cache of the process above them
  _CACHE = os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="jaxsal-tests-")
  atexit.register(shutil.rmtree, _CACHE, ignore_errors=True)

import jax
import pytest

jax.config.update("jax_numpy_dtype_promotion", "strict")


# Files of the marker `quick`, a subset of less than a minute on two cores that covers all packages.
# A file belongs here if it takes a few seconds.
QUICK = {
  "cli": ["test_cli.py"],
  "convert": ["test_checkpoint.py"],
  "data": ["test_sources.py", "test_transforms.py", "test_windows.py"],
  "evaluation": ["test_protocols.py", "test_published.py", "test_summary.py"],
  "models": ["test_folder.py"],
  "nn": ["test_attention.py"],
  "prediction": ["test_predictor.py"],
  "tests": ["test_console.py", "test_files.py", "test_layers.py", "test_losses.py"],
  "tfds_builders": ["test_build.py", "test_frame_lists.py"],
  "train": ["test_optimizer.py", "test_pace.py"],
  "weights": ["test_download.py"],
}


def pytest_collection_modifyitems(items):
  """Marks the quick tests. The files that take longest come first: no worker waits at the end."""
  for item in items:
    files = QUICK.get(item.path.parent.name, [])
    if item.path.name in files and not item.get_closest_marker("slow"):
      item.add_marker(pytest.mark.quick)
  items.sort(key=lambda item: item.path.parent.name not in ("models", "train"))


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
  """Where `demo/tiny` is prepared; only to be read."""
  from jaxsal.tfds_builders.build import prepare

  folder = tmp_path_factory.mktemp("data")
  prepare("demo/tiny", folder)
  return folder
