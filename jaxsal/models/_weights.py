"""The weights of a module: parameters and BatchNorm statistics by dotted name.

A name is the path of attributes to the variable, such as `encoder.conv_1a.bn_s.mean`.
"""

import hashlib
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import jax
import numpy as np
import safetensors.numpy
from flax import nnx

from jaxsal.errors import UserError


class SavedModel(NamedTuple):
  """The content of a model folder.

  Attributes:
    file: path of the file with the weights, whose parent is the model folder.
    name: name of the network in the registry.
    network: class of the network.
    config: configuration of the network.
    weights: float32 arrays by dotted name.
  """

  file: pathlib.Path
  name: str
  network: type[nnx.Module]
  config: Any
  weights: Mapping[str, np.ndarray]


class TakesWeights(Protocol):
  """A network, or a part of one, that copies weights from a model folder."""

  def copy_from(self, saved: SavedModel) -> None: ...


def variables(model: nnx.Module) -> dict[str, nnx.Variable]:
  """Returns the module's own parameters and statistics; a value set in one is set in the module."""
  return {
    ".".join(map(str, path)): variable
    for path, variable in nnx.iter_graph(model)
    if isinstance(variable, (nnx.Param, nnx.BatchStat))
  }


def arrays(model: nnx.Module) -> dict[str, np.ndarray]:
  """Returns copies of the module's parameters and statistics as NumPy arrays."""
  return {name: np.asarray(jax.device_get(v[...])) for name, v in variables(model).items()}


def set_arrays(model: nnx.Module, weights: Mapping[str, np.ndarray], source: str) -> None:
  """Sets the module's parameters and statistics; every name, shape and dtype must match.

  Args:
    model: the network, or a part of one.
    weights: float32 arrays by dotted name.
    source: name of the arrays' origin, for the error.

  Raises:
    UserError: the arrays do not fit (see `check_arrays`), and the module is unchanged.
  """
  check_arrays(model, weights, source)
  for name, variable in variables(model).items():
    variable.set_value(jax.device_put(weights[name]))


def check_arrays(model: nnx.Module, weights: Mapping[str, np.ndarray], source: str) -> None:
  """Raises UserError if arrays do not fit a module.

  The error lists all that are missing, unknown or different. The arguments are those of
  `set_arrays`.
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
    lines = "\n  ".join(sorted(problems))
    raise UserError(f"{source} does not fit {type(model).__name__}:\n  {lines}")


def weights_sha256(model: nnx.Module) -> str:
  """Returns the SHA-256 of the file `model.safetensors` that `jaxsal.models.save` writes."""
  return hashlib.sha256(safetensors.numpy.save(arrays(model))).hexdigest()
