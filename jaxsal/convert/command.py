"""The command `jaxsal convert`, in both directions."""

import hashlib
import os
import pathlib
from typing import Any

import numpy as np
import safetensors.numpy

from jaxsal import models
from jaxsal.console import say
from jaxsal.convert.torch_weights import from_torch, to_torch
from jaxsal.errors import UserError


def read_checkpoint(name: str, source: pathlib.Path, out: pathlib.Path, **variant: Any) -> None:
  """Converts a PyTorch checkpoint into a model folder, and prints what was mapped.

  Args:
    name: name of the network in the registry.
    source: path of the checkpoint.
    out: path of the folder to write.
    **variant: variant and fields of the configuration, as for `jaxsal.models.create`.

  Raises:
    UserError: the checkpoint does not fit, as for `from_torch`, or `out` is something other than a
      model folder.
  """
  model = from_torch(name, source, **variant)
  digest = hashlib.sha256(source.read_bytes()).hexdigest()
  models.save(model, out, {"file": source.name, "sha256": digest})
  arrays = models.arrays(model)
  unused = [entry.name for entry in model.table(model.config) if entry.path is None]
  named = [name for name in unused if not name.endswith(".num_batches_tracked")]
  say(
    f"{source}\n  sha256 {digest}\n  {len(arrays)} entries mapped to {type(model).__name__}, "
    f"{sum(x.size for x in arrays.values()):,} numbers; "
    f"{len(unused) - len(named)} counts of BatchNorm's batches are not needed"
    + (f"\n  not used by the network: {', '.join(named)}" if named else "")
    + f"\n-> {out}"
  )


def write_checkpoint(source: pathlib.Path, out: pathlib.Path) -> None:
  """Converts a model folder, or a workdir, into a PyTorch state dict.

  Args:
    source: path of the folder.
    out: path of the file to write: .safetensors, or .pt or .pth for `torch.save`.

  Raises:
    UserError: there is no model, the file exists, or PyTorch is needed and missing.
  """
  if out.exists():
    raise UserError(f"{out} exists: name a file that does not.")
  if out.suffix not in (".safetensors", ".pt", ".pth"):
    raise UserError(f"{out}: the name must end in .safetensors, .pt or .pth.")
  state_dict = to_torch(models.load(source))
  out.parent.mkdir(parents=True, exist_ok=True)
  temporary = out.with_name(f".{out.name}.tmp")
  try:
    if out.suffix == ".safetensors":
      safetensors.numpy.save_file(state_dict, temporary)
    else:
      _torch_save(state_dict, temporary)
    os.replace(temporary, out)
  finally:
    temporary.unlink(missing_ok=True)
  say(f"{len(state_dict)} entries -> {out}")


def _torch_save(state_dict: dict[str, np.ndarray], path: pathlib.Path) -> None:
  try:
    import torch
  except ImportError as e:
    raise UserError(
      "writing a .pt file needs PyTorch: pip install 'jaxsal[torch]', or name a .safetensors file."
    ) from e
  torch.save({name: torch.from_numpy(np.array(x)) for name, x in state_dict.items()}, path)
