"""Places batches and the training state on the devices."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxsal.errors import UserError


def make_mesh() -> Mesh:
  """Returns a mesh with all devices of all processes on one axis, `data`."""
  return jax.make_mesh((jax.device_count(),), ("data",), axis_types=(AxisType.Auto,))


def batch_sharding(mesh: Mesh) -> NamedSharding:
  """Returns a sharding that divides the first axis of every array of a batch along `data`."""
  return NamedSharding(mesh, PartitionSpec("data"))


def state_shardings(mesh: Mesh, state: Any, rules: Sequence[tuple[str, str]]) -> Any:
  """Returns a sharding for each leaf of a state.

  Args:
    mesh: mesh with the axis `data`.
    state: tree of arrays or `jax.ShapeDtypeStruct`s.
    rules: (regular expression, placement) pairs; the first whose expression is found in a leaf's
      path, such as `params/encoder/conv_1a/conv_s/kernel`, places that leaf. `replicate` keeps a
      copy on every device. `fsdp` divides the largest axis whose length is a multiple of the number
      of devices, and so the memory of parameters and optimizer. Leaves without a rule are
      replicated.

  Raises:
    UserError: a rule names another placement.
  """
  for pattern, placement in rules:
    if placement not in ("replicate", "fsdp"):
      raise UserError(
        f"The sharding rule {pattern!r} has the placement {placement!r}: it must be replicate or"
        " fsdp."
      )

  def place(path: tuple[Any, ...], leaf: Any) -> NamedSharding:
    name = "/".join(str(getattr(k, "key", getattr(k, "name", getattr(k, "idx", k)))) for k in path)
    placement = next((p for pattern, p in rules if re.search(pattern, name)), "replicate")
    spec = _largest_axis(leaf.shape, mesh.size) if placement == "fsdp" else PartitionSpec()
    return NamedSharding(mesh, spec)

  return jax.tree_util.tree_map_with_path(place, state)


def to_devices(
  batches: Iterable[Mapping[str, np.ndarray]], sharding: NamedSharding, ahead: int = 2
) -> Iterable[dict[str, jax.Array]]:
  """Yields this process's part of each batch on the devices.

  Args:
    batches: this process's part of each batch, on the host.
    sharding: sharding of the whole batch's arrays.
    ahead: number of batches whose transfer is started early.
  """
  queue: list[dict[str, jax.Array]] = []
  for batch in batches:
    queue.append({k: _put(sharding, v) for k, v in batch.items()})
    if len(queue) >= ahead:
      yield queue.pop(0)
  yield from queue


def _put(sharding: NamedSharding, array: np.ndarray) -> jax.Array:
  with jax.transfer_guard("allow"):  # this transfer is intended
    return jax.make_array_from_process_local_data(sharding, array)


def _largest_axis(shape: tuple[int, ...], devices: int) -> PartitionSpec:
  candidates = [(n, i) for i, n in enumerate(shape) if n % devices == 0]
  if not candidates:
    return PartitionSpec()
  axis = max(candidates)[1]
  return PartitionSpec(*("data" if i == axis else None for i in range(len(shape))))
