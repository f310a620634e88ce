"""The shipped demo recipe, made small enough for tests."""

import pathlib
import runpy

from ml_collections import ConfigDict

ROOT = pathlib.Path(__file__).parents[2]

SHRUNK = {
  "model.variant": "tiny",
  "model.length": 8,
  "model.size": (32, 64),
  "data.dataset": "demo/tiny",
  "data.batch_size": 8,
  "eval.batch_size": 8,
  "eval.stride": 16,
  "eval.every": 2,
  "checkpoint.every": 2,
  "optimizer.warmup": 2,
  "log_every": 1,
  "steps": 4,
}


def make_config(data_dir: pathlib.Path, **changes) -> ConfigDict:
  """Returns configs/tsfp.py with SHRUNK and `changes` (dots written as __) applied."""
  config = runpy.run_path(str(ROOT / "configs" / "tsfp.py"))["get_config"]()
  changes = {name.replace("__", "."): value for name, value in changes.items()}
  config.update_from_flattened_dict(SHRUNK | {"data.data_dir": str(data_dir)} | changes)
  return config.lock()


def flags(data_dir: pathlib.Path, workdir: pathlib.Path, **changes) -> list[str]:
  """Returns arguments for `python -m jaxsal.main` that make the configuration of `make_config`."""
  changes = {name.replace("__", "."): value for name, value in changes.items()}
  fields = SHRUNK | {"data.data_dir": str(data_dir)} | changes
  return [
    f"--config={ROOT / 'configs' / 'tsfp.py'}",
    f"--workdir={workdir}",
    *(f"--config.{name}={value}" for name, value in fields.items()),
  ]
