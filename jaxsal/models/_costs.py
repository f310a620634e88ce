"""The cost of a network: its parameters, and its operations for one map."""

from collections.abc import Callable
from typing import Any

import jax
from flax import nnx

from jaxsal.models._base import SaliencyModel
from jaxsal.models._registry import build


def cost(name: str, config: Any) -> tuple[int, float]:
  """Counts the parameters and the floating-point operations of a network, computing nothing.

  Args:
    name: name of the network in the registry.
    config: configuration of the network.

  Returns:
    The number of parameters, and the number of operations from a batch of one clip to its map,
    which is 0 for a network that predicts no saliency. A recurrent network makes a map of every
    frame of a clip: its operations are those of one frame.
  """
  model = nnx.eval_shape(lambda: build(name, config))
  model.eval()
  graph, state = nnx.split(model)
  parameters = sum(x.size for x in jax.tree.leaves(nnx.state(model, nnx.Param)))
  if not isinstance(model, SaliencyModel):
    return parameters, 0.0
  flops, _ = operations(
    lambda state, batch: nnx.merge(graph, state).from_batch(batch), state, model.batch_spec(1)
  )
  return parameters, flops / (model.length if model.recurrent else 1)


def operations(function: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
  """Counts the floating-point operations of a call as XLA does, computing nothing.

  Args:
    function: a function that `jax.jit` takes.
    *arguments: arrays, or `jax.ShapeDtypeStruct`s in their place.

  Returns:
    The number of operations, and the shapes of the function's results.
  """
  # The count is for a TPU, because XLA counts the body of a loop once, and CPUs compute in loops.
  lowered = jax.jit(function).trace(*arguments).lower(lowering_platforms=("tpu",))
  analysis = lowered.cost_analysis()
  assert analysis is not None
  return analysis["flops"], lowered.out_info
