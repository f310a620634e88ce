"""The command `jaxsal models`."""

import argparse
from collections.abc import Iterable
from typing import TYPE_CHECKING

import rich.box
import rich.table

from jaxsal.console import show

if TYPE_CHECKING:
  from jaxsal.cli._networks import Row

SUMMARY = "list the networks and their variants"
DESCRIPTION = """\
Prints the networks and their variants: parameters, size in memory, arithmetic per map, the clips
that they take (T frames of that size), and the scores that their papers report.

  jaxsal models
  jaxsal models --variants"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the arguments."""
  parser.add_argument(
    "--variants", action="store_true", help="list all variants, not only the papers' own"
  )


def run(args: argparse.Namespace) -> int:
  """Prints the table."""
  from jaxsal.cli import _networks  # imported here, so that `python -m` can run it as a program

  rows = [row for row in _networks.rows() if args.variants or row.variant == "base"]
  show(costs(rows))
  show(scores(rows))
  return 0


def costs(rows: "Iterable[Row]") -> rich.table.Table:
  """Returns the table of costs and clips, which fits in 80 columns."""
  title = "GFLOP: multiplications and additions for one map, in billions"
  table = rich.table.Table(title=title, title_justify="left", box=None, pad_edge=False)
  numbers = ("parameters", "MB", "GFLOP")
  for column in ("model", "variant", *numbers, "T", "size", "target"):
    table.add_column(column, justify="right" if column in numbers else "left", no_wrap=True)
  for row in rows:
    table.add_row(
      row.model,
      row.variant,
      f"{row.parameters:,}",
      f"{row.parameters * 4 / 1e6:.1f}",
      f"{row.operations / 1e9:.0f}" if row.operations else "",
      str(row.length or ""),
      "{}x{}".format(*row.size) if row.size else "",
      row.target or "",
    )
  return table


def scores(rows: "Iterable[Row]") -> rich.table.Table:
  """Returns the table of published scores."""
  title = "\nDHF1K's test set, as the networks' own papers report it"
  table = rich.table.Table("model", "scores", title=title, title_justify="left", box=None)
  table.pad_edge = False
  for row in rows:
    if row.published:
      table.add_row(row.model, row.published)
  return table
