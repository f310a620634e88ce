"""The command `jaxsal predict`."""

import argparse
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from jaxsal.cli import _options
from jaxsal.console import complain, say
from jaxsal.data.inputs import Input, find
from jaxsal.errors import UserError
from jaxsal.weights import DEFAULT

if TYPE_CHECKING:
  from jaxsal.data.video import VideoInfo
  from jaxsal.prediction.gates import Region
  from jaxsal.prediction.options import PredictOptions

SUMMARY = "write saliency maps and overlays of any videos and images"
DESCRIPTION = """\
Writes one saliency map per frame and an overlay video (heat map over the frames, with the original
time stamps and sound). Without --model it takes UNISAL, whose weights it fetches once (15 MB).

  jaxsal predict street.mp4 --out=saliency
  jaxsal predict photo.jpg --out=saliency
  jaxsal predict frames/ --out=saliency --fps=30
  jaxsal predict --model=runs/demo clips/*.mp4 --out=saliency --maps=both --no-overlay
  jaxsal predict --model=runs/gfsal clip.mp4 --out=gates --show-gates --region=40,10,120,90

An input is a video, an image (JPEG, PNG, WebP, BMP or TIFF), a folder of videos or images, or a
pattern in quotes. Five or more images of one size whose names differ only in a number are read as
the frames of one video; the command says so, and --as decides otherwise.

The output of one input is written into OUT, that of several into OUT/<name of the video or of the
folder of the images>:

  maps/00001.png ...  8-bit grey, the video's own size, each map scaled to a maximum of 255
  maps.npz            'maps' float16 [n, h, w] at the network's size, unscaled; 'times' in seconds
  overlay.mp4         H.264; odd sizes get one more row or column
  gates.mp4, .png     GFSalNet's weights of appearance and motion: over the frame, and over time

Of images it gets these, whether there is one or many:

  maps/<name>.png     8-bit grey, the image's own size, scaled to a maximum of 255
  overlays/<name>.jpg the heat map over the image

A folder appears when it is complete. If a video is damaged, the maps of the frames before the
damage are kept in a folder whose name ends in '.incomplete'."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
  """Adds the arguments."""
  parser.add_argument(
    "inputs", nargs="+", metavar="INPUT", help="video, image, folder of them, or pattern in quotes"
  )
  parser.add_argument(
    "--model",
    metavar="MODEL",
    help="name that `jaxsal weights list` shows, model folder, or workdir of a training "
    f"(default: {DEFAULT})",
  )
  parser.add_argument("--out", required=True, metavar="DIR", type=Path, help="folder to make")
  parser.add_argument(
    "--as",
    dest="kind",
    choices=["video", "images", "frames"],
    help="what files are: videos, images, or images that are the frames of one video (default: "
    "decided by their names)",
  )
  parser.add_argument(
    "--fps",
    type=Fraction,
    metavar="N",
    help="frames per second of a video whose frames are images (default: 25)",
  )
  parser.add_argument(
    "--maps",
    choices=["png", "npz", "both", "none"],
    default="png",
    help="form of the maps (default: png)",
  )
  parser.add_argument(
    "--no-overlay", dest="overlay", action="store_false", help="write no overlays"
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
  """Predicts all inputs; one that fails does not stop the others."""
  _options.clean_up_after_sigterm()
  inputs = find(args.inputs, args.kind, 25 if args.fps is None else args.fps)
  folders = _folders(inputs, args.out)
  if args.regions and not args.show_gates:
    raise UserError("--region needs --show-gates.")
  if args.fps is not None and all(source.kind != "frames" for source in inputs):
    raise UserError("--fps is for images that are the frames of one video: pass --as=frames too.")
  if any(source.kind == "images" for source in inputs):
    if args.show_gates:
      raise UserError("--show-gates needs a video: images have no motion.")
    if args.maps in ("npz", "both"):
      raise UserError(f"--maps={args.maps} is for videos: images get --maps=png or --maps=none.")
  default = "" if args.model else ", the default model (--model names another)"
  args.model = args.model or DEFAULT
  say(f"predicting {_what(inputs)} with {args.model}{default}")
  from jaxsal.prediction.files import check_free

  options, regions = _options.predict_options(args), _regions(args.regions)
  errors: list[UserError] = []
  jobs: list[tuple[Input, VideoInfo | None, Path]] = []  # no facts of several images
  for source, folder in zip(inputs, folders):
    try:  # before the network is compiled, which can take a minute
      check_free(folder, args.overwrite)
      several = source.kind == "images" and len(source.files) > 1
      info = None if several else source.probe()
      for region in regions:
        assert info is not None  # gates, and hence regions, are refused for images
        region.check((info.height, info.width))
      jobs.append((source, info, folder))
    except UserError as error:
      errors.append(error)
  if jobs:
    errors += _predict(args, jobs, options, regions)
  for error in errors:
    complain(f"error: {error}")
  if errors and len(folders) > 1:
    complete = len(folders) - len(errors)
    complain(f"{complete} of {_what(inputs)} are complete")
  return 2 if errors else 0


def _what(inputs: Sequence[Input]) -> str:
  """Returns the only input, or the number of inputs, in words."""
  if len(inputs) == 1:
    return str(inputs[0].path)
  videos = all(source.kind != "images" for source in inputs)
  return f"{len(inputs)} {'videos' if videos else 'inputs'}"


def _folders(inputs: Sequence[Input], out: Path) -> list[Path]:
  """Returns the output folder of each input: `out`, or one named after each of several inputs."""
  if len(inputs) == 1:
    return [out]
  names = [source.name for source in inputs]
  for name in names:
    if names.count(name) > 1:
      raise UserError(
        f"Two of the inputs are called {name!r} and would share the folder {out / name}. "
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
  jobs: "list[tuple[Input, VideoInfo | None, Path]]",
  options: "PredictOptions",
  regions: "list[Region]",
) -> list[UserError]:
  """Predicts inputs into their folders; returns the errors of those that failed."""
  from jaxsal.prediction import Predictor, predict_file, predict_images
  from jaxsal.prediction.predictor import load_network

  network = load_network(args.model)
  predictor = None
  errors = []
  for source, info, folder in jobs:
    try:
      if info is None or source.kind == "images":
        report = predict_images(
          network,
          source.files,
          folder,
          maps=args.maps == "png",
          overlay=args.overlay,
          overwrite=args.overwrite,
          options=options,
        )
      else:
        if predictor is None:  # a network that adapts to a video is compiled for the first one
          adapted = network.for_size(info.height, info.width)
          predictor = Predictor(adapted, options, gates=args.show_gates)
          say(f"{args.model}: {predictor.describe()}")
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
    unit = "images" if source.kind == "images" else "frames"
    count = f"{report.frames} {unit if report.frames > 1 else unit[:-1]}"
    say(
      f"{source.path}: {count} in {report.seconds:.1f} s, "
      f"{report.frames / report.seconds:.1f} {unit}/s "
      f"(network alone {report.frames / report.model_seconds:.1f}) -> {folder}"
    )
  return errors
