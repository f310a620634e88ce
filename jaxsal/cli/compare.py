"""The command `jaxsal compare`."""

import argparse
from pathlib import Path

from jaxsal.console import say

SUMMARY = "plot the difference of two evaluations"
DESCRIPTION = """\
Plots the difference between two evaluations of the same frames: a bar for each video, sorted.

  jaxsal compare scores/avinet scores/avinet_muted --out=sound.png
  jaxsal compare scores/tsfp scores/vinet --metric=cc --out=difference.pdf"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the arguments."""
  parser.add_argument("first", metavar="A", type=Path, help="folder of an evaluation")
  parser.add_argument("second", metavar="B", type=Path, help="folder of another evaluation")
  parser.add_argument(
    "--out", required=True, metavar="FILE", type=Path, help="picture: .png, .pdf or .svg"
  )
  parser.add_argument(
    "--metric", default="nss", metavar="NAME", help="metric, as in scores.json (default: nss)"
  )


def run(args: argparse.Namespace) -> int:
  """Plots the difference."""
  say(f"comparing {args.first} with {args.second}")
  from jaxsal.evaluation.compare import compare

  compare(args.first, args.second, args.out, metric=args.metric)
  return 0
