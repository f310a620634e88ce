"""The table that `jaxsal models` prints."""

import rich.table

from jaxsal.console import track
from jaxsal.evaluation import published
from jaxsal.metrics import METRICS
from jaxsal.models import MODELS, SaliencyConfig, cost


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
    for name, row in MODELS.items()
    for variant, config in row.variants.items()
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
  return "  ".join(f"{METRICS[m].title} {row.scores[m]}" for m in order if m in row.scores)
