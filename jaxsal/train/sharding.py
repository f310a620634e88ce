"""How batches and parameters lie on the devices."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxsal.errors import UserError


def make_mesh() -> Mesh:
  """All devices of all processes on one axis, `data`."""
  return jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))


def batch_sharding(mesh: Mesh) -> NamedSharding:
  """The first axis of every array of a batch lies along `data`."""
  return NamedSharding(mesh, PartitionSpec("data"))


def state_shardings(mesh: Mesh, state: Any, rules: Sequence[tuple[str, str]]) -> Any:
  """A sharding for each leaf of a state of arrays or shapes.

  Args:
    mesh: with the axis `data`.
    state: a tree of arrays or `jax.ShapeDtypeStruct`s.
    rules: (regular expression, placement) pairs; the first whose expression is found in a leaf's
      path, such as `params/encoder/conv_1a/conv_s/kernel`, places it. `replicate` keeps a copy on
      every device; `fsdp` divides the largest axis that the devices divide evenly, and so the
      memory of parameters and optimizer. Leaves without a rule are replicated.
  """
  for pattern, placement in rules:
    if placement not in ("replicate", "fsdp"):
      raise UserError(f"sharding rule {pattern!r}: {placement!r} is not replicate or fsdp")

  def place(path: tuple[Any, ...], leaf: Any) -> NamedSharding:
    name = "/".join(str(getattr(k, "key", getattr(k, "name", getattr(k, "idx", k)))) for k in path)
    placement = next((p for pattern, p in rules if re.search(pattern, name)), "replicate")
    spec = _largest_axis(leaf.shape, mesh.size) if placement == "fsdp" else PartitionSpec()
    return NamedSharding(mesh, spec)

  return jax.tree_util.tree_map_with_path(place, state)


def to_devices(
  batches: Iterable[Mapping[str, np.ndarray]], sharding: NamedSharding, ahead: int = 2
) -> Iterable[dict[str, jax.Array]]:
  """This process's part of each batch, on the devices; transfers run `ahead` batches early."""
  queue = []
  for batch in batches:
    queue.append({k: _put(sharding, v) for k, v in batch.items()})
    if len(queue) >= ahead:
      yield queue.pop(0)
  yield from queue


def _put(sharding: NamedSharding, array: np.ndarray) -> jax.Array:
  with jax.transfer_guard("allow"):  # this is the transfer that is meant
    return jax.make_array_from_process_local_data(sharding, array)


def _largest_axis(shape: tuple[int, ...], devices: int) -> PartitionSpec:
  candidates = [(n, i) for i, n in enumerate(shape) if n % devices == 0]
  if not candidates:
    return PartitionSpec()
  axis = max(candidates)[1]
  return PartitionSpec(*("data" if i == axis else None for i in range(len(shape))))
