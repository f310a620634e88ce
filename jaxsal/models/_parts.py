"""Numbered parts of a module, such as `layer1` to `layer7` of SoundNet.

The names of the weights in a model folder are attribute paths, such as `layer1.conv.kernel`. An
`nnx.List` would call this weight `layer.0.conv.kernel`, and no existing model folder would load.
The parts of a stack are therefore attributes with a number in their names: `setattr` creates them,
and `parts` returns them.
"""

from collections.abc import Iterable
from typing import Any

from flax import nnx


def parts(module: nnx.Module, name: str, numbers: Iterable[int | str]) -> list[Any]:
  """Returns the attributes `name` + number of a module, in the order of the numbers."""
  return [getattr(module, f"{name}{number}") for number in numbers]
