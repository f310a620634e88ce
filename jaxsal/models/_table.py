"""Entries of the tables that tie a network's parameters to the names in a PyTorch state dict.

Every network has a table made of these entries, and `jaxsal.convert` reads it. In the docstrings,
PyTorch's layout comes first.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np


class Entry(NamedTuple):
  """An entry of a PyTorch state dict.

  Attributes:
    name: name in the state dict.
    path: attribute names from the root module to the variable; None for an entry that the network
      does not use. Such an entry may be missing, is dropped when read, and is written as zeros.
    axes: transposition from PyTorch's layout to ours.
    shape, dtype: shape and type of the zeros that are written for an entry without a path.
  """

  name: str
  path: tuple[str, ...] | None
  axes: tuple[int, ...] = (0,)
  shape: tuple[int, ...] = ()
  dtype: type[np.generic] = np.float32


def unused(name: str, shape: tuple[int, ...], dtype: type[np.generic] = np.float32) -> Entry:
  """Makes an entry that checkpoints have and the network does not use."""
  return Entry(name, None, shape=shape, dtype=dtype)


def under(name: str, part: str, entries: Iterable[Entry]) -> Iterator[Entry]:
  """Yields the entries of a part of a network.

  Args:
    name: name of the part in PyTorch.
    part: attribute name of the part.
    entries: table of the part by itself.
  """
  for entry in entries:
    path = None if entry.path is None else (part, *entry.path)
    yield entry._replace(name=f"{name}.{entry.name}", path=path)


def conv(name: str, path: tuple[str, ...], *, bias: bool) -> Iterator[Entry]:
  """Yields the entries of a 3-D convolution.

  [out, in, kt, kh, kw] is [kt, kh, kw, in, out] here.
  """
  yield Entry(f"{name}.weight", (*path, "kernel"), (2, 3, 4, 1, 0))
  if bias:
    yield Entry(f"{name}.bias", (*path, "bias"))


def conv2d(name: str, path: tuple[str, ...], *, bias: bool = True) -> Iterator[Entry]:
  """Yields the entries of a 2-D convolution: [out, in, kh, kw] is [kh, kw, in, out] here."""
  yield Entry(f"{name}.weight", (*path, "kernel"), (2, 3, 1, 0))
  if bias:
    yield Entry(f"{name}.bias", (*path, "bias"))


def linear(name: str, path: tuple[str, ...]) -> Iterator[Entry]:
  """Yields the entries of a linear layer with bias: [out, in] is [in, out] here."""
  yield Entry(f"{name}.weight", (*path, "kernel"), (1, 0))
  yield Entry(f"{name}.bias", (*path, "bias"))


def bilinear(name: str, path: tuple[str, ...]) -> Iterator[Entry]:
  """Yields the entries of an `nn.Bilinear`: [out, in1, in2] is [in1, in2, out] here."""
  yield Entry(f"{name}.weight", (*path, "kernel"), (1, 2, 0))
  yield Entry(f"{name}.bias", (*path, "bias"))


def conv_transpose(name: str, path: tuple[str, ...], *, bias: bool) -> Iterator[Entry]:
  """Yields the entries of a transposed 3-D convolution.

  [in, out, kt, kh, kw] is [kt, kh, kw, in, out] here.
  """
  yield Entry(f"{name}.weight", (*path, "kernel"), (2, 3, 4, 0, 1))
  if bias:
    yield Entry(f"{name}.bias", (*path, "bias"))


def batch_norm(name: str, path: tuple[str, ...]) -> Iterator[Entry]:
  """Yields the entries of a batch normalisation with its running statistics."""
  yield Entry(f"{name}.weight", (*path, "scale"))
  yield Entry(f"{name}.bias", (*path, "bias"))
  yield Entry(f"{name}.running_mean", (*path, "mean"))
  yield Entry(f"{name}.running_var", (*path, "var"))
  yield unused(f"{name}.num_batches_tracked", (), np.int64)
