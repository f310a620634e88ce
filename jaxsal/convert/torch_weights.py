"""Conversion of a PyTorch state dict to a network and back."""

import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxsal.convert.checkpoint import read_state_dict, to_numpy
from jaxsal.errors import UserError
from jaxsal.models import (
  MODELS,
  BaseEncoder,
  BaseNetwork,
  Entry,
  build,
  configure,
  find,
  variables,
)

Source = str | pathlib.Path | Mapping[str, Any]


def from_torch(name: str, source: Source, **variant: Any) -> Any:
  """Creates a network with the weights of a PyTorch checkpoint, in eval mode.

  Args:
    name: name of the network, a key of `jaxsal.models.MODELS`.
    source: path of a checkpoint, or a state dict of NumPy arrays or tensors.
    **variant: variant and fields of the configuration, as for `jaxsal.models.create`.

  Returns:
    The network, of the class that the registry has for the name.

  Raises:
    UserError: the checkpoint does not fit; the error lists all entries that are missing, left over
      or of another shape.
  """
  arrays = _arrays(source)
  fields = find(name).network.fields_from(arrays)
  config = configure(name, **(fields | variant))
  model = nnx.eval_shape(lambda: build(name, config))
  _fill(model, list(model.table(config)), arrays, _name(source))
  model.eval()
  return model


def to_torch(model: BaseNetwork[Any]) -> dict[str, np.ndarray]:
  """Returns the state dict that the PyTorch implementation loads, as NumPy arrays in its layouts.

  The entries that the network does not use (`Entry.path` is None) are zeros.
  """
  ours = variables(model)
  state_dict = {}
  for entry in model.table(model.config):
    if entry.path is None:
      state_dict[entry.name] = np.zeros(entry.shape, entry.dtype)
    else:
      value = np.asarray(ours[".".join(entry.path)][...])
      state_dict[entry.name] = np.transpose(value, np.argsort(entry.axes)).copy()
  return state_dict


def encoder_from_torch(encoder: BaseEncoder, source: Source) -> None:
  """Copies the published weights of a classifier into an encoder, without the classifier's head.

  Args:
    encoder: an S3D, which takes Kinetics weights, or a ResNet, which takes ImageNet weights.
    source: path of a checkpoint, or a state dict of NumPy arrays or tensors.

  Raises:
    UserError: the checkpoint does not fit, as for `from_torch`.
  """
  arrays = _arrays(source)
  _fill(encoder, list(encoder.published_table(arrays)), arrays, _name(source))


def _arrays(source: Source) -> dict[str, np.ndarray]:
  return to_numpy(source, "the dict") if isinstance(source, Mapping) else read_state_dict(source)


def _name(source: Source) -> str:
  return "the state dict" if isinstance(source, Mapping) else str(source)


def _fill(
  model: nnx.Module, table: Sequence[Entry], arrays: Mapping[str, np.ndarray], source: str
) -> None:
  """Sets the weights of a module from a state dict, or none of them if anything does not fit."""
  ours = variables(model)
  names = {entry.name for entry in table}
  problems = [f"not in the network: {name} {arrays[name].shape}" for name in arrays.keys() - names]
  values = {}
  for name, path, axes, *_ in table:
    if path is None:
      continue
    variable = ours[".".join(path)]
    shape = tuple(variable.shape[i] for i in np.argsort(axes))
    if name not in arrays:
      problems.append(f"not in the checkpoint: {name} {shape}")
    elif arrays[name].shape != shape:
      problems.append(f"shape: {name} is {arrays[name].shape}, the network has {shape}")
    elif not np.can_cast(arrays[name].dtype, np.float32):
      problems.append(f"dtype: {name} is {arrays[name].dtype}, the network has float32")
    else:
      values[".".join(path)] = np.transpose(arrays[name], axes).astype(np.float32)
  if problems:
    similar = _most_similar(arrays, names)
    hint = f" (it looks like {similar})" if similar else ""
    lines = "\n  ".join(sorted(problems))
    raise UserError(f"{source} does not fit {type(model).__name__}{hint}:\n  {lines}")
  for name, value in values.items():
    ours[name].set_value(jnp.asarray(value))


def _most_similar(names: Iterable[str], wanted: set[str]) -> str | None:
  """Returns the model and variant that shares most names with a state dict.

  Args:
    names: names in the state dict.
    wanted: names in the table that the state dict does not fit; if no other table shares more
      names, the result is None.
  """
  names = set(names)

  def shared(table: set[str]) -> float:
    return len(table & names) / len(table | names)

  best, best_share = None, max(shared(wanted), 0.5)
  for name, row in MODELS.items():
    for variant, config in row.variants.items():
      share = shared({entry.name for entry in row.network.table(config)})
      if share > best_share:
        best, best_share = f"{name}, variant {variant}", share
  return best
