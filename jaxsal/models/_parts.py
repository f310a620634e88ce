"""Numbered parts of a module, such as the `layer1` to `layer7` of SoundNet.

The names of weights in a model folder are attribute paths, `layer1.conv.kernel`. In an `nnx.List`
the same weight would be called `layer.0.conv.kernel`, and no existing model folder would load. A
stack of parts is therefore made of attributes that are numbered by `set_parts` and read by `parts`.
"""

from collections.abc import Iterable
from typing import Any

from flax import nnx


def set_parts(module: nnx.Module, name: str, numbered: Iterable[tuple[int, nnx.Module]]) -> None:
  """Sets an attribute `name` + number for each part.

  Args:
    module: the module that gets the parts.
    name: name of the attributes, without the number.
    numbered: number and part, such as `enumerate` gives.
  """
  for number, part in numbered:
    setattr(module, f"{name}{number}", part)


def parts(module: nnx.Module, name: str, numbers: Iterable[int]) -> list[Any]:
  """Returns the parts that `set_parts` set under these numbers, in the order of the numbers."""
  return [getattr(module, f"{name}{number}") for number in numbers]
