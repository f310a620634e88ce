"""The `jaxsal` command. Whatever is slow to import is imported by the subcommand that needs it."""

import argparse
import ast
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jaxsal import runtime
from jaxsal.errors import UserError

if TYPE_CHECKING:
  from jaxsal.prediction.gates import Region

_PREDICT = """\
Writes one saliency map per frame and an overlay video (heat map over the frames, with the original
time stamps and sound).

  jaxsal predict --model=runs/demo clip.mp4 --out=clip_saliency
  jaxsal predict --model=runs/demo *.mp4 --out=saliency --maps=both --no-overlay
  jaxsal predict --model=runs/gfsal clip.mp4 --out=gates --show-gates --region=40,10,120,90

One video is written into OUT itself, several each into OUT/<name of the video>:

  maps/00001.png ...  8-bit grey, the video's own size, each map scaled to a maximum of 255
  maps.npz            'maps' float16 [n, h, w] at the model's size, unscaled; 'times' in seconds
  overlay.mp4         H.264; odd sizes get one more row or column
  gates.mp4, .png     GFSalNet's weights of appearance and motion: over the frame, and over time

A folder appears when it is complete. Of a damaged video, the frames before the damage are kept in a
folder that ends in '.incomplete'."""

_TRAIN = """\
Trains a network; the same as `python -m jaxsal.main`. Running the command again resumes.

  jaxsal train --config=configs/tsfp.py --workdir=runs/demo
  jaxsal train --config=configs/tsfp.py:dhf1k --workdir=runs/dhf1k --config.data.batch_size=8"""

_EVALUATE = """\
Scores a model on a prepared split, or the maps of any other system, by the protocol of a benchmark.

  jaxsal evaluate --model=runs/dhf1k --dataset=dhf1k --split=validation --out=scores
  jaxsal evaluate --maps=their_maps --dataset=dhf1k --split=validation --out=their_scores
  jaxsal evaluate --model=mean-eye-position --dataset=dhf1k --split=validation --out=floor

MAPS/<video>/<frame>.png are grey images of any size, one for each frame. In place of a model stand
'mean-eye-position' (the mean density of the training split) and 'human-infinite' (half of the
observers predicts the other half, where each one's gaze is known); both are scored beside every
model as well.

  scores.json   means, with the protocol; bounds; every video
  videos.csv    a line per video
  frames.csv    a line per frame
  report.html   tables, distributions, the best and the worst videos
  videos/       scores of the videos that are done: the same command continues after them

Of the audio-visual sets with three splits, the mean over them, of one model or of one for each:

  jaxsal evaluate --model=A --model=B --model=C --dataset=avad --split=test --out=scores

Protocols: dhf1k, mit, and stavis, the default of the audio-visual sets. Their shuffled AUCs cannot
be compared."""

_COMPARE = """\
Draws the difference between two evaluations of the same frames: a bar for each video, sorted.

  jaxsal compare scores/avinet scores/avinet_muted --out=sound.png
  jaxsal compare scores/tsfp scores/vinet --metric=cc --out=difference.pdf"""

_SUBMIT = """\
Writes a map for every frame of a split in the layout that the DHF1K benchmark takes:
OUT/<video>/0001.png, 0002.png, ..., 8-bit grey, of the video's size, maximum 255.

  jaxsal submit --model=runs/dhf1k --dataset=dhf1k --split=test --out=submission/mine

A video's folder appears when it is whole; the same command continues with the others."""

_CONVERT = """\
Turns a PyTorch checkpoint into a model folder (safetensors and JSON, nothing executable), or a
model folder into a state dict that the PyTorch implementation loads.

  jaxsal convert --model=tased --from=TASED_updated.pt --out=models/tased
  jaxsal convert --model=vinet --set length=16 --from=vinet_t16.pt --out=models/vinet_t16
  jaxsal convert --to-torch models/tased --out=tased.pt

Reading .pt files and writing them needs PyTorch (pip install 'jaxsal[torch]'); .safetensors does
not."""

