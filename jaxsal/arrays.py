"""Turns what callers have, such as nested lists and tensors, into NumPy arrays."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from jaxsal.errors import UserError


def as_array(x: Any, name: str) -> np.ndarray:
  """Returns nested lists, or the array of another library, as a NumPy array, copied if need be.

  Args:
    x: the values.
    name: name of the argument, for the error.

  Raises:
    UserError: the values make no array.
  """
  if isinstance(x, Iterator):
    raise UserError(f"{name} is a {type(x).__name__}: give an array, or a list of what it yields.")
  try:
    return np.asarray(x)
  except Exception as error:  # Each library has its own errors for arrays that NumPy cannot read.
    reason = (str(error) or type(error).__name__).splitlines()[0]
    raise UserError(
      f"{name} is a {type(x).__name__} that NumPy cannot read ({reason}). Give a NumPy array; for "
      "a tensor of PyTorch, x.detach().cpu().numpy()."
    ) from error
