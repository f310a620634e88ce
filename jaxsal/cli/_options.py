"""Arguments that several commands share."""

import argparse
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
  from jaxsal.prediction.options import PredictOptions

DATA_DIR = "~/tensorflow_datasets"


def add_flow(parser: argparse.ArgumentParser) -> None:
  """Adds --flow-from."""
  parser.add_argument(
    "--flow-from",
    metavar="DIR",
    help="model folder of the PWC-Net that computes GFSalNet's optical flow (default: DIS does)",
  )


def add_prediction(parser: argparse.ArgumentParser) -> None:
  """Adds the arguments that `predict_options` reads."""
  parser.add_argument(
    "--batch-size",
    type=int,
    metavar="N",
    help="clips or frames computed together, over all devices; choose a smaller number if memory "
    "runs out (default: 1 per CPU, 8 per GPU or TPU)",
  )
  parser.add_argument(
    "--blur",
    type=float,
    default=0.0,
    metavar="SIGMA",
    help="smooth each map with a Gaussian, in pixels at the network's size; TASED-Net's published "
    "numbers use 7 at 224 x 384 (default: 0, none)",
  )
  parser.add_argument(
    "--stride",
    type=int,
    metavar="N",
    help="take every N-th frame into a sequence, with a recurrent network (default: the authors', "
    "5 for UNISAL)",
  )
  parser.add_argument(
    "--mute", action="store_true", help="predict without sound, with an audio-visual network"
  )
  add_flow(parser)
  parser.add_argument(
    "--sharing",
    choices=["on", "off"],
    default="on",
    help="off: compute every clip from its own frames alone, which gives the same maps, slower and "
    "in less memory (default: on)",
  )


def predict_options(args: argparse.Namespace) -> "PredictOptions":
  """Returns the options that `add_prediction` has added; raises UserError for wrong values."""
  from jaxsal.prediction.options import PredictOptions

  return PredictOptions(
    batch_size=args.batch_size,
    blur=args.blur,
    flow_from=args.flow_from,
    sharing=args.sharing == "on",
    stride=args.stride,
    mute=args.mute,
  )


def add_split(parser: argparse.ArgumentParser) -> None:
  """Adds the arguments of commands that predict a whole split."""
  parser.add_argument(
    "--dataset", required=True, metavar="NAME", help="data set: NAME or NAME/CONFIG"
  )
  parser.add_argument("--split", required=True, metavar="NAME", help="split, such as validation")
  parser.add_argument(
    "--data-dir",
    default=DATA_DIR,
    metavar="DIR",
    help=f"folder of the prepared data sets (default: {DATA_DIR})",
  )
  parser.add_argument("--out", required=True, metavar="DIR", help="folder for this run alone")
  parser.add_argument(
    "--blur-video",
    type=float,
    default=0.0,
    metavar="SIGMA",
    help="smooth each map with a Gaussian after resizing, in pixels at the video's size; ViNet's "
    "published numbers use 2 (default: 0, none)",
  )
  add_prediction(parser)
  parser.add_argument(
    "--overwrite", action="store_true", help="delete the results in OUT and begin again"
  )


def clean_up_after_sigterm() -> None:
  """Lets SIGTERM end the process as Ctrl-C does, so that temporary files are removed."""
  signal.signal(signal.SIGTERM, signal.default_int_handler)
