"""Tables that tie a network's parameters to the names in a PyTorch state dict.

Each network's module holds its own table, built from these few rows; `jaxsal.convert` reads them.
"""

from collections.abc import Iterator
from typing import NamedTuple


class Entry(NamedTuple):
  """One entry of a PyTorch state dict.

  Attributes:
    name: its name there.
    path: the variable's attribute names from the root module; None for BatchNorm's count of
      batches, which is not needed here (read and dropped; written as 0).
    axes: the transposition from PyTorch's layout to ours.
  """

  name: str
  path: tuple[str, ...] | None
  axes: tuple[int, ...] = (0,)


def conv(name: str, path: tuple[str, ...], *, bias: bool) -> Iterator[Entry]:
  """A 3-D convolution: [out, in, kt, kh, kw] there, [kt, kh, kw, in, out] here."""
  yield Entry(f"{name}.weight", (*path, "kernel"), (2, 3, 4, 1, 0))
  if bias:
    yield Entry(f"{name}.bias", (*path, "bias"))


def conv_transpose(name: str, path: tuple[str, ...], *, bias: bool) -> Iterator[Entry]:
  """A transposed one: [in, out, kt, kh, kw] there, [kt, kh, kw, in, out] here."""
  yield Entry(f"{name}.weight", (*path, "kernel"), (2, 3, 4, 0, 1))
  if bias:
    yield Entry(f"{name}.bias", (*path, "bias"))


def batch_norm(name: str, path: tuple[str, ...]) -> Iterator[Entry]:
  """A batch normalisation with its running statistics."""
  yield Entry(f"{name}.weight", (*path, "scale"))
  yield Entry(f"{name}.bias", (*path, "bias"))
  yield Entry(f"{name}.running_mean", (*path, "mean"))
  yield Entry(f"{name}.running_var", (*path, "var"))
  yield Entry(f"{name}.num_batches_tracked", None, ())
