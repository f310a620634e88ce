"""From a PyTorch state dict to a network and back."""

import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxsal.convert.checkpoint import read_state_dict, to_numpy
from jaxsal.errors import UserError
from jaxsal.models import _folder, _registry, pwcnet, resnet, s3d
from jaxsal.models._table import Entry

Source = str | pathlib.Path | Mapping[str, Any]

# Networks whose public weights come under two namings, which their configuration tells apart.
_NAMING_OF = {"pwcnet": pwcnet.naming_of, "s3d": s3d.naming_of}


def from_torch(name: str, source: Source, **variant: Any) -> nnx.Module:
  """A network with a PyTorch checkpoint's weights, in eval mode.

  Args:
    name: the registry's name of the network.
    source: a checkpoint file, or a state dict of NumPy arrays or tensors.
    **variant: as for `jaxsal.models.create`.

  Raises:
    UserError: that lists every entry missing, left over or misshapen on either side.
  """
  arrays = _arrays(source)
  if name in _NAMING_OF:
    variant = {"naming": _NAMING_OF[name](arrays)} | variant
  config = _registry.configure(name, **variant)
  model = nnx.eval_shape(lambda: _registry.build(name, config))
  _fill(model, list(model.table(config)), arrays, _where(source))
  model.eval()
  return model


def to_torch(model: nnx.Module) -> dict[str, np.ndarray]:
  """The state dict that the PyTorch implementation loads, as NumPy arrays in its layouts.

  Entries that the network does not use (`Entry.path` is None) are there, as zeros.
  """
  variables = _folder.variables(model)
  state_dict = {}
  for entry in model.table(model.config):
    if entry.path is None:
      state_dict[entry.name] = np.zeros(entry.shape, entry.dtype)
    else:
      value = np.asarray(variables[".".join(entry.path)][...])
      state_dict[entry.name] = np.transpose(value, np.argsort(entry.axes)).copy()
  return state_dict


def encoder_from_torch(encoder: s3d.Encoder | resnet.Encoder, source: Source) -> None:
  """Puts published weights into an encoder; the classifier's head in the file is left aside.

  These are Kinetics weights for an S3D, ImageNet weights for a ResNet.

  Raises:
    UserError: as `from_torch`.
  """
  arrays = _arrays(source)
  if isinstance(encoder, resnet.Encoder):
    head, table = "fc", resnet.encoder_table(encoder.blocks)
  else:
    leaves = s3d.LEAVES[s3d.naming_of(arrays)]
    head = leaves.head
    table = s3d.encoder_table(lambda _, index: f"{leaves.root}.{index}", (), leaves)
  arrays = {k: v for k, v in arrays.items() if not k.startswith(f"{head}.")}
  _fill(encoder, list(table), arrays, _where(source))


def _arrays(source: Source) -> dict[str, np.ndarray]:
  return to_numpy(source, "the dict") if isinstance(source, Mapping) else read_state_dict(source)


def _where(source: Source) -> str:
  return "the state dict" if isinstance(source, Mapping) else str(source)


def _fill(
  model: nnx.Module, table: Sequence[Entry], arrays: Mapping[str, np.ndarray], where: str
) -> None:
  """Writes a state dict into the network; nothing is written unless everything fits."""
  variables = _folder.variables(model)
  names = {entry.name for entry in table}
  problems = [f"not in the network: {name} {arrays[name].shape}" for name in arrays.keys() - names]
  values = {}
  for name, path, axes, *_ in table:
    if path is None:
      continue
    variable = variables[".".join(path)]
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
    looks = _looks_like(arrays, names)
    hint = f" (it looks like {looks})" if looks else ""
    problems = "\n  ".join(sorted(problems))
    raise UserError(f"{where} does not fit {type(model).__name__}{hint}:\n  {problems}")
  for name, value in values.items():
    variables[name].set_value(jnp.asarray(value))


def _looks_like(names: Iterable[str], wanted: set[str]) -> str | None:
  """The model and variant that shares more names with a state dict than the wanted table does."""
  names = set(names)

  def shared(table: set[str]) -> float:
    return len(table & names) / len(table | names)

  best, best_share = None, max(shared(wanted), 0.5)
  for model, (network, _, variants) in _registry.MODELS.items():
    for variant, config in variants.items():
      share = shared({entry.name for entry in network.table(config)})
      if share > best_share:
        best, best_share = f"{model}, variant {variant}", share
  return best
