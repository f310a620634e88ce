"""The command `jaxsal prepare`."""

import argparse
from pathlib import Path

from jaxsal.cli import _options
from jaxsal.console import say

SUMMARY = "build a data set"
DESCRIPTION = """\
Builds a data set once: frames, densities and fixations in files that training reads at random.

  jaxsal prepare demo --data-dir=data
  jaxsal prepare dhf1k --from=downloads/DHF1K --data-dir=data
  jaxsal prepare diem --from=downloads/STAViS --data-dir=data
  jaxsal prepare ucf/224x384 --from=downloads/ucf --data-dir=data --jobs=8
  jaxsal prepare own/192x352 --from=my_videos --data-dir=data

Data sets of real gaze must be downloaded by you; without --from, the command says where. The
data set 'own' is made of your own videos and gaze; without --from, the command says in which form.
NAME alone keeps frames at their own size, for evaluation. NAME/192x352 and NAME/224x384 are resized
for training. NAME/480x640 is for GFSalNet and holds images of the optical flow, computed by DIS, or
by PWC-Net with --flow-from=models/pwcnet.

The same command continues an interrupted build. A missing or damaged file stops the build with its
name; with --skip-bad such videos are left out and listed. --jobs needs Apache Beam
(pip install 'jaxsal[beam]')."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the arguments."""
  parser.add_argument("dataset", metavar="DATASET", help="NAME or NAME/CONFIG, such as demo")
  parser.add_argument(
    "--from", dest="source", metavar="FOLDER", type=Path, help="folder of the downloaded data set"
  )
  parser.add_argument(
    "--data-dir",
    default=Path(_options.DATA_DIR),
    metavar="DIR",
    type=Path,
    help=f"folder for prepared data sets (default: {_options.DATA_DIR})",
  )
  parser.add_argument(
    "--skip-bad", action="store_true", help="leave out videos that are missing or damaged"
  )
  _options.add_flow(parser)
  parser.add_argument(
    "--jobs", type=int, default=1, metavar="N", help="number of processes (default: 1)"
  )


def run(args: argparse.Namespace) -> int:
  """Builds the data set."""
  say(f"loading TensorFlow Datasets, which builds {args.dataset}")
  from jaxsal.tfds_builders import build

  directory = build.prepare(
    args.dataset,
    args.data_dir,
    args.source,
    skip_bad=args.skip_bad,
    flow_from=args.flow_from,
    jobs=args.jobs,
  )
  say(f"ready: {directory}")
  return 0