_MODELS = """\
Prints the networks and their variants: parameters, size in memory, arithmetic per map, the clips
they take, and what their papers report.

  jaxsal models
  jaxsal models --variants"""

_PREPARE = """\
Builds a data set, once: frames, densities and fixations in files that training reads at random.

  jaxsal prepare demo --data-dir=data
  jaxsal prepare dhf1k --from=downloads/DHF1K --data-dir=data
  jaxsal prepare diem --from=downloads/STAViS --data-dir=data
  jaxsal prepare ucf/224x384 --from=downloads/ucf --data-dir=data --jobs=8

Sets of real gaze must be downloaded by you (without --from it says where). NAME alone keeps frames
at their own size, as evaluation wants them; NAME/192x352 and NAME/224x384 are resized for training,
and NAME/480x640 for GFSalNet, with images of the optical flow: by DIS, or by PWC-Net with
--flow-from=models/pwcnet. Interrupted, the same command continues. What is missing or damaged is
named, and stops the build; with --skip-bad such videos are left out and listed. --jobs needs Apache
Beam (jaxsal[beam])."""


def program() -> int:
  """The console script `jaxsal`."""
  runtime.use_large_pages()
  return main()


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command; the exit code is 2 for what a user can put right."""
  parser = _parser()
  args, rest = parser.parse_known_args(argv)
  if rest and args.run is not _train:
    parser.error(f"unknown argument {rest[0]}; see jaxsal {args.command} --help")
  try:
    return args.run(args, rest)
  except UserError as error:
    return _complain(error)
  except KeyboardInterrupt:
    resumable = args.command in ("prepare", "evaluate", "submit")
    then = "; the same command continues" if resumable else ""
    print(f"jaxsal: interrupted; nothing incomplete was kept{then}", file=sys.stderr)
    return 130


def _parser() -> argparse.ArgumentParser:
  parser = argparse.ArgumentParser(
    prog="jaxsal",
    description="Video saliency prediction in JAX.",
    epilog="jaxsal COMMAND --help shows examples.",
    allow_abbrev=False,
  )
  commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

  def command(name: str, run: object, summary: str, description: str) -> argparse.ArgumentParser:
    sub = commands.add_parser(
      name,
      help=summary,
      description=description,
      formatter_class=argparse.RawDescriptionHelpFormatter,
      allow_abbrev=False,
    )
    sub.set_defaults(run=run)
    return sub

  command("train", _train, "train a network", _TRAIN)

  sub = command("predict", _predict, "saliency maps and an overlay of any video", _PREDICT)
  sub.add_argument("videos", nargs="+", metavar="VIDEO", type=Path, help="a video file")
  sub.add_argument(
    "--model", required=True, metavar="PATH", help="a model folder, or the workdir of a training"
  )
  sub.add_argument("--out", required=True, metavar="DIR", type=Path, help="the folder to make")
  sub.add_argument(
    "--maps", choices=["png", "npz", "both", "none"], default="png", help="default: png"
  )
  sub.add_argument("--no-overlay", dest="overlay", action="store_false", help="no overlay video")
  sub.add_argument(
    "--batch-size",
    type=int,
    metavar="N",
    help="clips at a time, over all devices; less if memory runs out "
    "(default: 1 per CPU, 8 per GPU or TPU)",
  )
  sub.add_argument(
    "--blur",
    type=float,
    default=0.0,
    metavar="SIGMA",
    help="smooth each map with a Gaussian, in pixels at the model's size; TASED-Net's published "
    "numbers use 7 at 224 x 384 (default: 0, none)",
  )
  sub.add_argument(
    "--mute", action="store_true", help="leave an audio-visual network without the video's sound"
  )
  _add_flow(sub)
  _add_sharing(sub)
  sub.add_argument(
    "--show-gates", action="store_true", help="also write the video and the plot of GFSalNet's gate"
  )
  sub.add_argument(
    "--region",
    dest="regions",
    action="append",
    default=[],
    metavar="X0,Y0,X1,Y1",
    help="where the plot of the gate averages, in pixels of the video; again for more "
    "(default: the whole frame)",
  )
  sub.add_argument(
    "--overwrite", action="store_true", help="replace the folder of an earlier prediction"
  )

  sub = command("evaluate", _evaluate, "scores of a model or of maps, with a report", _EVALUATE)
  what = sub.add_mutually_exclusive_group(required=True)
  what.add_argument(
    "--model",
    action="append",
    metavar="PATH",
    help="a model folder, a workdir, or a bound; again for each split of a cross-validation",
  )
  what.add_argument("--maps", action="append", metavar="DIR", help="maps of another system")
  _add_split(sub)
  sub.add_argument("--protocol", metavar="NAME", help="default: what papers follow on the set")
  sub.add_argument(
    "--mute", action="store_true", help="leave an audio-visual network without sound"
  )
  sub.add_argument(
    "--no-bounds", dest="bounds", action="store_false", help="do not score floor and ceiling"
  )

  sub = command("compare", _compare, "the difference of two evaluations, as a plot", _COMPARE)
  sub.add_argument("first", metavar="A", type=Path, help="the folder of an evaluation")
  sub.add_argument("second", metavar="B", type=Path, help="the folder of another one")
  sub.add_argument("--out", required=True, metavar="FILE", type=Path, help=".png, .pdf or .svg")
  sub.add_argument(
    "--metric", default="nss", metavar="NAME", help="as in scores.json; default: nss"
  )

  sub = command("submit", _submit, "maps of a split for a benchmark", _SUBMIT)
  sub.add_argument("--model", required=True, metavar="PATH", help="a model folder, or a workdir")
  _add_split(sub)

  sub = command("convert", _convert, "weights from PyTorch, and back", _CONVERT)
  way = sub.add_mutually_exclusive_group(required=True)
  way.add_argument("--from", dest="source", metavar="FILE", type=Path, help="a PyTorch checkpoint")
  way.add_argument("--to-torch", metavar="DIR", type=Path, help="a model folder, or a workdir")
  sub.add_argument("--model", metavar="NAME", help="which network the checkpoint is of")
  sub.add_argument("--variant", default="base", metavar="NAME", help="see jaxsal models --variants")
  sub.add_argument(
    "--set",
    dest="fields",
    action="append",
    default=[],
    metavar="FIELD=VALUE",
    help="a field of the configuration that differs from the variant's, such as length=16",
  )
  sub.add_argument("--out", required=True, metavar="PATH", type=Path, help="the folder or the file")

  sub = command("models", _models, "the networks and their variants", _MODELS)
  sub.add_argument("--variants", action="store_true", help="all variants, not only the papers' own")

  sub = command("prepare", _prepare, "build a data set for training", _PREPARE)
  sub.add_argument("dataset", metavar="DATASET", help="NAME or NAME/CONFIG, such as demo")
  sub.add_argument(
    "--from", dest="source", metavar="FOLDER", type=Path, help="the set as you downloaded it"
  )
  sub.add_argument(
    "--data-dir",
    default=Path("~/tensorflow_datasets"),
    metavar="DIR",
    type=Path,
    help="where data sets go (default: ~/tensorflow_datasets)",
  )
  sub.add_argument(
    "--skip-bad", action="store_true", help="leave out videos that are missing or damaged"
  )
  _add_flow(sub)
  sub.add_argument("--jobs", type=int, default=1, metavar="N", help="processes (default: 1)")
  return parser


def _add_split(sub: argparse.ArgumentParser) -> None:
  """What `evaluate` and `submit` have in common."""
  sub.add_argument("--dataset", required=True, metavar="NAME", help="NAME or NAME/CONFIG")
  sub.add_argument("--split", required=True, metavar="NAME", help="such as validation")
  sub.add_argument(
    "--data-dir",
    default="~/tensorflow_datasets",
    metavar="DIR",
    help="where data sets were prepared (default: ~/tensorflow_datasets)",
  )
  sub.add_argument("--out", required=True, metavar="DIR", help="a folder for this run alone")
  sub.add_argument(
    "--blur",
    type=float,
    default=0.0,
    metavar="SIGMA",
    help="smooth the model's maps, in pixels at its size; TASED-Net's published numbers use 7 at "
    "224 x 384 (default: 0, none)",
  )
  sub.add_argument(
    "--blur-video",
    type=float,
    default=0.0,
    metavar="SIGMA",
    help="smooth maps at the video's size, after resizing; ViNet's published numbers use 2 "
    "(default: 0, none)",
  )
  sub.add_argument(
    "--batch-size",
    type=int,
    metavar="N",
    help="clips at a time, over all devices (default: 1 per CPU, 8 per GPU or TPU)",
  )
  _add_flow(sub)
  _add_sharing(sub)
  sub.add_argument("--overwrite", action="store_true", help="delete what OUT holds, begin anew")


def _add_flow(sub: argparse.ArgumentParser) -> None:
  sub.add_argument(
    "--flow-from",
    metavar="DIR",
    help="model folder of the PWC-Net whose optical flow GFSalNet is trained on (default: DIS)",
  )


def _add_sharing(sub: argparse.ArgumentParser) -> None:
  sub.add_argument(
    "--sharing",
    choices=["on", "off"],
    default="on",
    help="off: every window is computed from its frames alone, with the same maps, slower and in "
    "less memory (default: on)",
  )


def _train(args: argparse.Namespace, flags: list[str]) -> int:
  from jaxsal import main as training

  return training.run(flags) or 0


def _predict(args: argparse.Namespace, _: list[str]) -> int:
  from jaxsal.data.video import probe
  from jaxsal.prediction.files import check_free

  signal.signal(signal.SIGTERM, signal.default_int_handler)  # cleans up as Ctrl-C does
  regions = []
  if args.regions:
    from jaxsal.prediction.gates import Region

    if not args.show_gates:
      raise UserError("--region needs --show-gates")
    regions = [Region.parse(text) for text in args.regions]
  errors, jobs = [], []
  for path, folder in zip(args.videos, _folders(args.videos, args.out)):
    try:  # before the network is compiled, which can take a minute
      check_free(folder, args.overwrite)
      info = probe(path)
      for region in regions:
        region.check((info.height, info.width))
      jobs.append((path, folder))
    except UserError as error:
      errors.append(error)
  if jobs:
    errors += _predict_all(args, jobs, regions)
  for error in errors:
    _complain(error)
  if errors and len(args.videos) > 1:
    done = len(args.videos) - len(errors)
    print(f"jaxsal: {done} of {len(args.videos)} videos are complete", file=sys.stderr)
  return 2 if errors else 0


def _predict_all(
  args: argparse.Namespace, jobs: list[tuple[Path, Path]], regions: "list[Region]"
) -> list[UserError]:
  """Predicts (video, folder) pairs; one that fails does not stop the others."""
  from jaxsal.console import console
  from jaxsal.prediction import PredictOptions, Predictor, predict_file

  options = PredictOptions(
    batch_size=args.batch_size,
    blur=args.blur,
    flow_from=args.flow_from,
    sharing=args.sharing == "on",
    mute=args.mute,
  )
  predictor = Predictor(args.model, options, gates=args.show_gates)
  console.print(
    f"{args.model}: {predictor.batch_size} clips at a time on {predictor.device}, "
    f"compiled in {predictor.compile_seconds:.1f} s",
    highlight=False,
    markup=False,
    soft_wrap=True,
  )
  errors = []
  for path, folder in jobs:
    try:
      report = predict_file(
        predictor,
        path,
        folder,
        maps=args.maps,
        overlay=args.overlay,
        overwrite=args.overwrite,
        regions=regions,
      )
    except UserError as error:
      errors.append(error)
      continue
    console.print(
      f"{path}: {report.frames} frames in {report.seconds:.1f} s, "
      f"{report.frames / report.seconds:.1f} frames/s "
      f"(network alone {report.frames / report.model_seconds:.1f}) -> {folder}",
      highlight=False,
      markup=False,
      soft_wrap=True,
    )
  return errors


def _evaluate(args: argparse.Namespace, _: list[str]) -> int:
  from jaxsal.evaluation.run import evaluate
  from jaxsal.runtime import enable_compilation_cache

  enable_compilation_cache()
  evaluate(
    args.maps or args.model,
    maps=args.maps is not None,
    protocol=args.protocol,
    bounds=args.bounds,
    mute=args.mute,
    **_split_options(args),
  )
  return 0


def _compare(args: argparse.Namespace, _: list[str]) -> int:
  from jaxsal.evaluation.compare import compare

  compare(args.first, args.second, args.out, metric=args.metric)
  return 0


def _submit(args: argparse.Namespace, _: list[str]) -> int:
  from jaxsal.console import console
  from jaxsal.evaluation.submission import submit
  from jaxsal.runtime import enable_compilation_cache

  enable_compilation_cache()
  out = submit(args.model, **_split_options(args))
  console.print(f"ready: {out}", highlight=False, markup=False, soft_wrap=True)
  return 0


def _split_options(args: argparse.Namespace) -> dict[str, object]:
  signal.signal(signal.SIGTERM, signal.default_int_handler)  # cleans up as Ctrl-C does
  names = ("dataset", "split", "data_dir", "out", "blur", "blur_video", "batch_size", "flow_from")
  options = {name: getattr(args, name) for name in (*names, "overwrite")}
  return options | {"sharing": args.sharing == "on"}


def _folders(videos: list[Path], out: Path) -> list[Path]:
  """Where each video's output goes: `out` for one, a sub-folder named after it for several."""
  if len(videos) == 1:
    return [out]
  names = [path.stem for path in videos]
  for name in names:
    if names.count(name) > 1:
      raise UserError(
        f"two of the videos are called {name!r} and would share the folder {out / name}. "
        "Predict one of them in a run of its own."
      )
  return [out / name for name in names]


