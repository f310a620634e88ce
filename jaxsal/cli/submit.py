"""The command `jaxsal submit`."""

import argparse

from jaxsal.cli import _options
from jaxsal.console import say

SUMMARY = "write the maps of a split for a benchmark"
DESCRIPTION = """\
Writes a map for every frame of a split in the layout of the DHF1K benchmark:
OUT/<video>/0001.png, 0002.png, ..., 8-bit grey, of the video's size, with a maximum of 255.

  jaxsal submit --model=runs/dhf1k --dataset=dhf1k --split=test --out=submission/mine

A video's folder appears when it is complete. The same command continues with the other videos."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the arguments."""
  parser.add_argument("--model", required=True, metavar="PATH", help="model folder, or a workdir")
  _options.add_split(parser)


def run(args: argparse.Namespace) -> int:
  """Writes the maps."""
  _options.clean_up_after_sigterm()
  say(f"predicting {args.dataset}, split {args.split}, with {args.model}")
  from jaxsal.evaluation import submit

  out = submit(
    args.model,
    args.dataset,
    split=args.split,
    out=args.out,
    data_dir=args.data_dir,
    options=_options.predict_options(args),
    blur_video=args.blur_video,
    overwrite=args.overwrite,
  )
  say(f"ready: {out}")
  return 0
