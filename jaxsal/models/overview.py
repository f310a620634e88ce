"""The table that `jaxsal models` prints."""

import jax
import jax.numpy as jnp
import rich.table
from flax import nnx

from jaxsal.console import track
from jaxsal.models.base import SaliencyConfig
from jaxsal.models.registry import MODELS, build

# Scores of the `base` networks on DHF1K's test set: TSFP-Net's table 2, and for STSANet its own
# table I. They are the authors' numbers, not ours.
PUBLISHED = {
  "stsanet": "NSS 3.010  CC 0.529  SIM 0.383  AUC-J 0.913  sAUC 0.723",
  "tased": "NSS 2.667  CC 0.470  SIM 0.361  AUC-J 0.895  sAUC 0.712",
  "tsfp": "NSS 2.966  CC 0.517  SIM 0.392  AUC-J 0.912  sAUC 0.723",
  "vinet": "NSS 2.872  CC 0.511  SIM 0.381  AUC-J 0.908  sAUC 0.729",
}


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
      PUBLISHED.get(name, "") if variant == "base" else "",
    )
  return result


def cost(name: str, config: SaliencyConfig) -> tuple[int, float]:
  """Number of parameters and floating-point operations for one map; nothing is computed."""
  model = nnx.eval_shape(lambda: build(name, config))
  model.eval()
  graph, state = nnx.split(model)
  parameters = sum(x.size for x in jax.tree.leaves(nnx.state(model, nnx.Param)))
  if not isinstance(config, SaliencyConfig):
    return parameters, 0.0
  clip = jax.ShapeDtypeStruct((1, config.length, *config.size, 3), jnp.float32)
  lowered = jax.jit(lambda state, frames: nnx.merge(graph, state)(frames)).lower(state, clip)
  return parameters, lowered.cost_analysis()["flops"]
