"""The table that `jaxsal models` prints."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import rich.table
from flax import nnx

from jaxsal import published
from jaxsal.console import track
from jaxsal.models.base import AudioVisualModel, SaliencyConfig
from jaxsal.models.gfsal import GFSalNet
from jaxsal.models.registry import MODELS, build


def table(*, variants: bool) -> rich.table.Table:
  """One row per network, or per variant."""
  result = rich.table.Table(title="GFLOP: multiplications and additions for one map, in billions")
  columns = ("model", "variant", "parameters", "MB", "GFLOP", "T", "size", "target")
  for column in (*columns, "DHF1K test, as published"):
    result.add_column(
      column, justify="right" if column in ("parameters", "MB", "GFLOP") else "left"
    )
  rows = [
    (name, variant, config)
    for name, (_, _, named) in MODELS.items()
    for variant, config in named.items()
    if variants or variant == "base"
  ]
  for name, variant, config in track(rows, "counting", len(rows), "network"):
    parameters, flops = cost(name, config)
    clip = ("", "", "")
    if isinstance(config, SaliencyConfig):
      clip = (str(config.length), "{} x {}".format(*config.size), config.target)
    result.add_row(
      name,
      variant,
      f"{parameters:,}",
      f"{parameters * 4 / 1e6:.1f}",
      f"{flops / 1e9:.0f}" if flops else "",
      *clip,
      _published(name) if variant == "base" else "",
    )
  return result


def _published(name: str) -> str:
  """What the network's own paper reports on DHF1K's test set: the authors' numbers, not ours."""
  row = published.headline(name)
  if row is None:
    return ""
  order = ("nss", "cc", "sim", "auc_judd", "auc_shuffled")
  return "  ".join(f"{published.METRICS[m]} {row.scores[m]}" for m in order if m in row.scores)


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
