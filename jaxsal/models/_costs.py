"""What networks cost: parameters, and operations for one map."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxsal.models._base import AudioVisualModel, SaliencyConfig
from jaxsal.models._registry import build
from jaxsal.models.gfsal import GFSalNet


def cost(name: str, config: SaliencyConfig) -> tuple[int, float]:
  """Number of parameters and floating-point operations for one map; nothing is computed."""
  model = nnx.eval_shape(lambda: build(name, config))
  model.eval()
  graph, state = nnx.split(model)
  parameters = sum(x.size for x in jax.tree.leaves(nnx.state(model, nnx.Param)))
  if not isinstance(config, SaliencyConfig):
    return parameters, 0.0
  inputs = [jax.ShapeDtypeStruct((1, config.length, *config.size, 3), jnp.float32)]
  if isinstance(model, GFSalNet):
    inputs = [jax.ShapeDtypeStruct((1, *config.size, 3), jnp.float32)] * 2
  if isinstance(model, AudioVisualModel):
    inputs.append(jax.ShapeDtypeStruct((1, model.samples), jnp.float32))
  flops, _ = operations(lambda state, *inputs: nnx.merge(graph, state)(*inputs), state, *inputs)
  return parameters, flops


def operations(function: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
  """Floating-point operations of a call, as XLA counts them, and the shapes of what it returns.

  Args:
    function: what `jax.jit` takes.
    arguments: arrays, or `jax.ShapeDtypeStruct`s in their place; nothing is computed.
  """
  # As for a TPU: what a CPU does in a loop counts only once.
  lowered = jax.jit(function).trace(*arguments).lower(lowering_platforms=("tpu",))
  return lowered.cost_analysis()["flops"], lowered.out_info
