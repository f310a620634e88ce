"""Opens the workdir, the folder that belongs to one training and one configuration."""

import json
import pathlib
from typing import Any

from ml_collections import ConfigDict

from jaxsal import files
from jaxsal.errors import UserError

# Fields that change neither the parameters nor the scores; a resumed run may change them.
_FREE = ("data.data_dir", "data.workers", "log_every", "checkpoint.keep")


def open_workdir(workdir: pathlib.Path, config: ConfigDict) -> None:
  """Creates the folder and writes the configuration, or checks that a training can continue there.

  Args:
    workdir: path of the folder.
    config: configuration of the training.

  Raises:
    UserError: the folder belongs to a training with another configuration, or is not a workdir.
  """
  path = workdir / "config.json"
  new = json.loads(json.dumps(config.to_dict()))  # tuples become lists, as they do in the file
  if path.exists():
    old = json.loads(path.read_text())
    different = [
      f"{name}: {_flat(old).get(name)!r} there, {_flat(new).get(name)!r} now"
      for name in sorted(_flat(old).keys() | _flat(new).keys())
      if name not in _FREE and _flat(old).get(name) != _flat(new).get(name)
    ]
    if different:
      raise UserError(
        f"{workdir} belongs to a training with another configuration:\n  "
        + "\n  ".join(different)
        + "\nGive another --workdir, or the configuration that the training was started with."
      )
  elif workdir.exists() and (not workdir.is_dir() or any(workdir.iterdir())):
    raise UserError(f"{workdir} is not empty and no training's workdir: give another --workdir.")
  workdir.mkdir(parents=True, exist_ok=True)
  files.write_text(path, json.dumps(new, indent=2) + "\n")


def _flat(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
  """Returns the fields of nested dictionaries by their names with dots, as in `loss.kl`."""
  flat = {}
  for name, value in config.items():
    if isinstance(value, dict):
      flat |= _flat(value, f"{prefix}{name}.")
    else:
      flat[prefix + name] = value
  return flat
