"""The command `jaxsal predict`."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from jaxsal.cli import _options
from jaxsal.console import complain, say
from jaxsal.errors import UserError
from jaxsal.weights import DEFAULT

if TYPE_CHECKING:
  from jaxsal.data.video import VideoInfo
  from jaxsal.prediction.gates import Region
  from jaxsal.prediction.options import PredictOptions

SUMMARY = "write saliency maps and an overlay of any video"
DESCRIPTION = """\
Writes one saliency map per frame and an overlay video (heat map over the frames, with the original
time stamps and sound). Without --model it takes UNISAL, whose weights it fetches once (15 MB).

  jaxsal predict street.mp4 --out=saliency
  jaxsal predict --model=runs/demo clip.mp4 --out=clip_saliency
  jaxsal predict --model=runs/demo *.mp4 --out=saliency --maps=both --no-overlay
  jaxsal predict --model=runs/gfsal clip.mp4 --out=gates --show-gates --region=40,10,120,90

The output of one video is written into OUT, that of several into OUT/<name of the video>:

  maps/00001.png ...  8-bit grey, the video's own size, each map scaled to a maximum of 255
  maps.npz            'maps' float16 [n, h, w] at the network's size, unscaled; 'times' in seconds
  overlay.mp4         H.264; odd sizes get one more row or column
  gates.mp4, .png     GFSalNet's weights of appearance and motion: over the frame, and over time

A folder appears when it is complete. If a video is damaged, the maps of the frames before the
damage are kept in a folder whose name ends in '.incomplete'."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the arguments."""
  parser.add_argument("videos", nargs="+", metavar="VIDEO", type=Path, help="video file")
  parser.add_argument(
    "--model",
    metavar="MODEL",
    help="name that `jaxsal weights list` shows, model folder, or workdir of a training "
    f"(default: {DEFAULT})",
  )
  parser.add_argument("--out", required=True, metavar="DIR", type=Path, help="folder to make")
  parser.add_argument(
    "--maps",
    choices=["png", "npz", "both", "none"],
    default="png",
    help="form of the maps (default: png)",
  )
  parser.add_argument(
    "--no-overlay", dest="overlay", action="store_false", help="write no overlay video"
  )
  _options.add_prediction(parser)
  parser.add_argument(
    "--show-gates", action="store_true", help="also write a video and a plot of GFSalNet's gate"
  )
  parser.add_argument(
    "--region",
    dest="regions",
    action="append",
    default=[],
    metavar="X0,Y0,X1,Y1",
    help="rectangle over which the plot of the gate averages, in pixels of the video; may be "
    "repeated (default: the whole frame)",
  )
  parser.add_argument(
    "--overwrite", action="store_true", help="replace the folder of an earlier prediction"
  )


def run(args: argparse.Namespace) -> int:
  """Predicts the videos; a video that fails does not stop the others."""
  _options.clean_up_after_sigterm()
  folders = _folders(args.videos, args.out)
  if args.regions and not args.show_gates:
    raise UserError("--region needs --show-gates.")
  videos = str(args.videos[0]) if len(folders) == 1 else f"{len(folders)} videos"
  default = "" if args.model else ", the default model (--model names another)"
  args.model = args.model or DEFAULT
  say(f"predicting {videos} with {args.model}{default}")
  from jaxsal.data.video import probe
  from jaxsal.prediction.files import check_free

  options, regions = _options.predict_options(args), _regions(args.regions)
  errors, jobs = [], []
  for path, folder in zip(args.videos, folders):
    try:  # before the network is compiled, which can take a minute
      check_free(folder, args.overwrite)
      info = probe(path)
      for region in regions:
        region.check((info.height, info.width))
      jobs.append((info, folder))
    except UserError as error:
      errors.append(error)
  if jobs:
    errors += _predict(args, jobs, options, regions)
  for error in errors:
    complain(f"error: {error}")
  if errors and len(folders) > 1:
    complete = len(folders) - len(errors)
    complain(f"{complete} of {len(folders)} videos are complete")
  return 2 if errors else 0


def _folders(videos: list[Path], out: Path) -> list[Path]:
  """Returns the output folder of each video: `out`, or one named after each of several videos."""
  if len(videos) == 1:
    return [out]
  names = [path.stem for path in videos]
  for name in names:
    if names.count(name) > 1:
      raise UserError(
        f"Two of the videos are called {name!r} and would share the folder {out / name}. "
        "Predict one of them in a run of its own."
      )
  return [out / name for name in names]


def _regions(texts: list[str]) -> "list[Region]":
  """Reads the values of --region."""
  if not texts:
    return []  # the import below takes seconds
  from jaxsal.prediction.gates import Region

  return [Region.parse(text) for text in texts]


def _predict(
  args: argparse.Namespace,
  jobs: "list[tuple[VideoInfo, Path]]",
  options: "PredictOptions",
  regions: "list[Region]",
) -> list[UserError]:
  """Predicts pairs of a video and its folder; returns the errors of those that failed."""
  from jaxsal.prediction import Predictor, predict_file
  from jaxsal.prediction.predictor import load_network

  first, _ = jobs[0]  # a network that adapts to the video is compiled for this one
  network = load_network(args.model).for_size(first.height, first.width)
  predictor = Predictor(network, options, gates=args.show_gates)
  say(f"{args.model}: {predictor.describe()}")
  errors = []
  for info, folder in jobs:
    try:
      report = predict_file(
        predictor,
        info,
        folder,
        maps=args.maps,
        overlay=args.overlay,
        overwrite=args.overwrite,
        regions=regions,
      )
    except UserError as error:
      errors.append(error)
      continue
    say(
      f"{info.path}: {report.frames} frames in {report.seconds:.1f} s, "
      f"{report.frames / report.seconds:.1f} frames/s "
      f"(network alone {report.frames / report.model_seconds:.1f}) -> {folder}"
    )
  return errors
