"""Model folders: weights in safetensors, and a JSON file that rebuilds the network.

    model.json           name, configuration (preprocessing included), origin, digests
    model.safetensors    parameters and BatchNorm statistics by dotted name

Loading a folder executes nothing that is in it: there is no pickle. The SHA-256 of both files is in
model.json, so that a flipped bit is noticed; folders from older versions have no digests and are
loaded unchecked.
"""

import dataclasses
import hashlib
import importlib.metadata
import json
import pathlib
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from flax import nnx

from jaxsal import files
from jaxsal.errors import UserError
from jaxsal.models import _registry
from jaxsal.models._base import BaseNetwork
from jaxsal.models._weights import (
  SavedModel,
  TakesWeights,
  arrays,
  check_arrays,
  set_arrays,
)

CONFIG, WEIGHTS = "model.json", "model.safetensors"
_FORMAT = 1
_KEYS = {"format", "model", "config", "origin", "jaxsal", "sha256"}


def save(
  model: BaseNetwork[Any], folder: str | pathlib.Path, origin: dict[str, Any] | None = None
) -> pathlib.Path:
  """Writes a model folder; an existing one is replaced when the new one is complete.

  Args:
    model: a network of the registry.
    folder: path of the folder.
    origin: where the weights come from, as JSON values for model.json.

  Returns:
    The path of the folder.

  Raises:
    UserError: something other than a model folder is at the path, or the network is not in the
      registry.
  """
  description = {
    "format": _FORMAT,
    "model": _registry.name_of(model),
    "config": dataclasses.asdict(model.config),
    "origin": origin or {},
    "jaxsal": importlib.metadata.version("jaxsal"),
  }
  _check_replaceable(pathlib.Path(folder))
  with files.replacing_folder(folder) as temporary:
    safetensors.numpy.save_file(arrays(model), temporary / WEIGHTS)
    description["sha256"] = _digests(temporary, description)
    (temporary / CONFIG).write_text(json.dumps(description, indent=2) + "\n")
  return pathlib.Path(folder)


def load(path: str | pathlib.Path) -> Any:
  """Loads a model, in eval mode.

  Args:
    path: path of a model folder, or of a training's workdir, which holds its best weights.

  Returns:
    The network, of the class that the registry has for its name.

  Raises:
    UserError: there is no model, or its folder is damaged or of a newer format.
  """
  saved = _read(path)
  # Only shapes are computed here, because the saved weights replace all random ones.
  model = nnx.eval_shape(lambda: _registry.build(saved.name, saved.config))
  set_arrays(model, saved.weights, source=str(saved.file))
  model.eval()
  return model


def copy_weights(path: str | pathlib.Path, model: TakesWeights) -> None:
  """Copies the weights of a model folder, or of a workdir, into a network.

  The network decides which of its parts the weights belong to: an `AudioVisualModel` also takes the
  weights of its visual network or of its SoundNet alone, and a `GFSalNet` those of a single stream.

  Args:
    path: path of the model folder or of the workdir.
    model: a network, or a stream of a GFSalNet.

  Raises:
    UserError: there is no model, its folder is damaged or of a newer format, or the parameters
      differ.
  """
  model.copy_from(_read(path))


def find_folder(path: str | pathlib.Path) -> pathlib.Path:
  """Returns the model folder at a path, or in the workdir at that path.

  Raises:
    UserError: there is no model.
  """
  path = pathlib.Path(path).expanduser()
  for folder in (path, path / "model"):
    if (folder / CONFIG).is_file():
      return folder
  if not path.exists():
    raise UserError(f"{path} does not exist: give a model folder or the workdir of a training.")
  raise UserError(
    f"{path} holds no model: a model folder has {CONFIG} and {WEIGHTS}; a training's workdir has "
    "one under model/ after its first validation."
  )


def _read(path: str | pathlib.Path) -> SavedModel:
  folder = find_folder(path)
  description = _describe(folder)
  name = description["model"]
  row = _registry.find(name)
  try:
    config = row.config(**description["config"])
  except TypeError as e:
    raise UserError(f"{folder / CONFIG} does not fit this jaxsal's {name} ({e}).") from e
  weights = _read_weights(folder / WEIGHTS)
  saved = SavedModel(folder / WEIGHTS, name, row.network, config, weights)
  if "sha256" in description:
    _check_digests(saved, description)
  return saved


def _check_digests(saved: SavedModel, description: dict[str, Any]) -> None:
  """Raises UserError if one of the two files differs from its digest."""
  folder = saved.file.parent
  stated, actual = description["sha256"], _digests(folder, description)
  if stated == actual:
    return
  # A network that cannot be made, or weights of another one, are best described by what is wrong.
  # A damaged configuration may fail with any error.
  try:
    network = nnx.eval_shape(lambda: _registry.build(saved.name, saved.config))
    check_arrays(network, saved.weights, source=str(saved.file))
  except UserError:
    raise
  except Exception:
    pass
  same = isinstance(stated, dict) and stated.get(WEIGHTS) == actual[WEIGHTS]
  damaged = folder / (CONFIG if same else WEIGHTS)
  raise UserError(
    f"{damaged} is damaged, because it differs from its SHA-256: write the model folder again. If "
    f"you have edited it, remove the entry sha256 from {CONFIG}."
  )


def _digests(folder: pathlib.Path, description: dict[str, Any]) -> dict[str, str]:
  """Returns the SHA-256 of the weights' file and, whatever its layout, of a description."""
  content = {key: value for key, value in description.items() if key != "sha256"}
  with (folder / WEIGHTS).open("rb") as file:
    weights = hashlib.file_digest(file, "sha256").hexdigest()
  config = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
  return {WEIGHTS: weights, CONFIG: config}


def _describe(folder: pathlib.Path) -> dict[str, Any]:
  """Reads model.json; raises UserError if it is damaged or of a newer format."""
  try:
    description = json.loads((folder / CONFIG).read_text())
    if not {"format", "model", "config"} <= dict(description).keys():
      raise ValueError("format, model or config is missing")
    if description["format"] == _FORMAT and (unknown := description.keys() - _KEYS):
      raise ValueError(f"{min(unknown)!r} is unknown")
  except (ValueError, TypeError) as e:
    raise UserError(f"{folder / CONFIG} is damaged ({e}): write the model folder again.") from e
  if description["format"] != _FORMAT:
    raise UserError(
      f"{folder / CONFIG} has format {description['format']}, this jaxsal reads {_FORMAT}: "
      "install the jaxsal that wrote it, or a newer one."
    )
  return description


def _read_weights(path: pathlib.Path) -> dict[str, np.ndarray]:
  try:
    return safetensors.numpy.load_file(path)
  except (OSError, ValueError, safetensors.SafetensorError) as e:
    raise UserError(f"{path} is missing or damaged ({e}): write the model folder again.") from e


def _check_replaceable(folder: pathlib.Path) -> None:
  if folder.is_dir() and {p.name for p in folder.iterdir()} <= {CONFIG, WEIGHTS}:
    return
  if folder.exists():
    raise UserError(f"{folder} exists and is no model folder: name one that does not exist yet.")
