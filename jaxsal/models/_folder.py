"""Model folders: weights in safetensors and a JSON that rebuilds the network.

    model.json           name, configuration (preprocessing included), origin
    model.safetensors    parameters and BatchNorm statistics, names joined by '.'

Nothing in them is executed: no pickle.
"""

import dataclasses
import importlib.metadata
import json
import pathlib
from typing import Any

import jax
import numpy as np
import safetensors
import safetensors.numpy
from flax import nnx

from jaxsal import files
from jaxsal.errors import UserError
from jaxsal.models import _registry
from jaxsal.models._base import AudioVisualModel
from jaxsal.models.gfsal import GFSalNet, Stream

_CONFIG, WEIGHTS = "model.json", "model.safetensors"
_FORMAT = 1


def save(model: nnx.Module, folder: str | pathlib.Path, origin: dict[str, Any]) -> pathlib.Path:
  """Writes a model folder; an older one there is replaced when the new one is complete.

  Args:
    model: one of the registry's networks.
    folder: path of the folder.
    origin: where the weights come from, JSON values; kept in model.json.

  Returns:
    The folder's path.

  Raises:
    UserError: if something else than a model folder is there.
  """
  description = {
    "format": _FORMAT,
    "model": _registry.name_of(model),
    "config": dataclasses.asdict(model.config),
    "origin": origin,
    "jaxsal": importlib.metadata.version("jaxsal"),
  }
  _check_replaceable(pathlib.Path(folder))
  with files.replacing_folder(folder) as temporary:
    safetensors.numpy.save_file(arrays(model), temporary / WEIGHTS)
    (temporary / _CONFIG).write_text(json.dumps(description, indent=2) + "\n")
  return pathlib.Path(folder)


def _check_replaceable(folder: pathlib.Path) -> None:
  if folder.is_dir() and {p.name for p in folder.iterdir()} <= {_CONFIG, WEIGHTS}:
    return
  if folder.exists():
    raise UserError(f"{folder} exists and is no model folder: name one that does not exist yet")


def load(path: str | pathlib.Path) -> nnx.Module:
  """A network from a model folder or from a training's workdir (its best weights), in eval mode.

  Raises:
    UserError: if there is no model, or the folder is damaged or of a newer format.
  """
  folder = find(path)
  description = _describe(folder)
  name = description["model"]
  _, config_class, _ = _registry.MODELS[_registry.check_name(name, _registry.MODELS, "model")]
  try:
    config = config_class(**description["config"])
  except TypeError as e:
    raise UserError(f"{folder / _CONFIG} does not fit this jaxsal's {name}: {e}") from e
  # Shapes first: the random weights that would be overwritten are never computed.
  model = nnx.eval_shape(lambda: _registry.build(name, config))
  set_arrays(model, _read_weights(folder / WEIGHTS), source=str(folder / WEIGHTS))
  model.eval()
  return model


def _describe(folder: pathlib.Path) -> dict[str, Any]:
  """What model.json says; raises UserError if it is damaged or of a newer format."""
  try:
    description = json.loads((folder / _CONFIG).read_text())
    if not {"format", "model", "config"} <= dict(description).keys():
      raise ValueError("format, model or config is missing")
  except (ValueError, TypeError) as e:
    raise UserError(f"{folder / _CONFIG} is damaged ({e}): write the model folder again") from e
  if description["format"] != _FORMAT:
    raise UserError(
      f"{folder / _CONFIG} has format {description['format']}, this jaxsal reads {_FORMAT}: "
      "install the jaxsal that wrote it, or a newer one"
    )
  return description


def copy_weights(path: str | pathlib.Path, model: nnx.Module) -> None:
  """Puts the weights of a model folder, or of a workdir, into a network of the same parameters.

  Of an audio-visual network the folder may also hold one part, the visual network that it is built
  on or its SoundNet: that part is filled, the rest left as it is. A GFSalNet of one stream fills
  every stream of another GFSalNet, or the one stream that is given, and leaves the fusion.

  Raises:
    UserError: as `load`, and if the parameters differ.
  """
  folder = find(path)
  if isinstance(model, GFSalNet | Stream):
    _copy_streams(folder, model)
    return
  if isinstance(model, AudioVisualModel):
    name = _describe(folder)["model"]
    for part in (model.visual, model.audio):
      if _registry.name_of(part) == name:
        model = part
  weights = folder / WEIGHTS
  set_arrays(model, _read_weights(weights), source=str(weights))


def _copy_streams(folder: pathlib.Path, model: GFSalNet | Stream) -> None:
  description = _describe(folder)
  weights, source = _read_weights(folder / WEIGHTS), str(folder / WEIGHTS)
  stream = description["config"].get("streams", "both")
  one_for_all = description["model"] == "gfsal" and stream != "both"
  if isinstance(model, GFSalNet) and not one_for_all:
    set_arrays(model, weights, source)
    return
  if not one_for_all:
    raise UserError(
      f"{folder} holds a {description['model']}: a stream starts from a GFSalNet of one stream, "
      "such as the variants spatial and temporal"
    )
  weights = {name.removeprefix(f"{stream}."): value for name, value in weights.items()}
  for target in model.streams if isinstance(model, GFSalNet) else (model,):
    set_arrays(target, weights, source)


def find(path: str | pathlib.Path) -> pathlib.Path:
  """The model folder that `path` is, or that a workdir at `path` holds."""
  path = pathlib.Path(path).expanduser()
  for folder in (path, path / "model"):
    if (folder / _CONFIG).is_file():
      return folder
  if not path.exists():
    raise UserError(f"{path} does not exist: give a model folder or the workdir of a training")
  raise UserError(
    f"{path} holds no model: a model folder has {_CONFIG} and {WEIGHTS}; a training's workdir has "
    "one under model/ after its first validation"
  )


def arrays(model: nnx.Module) -> dict[str, np.ndarray]:
  """Parameters and statistics by dotted name, as NumPy arrays."""
  return {name: np.asarray(jax.device_get(v[...])) for name, v in variables(model).items()}


def variables(model: nnx.Module) -> dict[str, nnx.Variable]:
  """Parameters and statistics by dotted name; the model's own, so that writing to one sets it."""
  return {
    ".".join(map(str, path)): variable
    for path, variable in nnx.iter_graph(model)
    if isinstance(variable, (nnx.Param, nnx.BatchStat))
  }


def set_arrays(model: nnx.Module, weights: dict[str, np.ndarray], source: str) -> None:
  """Puts float32 `weights` into the network; every name, shape and dtype must match.

  Raises:
    UserError: that lists all that is missing, left over or different; the network is unchanged.
  """
  wanted = variables(model)
  problems = [f"missing: {name}" for name in wanted.keys() - weights.keys()]
  problems += [f"unknown: {name}" for name in weights.keys() - wanted.keys()]
  for name in wanted.keys() & weights.keys():
    have, want = weights[name], wanted[name]
    if have.shape != want.shape or have.dtype != want.dtype:
      problems.append(
        f"different: {name} is {have.dtype} {have.shape}, the network has {want.dtype} {want.shape}"
      )
  if problems:
    problems = "\n  ".join(sorted(problems))
    raise UserError(f"{source} does not fit {type(model).__name__}:\n  {problems}")
  for name, variable in wanted.items():
    variable.set_value(jax.device_put(weights[name]))


def _read_weights(path: pathlib.Path) -> dict[str, np.ndarray]:
  try:
    return safetensors.numpy.load_file(path)
  except (OSError, ValueError, safetensors.SafetensorError) as e:
    raise UserError(f"{path} is missing or damaged ({e}): write the model folder again") from e
