"""The command `jaxsal evaluate`."""

import argparse

from jaxsal.cli import _options
from jaxsal.console import say

SUMMARY = "score a model, or any maps, and write a report"
DESCRIPTION = """\
Scores a model on a prepared split, or the maps of any other system, by the protocol of a benchmark.

  jaxsal evaluate --model=runs/dhf1k --dataset=dhf1k --split=validation --out=scores
  jaxsal evaluate --maps=their_maps --dataset=dhf1k --split=validation --out=their_scores
  jaxsal evaluate --model=mean-eye-position --dataset=dhf1k --split=validation --out=floor

MAPS/<video>/<frame>.png are grey images of any size, one for each frame. Two bounds can take the
place of a model: 'mean-eye-position' is the mean density of the training split, and in
'human-infinite' half of the observers predict the other half, if the gaze of each observer is
known. Both bounds are also scored with every model.

  scores.json   means, the protocol, the bounds, and every video
  videos.csv    one line per video
  frames.csv    one line per frame
  report.html   tables, distributions, the best and the worst videos
  videos/       scores of the finished videos; the same command continues after them

The audio-visual data sets have three test splits. Their mean is scored with one model, or with one
model for each split:

  jaxsal evaluate --model=A --model=B --model=C --dataset=avad --split=test --out=scores

The protocols are dhf1k, mit, and stavis, the default of the audio-visual data sets. Shuffled AUCs
of different protocols cannot be compared."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the arguments."""
  system = parser.add_mutually_exclusive_group(required=True)
  system.add_argument(
    "--model",
    action="append",
    metavar="PATH",
    help="model folder, workdir, or bound; repeated for the splits of a cross-validation",
  )
  system.add_argument("--maps", action="append", metavar="DIR", help="maps of another system")
  _options.add_split(parser)
  parser.add_argument(
    "--protocol", metavar="NAME", help="protocol (default: the one that papers follow on the set)"
  )
  parser.add_argument(
    "--no-bounds", dest="bounds", action="store_false", help="do not score floor and ceiling"
  )


def run(args: argparse.Namespace) -> int:
  """Scores the model or the maps."""
  _options.clean_up_after_sigterm()
  systems = args.maps or args.model
  say(f"evaluating {', '.join(systems)} on {args.dataset}, split {args.split}")
  from jaxsal.evaluation import evaluate

  evaluate(
    systems,
    args.dataset,
    split=args.split,
    out=args.out,
    data_dir=args.data_dir,
    protocol=args.protocol,
    maps=args.maps is not None,
    options=_options.predict_options(args),
    blur_video=args.blur_video,
    bounds=args.bounds,
    overwrite=args.overwrite,
  )
  return 0
