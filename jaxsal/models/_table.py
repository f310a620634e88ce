"""Tables that tie a network's parameters to the names in a PyTorch state dict.

Each network's module holds its own table, built from these few rows; `jaxsal.convert` reads them.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np


class Entry(NamedTuple):
  """One entry of a PyTorch state dict.

  Attributes:
    name: its name there.
    path: the variable's attribute names from the root module; None for an entry that the network
      does not use: it may be missing, is dropped when read, and written as zeros.
    axes: the transposition from PyTorch's layout to ours.
    shape, dtype: of the zeros that are written for an entry without a path.
  """

  name: str
  path: tuple[str, ...] | None
  axes: tuple[int, ...] = (0,)
  shape: tuple[int, ...] = ()
  dtype: type[np.generic] = np.float32


def unused(name: str, shape: tuple[int, ...], dtype: type[np.generic] = np.float32) -> Entry:
  """An entry that checkpoints have and the network has no use for."""
  return Entry(name, None, shape=shape, dtype=dtype)


def under(name: str, part: str, entries: Iterable[Entry]) -> Iterator[Entry]:
  """The table of a network that is the attribute `part` of another, there called `name`."""
  for entry in entries:
    path = None if entry.path is None else (part, *entry.path)
    yield entry._replace(name=f"{name}.{entry.name}", path=path)


def conv(name: str, path: tuple[str, ...], *, bias: bool) -> Iterator[Entry]:
  """A 3-D convolution: [out, in, kt, kh, kw] there, [kt, kh, kw, in, out] here."""
  yield Entry(f"{name}.weight", (*path, "kernel"), (2, 3, 4, 1, 0))
  if bias:
    yield Entry(f"{name}.bias", (*path, "bias"))


def conv2d(name: str, path: tuple[str, ...], *, bias: bool = True) -> Iterator[Entry]:
  """A 2-D convolution: [out, in, kh, kw] there, [kh, kw, in, out] here."""
  yield Entry(f"{name}.weight", (*path, "kernel"), (2, 3, 1, 0))
  if bias:
    yield Entry(f"{name}.bias", (*path, "bias"))


def linear(name: str, path: tuple[str, ...]) -> Iterator[Entry]:
  """A matrix with bias: [out, in] there, [in, out] here."""
  yield Entry(f"{name}.weight", (*path, "kernel"), (1, 0))
  yield Entry(f"{name}.bias", (*path, "bias"))


def bilinear(name: str, path: tuple[str, ...]) -> Iterator[Entry]:
  """PyTorch's `nn.Bilinear`: [out, in1, in2] there, [in1, in2, out] here."""
  yield Entry(f"{name}.weight", (*path, "kernel"), (1, 2, 0))
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
  yield unused(f"{name}.num_batches_tracked", (), np.int64)
