"""Reading of PyTorch checkpoints as NumPy arrays, without executing what they contain."""

import pathlib
import pickle
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from jaxsal.convert import torch_file
from jaxsal.errors import UserError

# Keys under which training scripts save the state dict together with other things.
_WRAPPERS = ("state_dict", "model_state_dict")


def read_state_dict(path: str | pathlib.Path) -> dict[str, np.ndarray]:
  """Reads the state dict in a .pt, .pth, .pth.tar or .safetensors file.

  A state dict under the key `state_dict` or `model_state_dict` is unwrapped, and DataParallel's
  prefix `module.` is removed from the names.

  Raises:
    UserError: the file is missing, damaged, needs code to be unpickled, or holds no state dict.
  """
  path = pathlib.Path(path).expanduser()
  if not path.is_file():
    raise UserError(f"{path} does not exist: give a .pt, .pth, .pth.tar or .safetensors file.")
  content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
  for wrapper in _WRAPPERS:
    if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
      content = content[wrapper]
  return to_numpy(content, str(path))


def to_numpy(state_dict: Any, source: str) -> dict[str, np.ndarray]:
  """Converts a state dict's tensors to arrays, and removes the prefix `module.` from the names.

  Args:
    state_dict: mapping from names to PyTorch tensors or NumPy arrays.
    source: name of the state dict's origin, for the error.

  Raises:
    UserError: it is not a state dict.
  """
  if not isinstance(state_dict, Mapping) or not state_dict:
    raise UserError(f"{source} holds no state dict: a mapping from names to tensors is needed.")
  arrays = {}
  for name, value in state_dict.items():
    if hasattr(value, "detach"):  # It is a PyTorch tensor; PyTorch itself may be absent.
      value = value.detach().cpu()
      half = value.is_floating_point() and value.element_size() == 2
      value = (value.float() if half else value).numpy()  # NumPy has no bfloat16.
    if not isinstance(value, np.ndarray):
      raise UserError(
        f"{source} holds no state dict: {name!r} is a {type(value).__name__}, not a tensor."
      )
    arrays[str(name).removeprefix("module.")] = value
  return arrays


def _read_safetensors(path: pathlib.Path) -> dict[str, np.ndarray]:
  try:
    return safetensors.numpy.load_file(path)
  except (OSError, ValueError, safetensors.SafetensorError) as e:
    raise UserError(
      f"{path} is not a safetensors file, or is damaged ({e}): download it again."
    ) from e


def _read_torch(path: pathlib.Path) -> Any:
  try:
    return torch_file.load(path)
  except pickle.UnpicklingError as e:
    raise UserError(
      f"{path} is refused: reading it would execute code in it, or it is not a PyTorch file "
      f"({str(e).splitlines()[0]}). Save it alone: torch.save(model.state_dict(), FILE)."
    ) from e
  except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as e:
    raise UserError(f"{path} is not a PyTorch checkpoint, or is damaged ({e}).") from e