def _convert(args: argparse.Namespace, _: list[str]) -> int:
  from jaxsal.convert import command

  if args.to_torch:
    command.write_checkpoint(args.to_torch, args.out)
  elif not args.model:
    raise UserError("--from needs --model=NAME: jaxsal models lists them")
  else:
    fields = dict(_field(text) for text in args.fields)
    command.read_checkpoint(args.model, args.source, args.out, variant=args.variant, **fields)
  return 0


def _field(text: str) -> tuple[str, object]:
  """`length=16` -> ("length", 16); what is no Python literal is a string."""
  name, equals, value = text.partition("=")
  if not equals:
    raise UserError(f"--set {text}: it must be FIELD=VALUE, such as length=16")
  try:
    return name, ast.literal_eval(value)
  except (ValueError, SyntaxError):
    return name, value


def _models(args: argparse.Namespace, _: list[str]) -> int:
  from jaxsal.cli import models
  from jaxsal.console import console

  console.print(models.table(variants=args.variants))
  return 0


def _prepare(args: argparse.Namespace, _: list[str]) -> int:
  from jaxsal.console import console
  from jaxsal.tfds_builders import build

  directory = build.prepare(
    args.dataset,
    args.data_dir,
    args.source,
    skip_bad=args.skip_bad,
    flow_from=args.flow_from,
    jobs=args.jobs,
  )
  console.print(f"ready: {directory}", highlight=False, markup=False, soft_wrap=True)
  return 0


def _complain(error: UserError) -> int:
  print(f"jaxsal: error: {error}", file=sys.stderr)
  return 2
