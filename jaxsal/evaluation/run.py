"""Scores of a model, or of anybody's maps, on a prepared split, by the protocol of a benchmark.

Memory stays bounded, whatever the split's size, and a run that was stopped continues after the last
video that it finished. JAX and the data sets are imported where they are used, so that `import
jaxsal` stays quick.
"""

import dataclasses
import importlib.metadata
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxsal import files
from jaxsal.console import console, progress
from jaxsal.errors import UserError

if TYPE_CHECKING:
  from jaxsal.data.sources import Split
  from jaxsal.evaluation.bounds import Bound, MeanEyePosition
  from jaxsal.evaluation.protocols import Protocol
  from jaxsal.evaluation.systems import Maps
  from jaxsal.models import SaliencyModel

# Bounds that stand for a model, by what the command calls them.
PSEUDO_MODELS = ("mean-eye-position", "human-infinite")

# What a run leaves in its folder, and so what `overwrite` may delete.
_OUTPUTS = ("run.json", "videos", "scores.json", "videos.csv", "frames.csv", "report.html")


def evaluate(
  model: "SaliencyModel | str | Path | Sequence[SaliencyModel | str | Path]",
  dataset: str,
  *,
  split: str,
  out: str | Path,
  data_dir: str | Path = "~/tensorflow_datasets",
  protocol: str | None = None,
  maps: bool = False,
  blur: float = 0.0,
  blur_video: float = 0.0,
  batch_size: int | None = None,
  mute: bool = False,
  flow_from: str | Path | None = None,
  sharing: bool = True,
  bounds: bool = True,
  overwrite: bool = False,
) -> dict[str, Any]:
  """Scores a system on every frame that the protocol counts; called again, it continues.

  `out` gets `scores.json`, `videos.csv`, `frames.csv` and `report.html` when all is done, and
  before that `run.json`, which says what is evaluated, and `videos/00000.npz`, ..., the scores of
  each video's frames (NaN where a metric is not defined) with pictures of one of them.

  Of a cross-validation, where there is no split `test` but `test_1`, `test_2`, .., each of these is
  evaluated into a folder of its own in `out`, and `scores.json` holds the means over them.

  Args:
    model: a network, the path of a model folder or of a training's workdir, or one of the bounds
      `mean-eye-position` and `human-infinite` (see `jaxsal.evaluation.bounds`). For a
      cross-validation also a sequence of them, one for each split.
    dataset: `name` or `name/config`.
    split: its name, as in `validation`.
    out: a folder for this run alone.
    data_dir: where data sets were prepared.
    protocol: `dhf1k`, `mit` or `stavis` (see `jaxsal.evaluation.protocols`); by default what
      papers follow on the data set.
    maps: whether `model` is a folder of another system's maps, FOLDER/<video>/<frame>.png.
    blur: standard deviation of a Gaussian on a network's maps, in pixels at the network's size.
    blur_video: the same at the video's size, after resizing.
    batch_size: clips at a time; see `jaxsal.prediction.predictor.Predictor`.
    mute: whether an audio-visual network goes without the sound of the videos (the experiment of
      TSFP-Net's table 7).
    flow_from, sharing: see `jaxsal.prediction.predictor.Predictor`.
    bounds: whether the bounds that are known for the data set are scored as well.
    overwrite: whether to begin anew in a folder that has scores already.

  Returns:
    What `scores.json` holds.

  Raises:
    UserError: the data, the model or the maps are missing or unfit; the split has no annotation;
      `out` belongs to another run.
  """
  from jaxsal.data import sources
  from jaxsal.evaluation import report
  from jaxsal.evaluation import summary as summaries

  options = {
    "data_dir": data_dir,
    "protocol": protocol,
    "maps": maps,
    "blur": blur,
    "blur_video": blur_video,
    "batch_size": batch_size,
    "mute": mute,
    "flow_from": flow_from,
    "sharing": sharing,
    "bounds": bounds,
  }
  out = Path(out).expanduser().resolve()
  systems = list(model) if isinstance(model, list | tuple) else [model]
  folds = sources.folds(dataset, split, data_dir)
  if len(systems) not in {1, len(folds) or 1}:
    raise UserError(
      f"{len(systems)} models for {', '.join(folds) or f'the one split {split!r}'}: name one, or"
      " one for each split."
    )
  parts = {fold: out / fold for fold in folds} or {split: out}
  systems *= len(parts) // len(systems)
  # All are opened before any is scored: what is wrong with the last one is said at once.
  runs = [_open(s, dataset, name, parts[name], **options) for s, name in zip(systems, parts)]
  if protocol is None:
    console.print(f"protocol: {runs[0].rules.name} (--protocol names another)", soft_wrap=True)
  if folds:
    signature = {"dataset": dataset, "splits": folds}
    files.claim(out, out / "run.json", signature, (*folds, *_OUTPUTS), overwrite=overwrite)
  for run in runs:
    run.claim(overwrite)
  if not folds:
    return runs[0].finish()
  summary = summaries.write_folds(out, [run.finish() for run in runs], split)
  console.print(summaries.table(summary))
  _say_report(report.write(out))
  return summary


def _say_report(page: Path) -> None:
  console.print(f"the report: {page}", soft_wrap=True, highlight=False, markup=False)


def _open(
  model: "SaliencyModel | str | Path",
  dataset: str,
  split: str,
  out: Path,
  *,
  data_dir: str | Path,
  protocol: str | None,
  maps: bool,
  blur: float,
  blur_video: float,
  batch_size: int | None,
  mute: bool,
  flow_from: str | Path | None,
  sharing: bool,
  bounds: bool,
) -> "_Run":
  """Opens what the evaluation of a split needs; nothing is written."""
  from jaxsal.data import sources
  from jaxsal.evaluation import bounds as known
  from jaxsal.evaluation import protocols

  if not 0 <= blur_video < np.inf:
    raise UserError(f"blur {blur_video}: must be 0 (none) or a standard deviation in pixels.")
  data = sources.open_split(dataset, split, data_dir)
  if not data.stated("annotated", True):
    raise UserError(
      f"{data.where()} has no annotation to score against: its benchmark scores maps that are sent "
      "in, which `jaxsal submit` writes."
    )
  rules = protocols.find(protocol or data.metadata.get("protocol", "dhf1k"))
  mean = None
  if train := _training_split(data):
    mean = known.MeanEyePosition(sources.open_split(dataset, train, data_dir))
  references = known.of_split(data, mean)
  system = _system(model, data, references, maps, blur, batch_size, mute, flow_from, sharing)
  if isinstance(system, _BoundSystem):
    del references[system.name]
  if not bounds:
    references = {}

  signature = {
    "jaxsal": importlib.metadata.version("jaxsal"),
    "dataset": data.dataset,
    "split": split,
    "frames": len(data),
    "protocol": rules.name,
    "blur_video": blur_video,
    "bounds": bounds,
  }
  signature |= system.signature
  return _Run(out, signature, data, system, references, mean, rules, blur_video)


def _training_split(data: "Split") -> str | None:
  """The split that goes with `data`: `train`, or of a cross-validation the one of its number."""
  fold = re.fullmatch(r"\w+(_\d+)", data.name)
  names = [f"train{fold[1]}", "train"] if fold else ["train"]
  return next((name for name in names if name in data.names), None)


@dataclasses.dataclass(frozen=True)
class _Run:
  """The evaluation of a split."""

  out: Path
  signature: dict[str, Any]
  data: "Split"
  system: "Maps | _BoundSystem"
  references: dict[str, "Bound"]
  mean: "MeanEyePosition | None"
  rules: "Protocol"
  blur_video: float

  def claim(self, overwrite: bool) -> None:
    """Makes `out`, or finds it as this run left it."""
    files.claim(self.out, self.out / "run.json", self.signature, _OUTPUTS, overwrite=overwrite)

  def finish(self) -> dict[str, Any]:
    """Scores the videos that have no scores yet, and writes the summary and the report."""
    from jaxsal.evaluation import protocols, report
    from jaxsal.evaluation import summary as summaries

    self._score_videos()
    about = {
      "source": self.system.about,
      "dataset": self.data.dataset,
      "split": self.data.name,
      "protocol": protocols.describe(self.rules, _post_processing(self.system, self.blur_video)),
    }
    categories = self.data.metadata.get("categories", {})
    names = list(self.references)
    summary = summaries.write(self.out, self.data.videos, about, names, self.rules, categories)
    console.print(summaries.table(summary))
    _say_report(report.write(self.out))
    return summary

  def _score_videos(self) -> None:
    """Writes the scores of each video that has none yet into `out/videos`."""
    from jaxsal.evaluation.protocols import Fixations
    from jaxsal.evaluation.scorer import Scorer
    from jaxsal.evaluation.systems import ModelMaps

    folder = self.out / "videos"
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{number:05}.npz" for number in range(len(self.data.videos))]
    pending = [number for number, path in enumerate(paths) if not path.exists()]
    if not pending:
      return
    if isinstance(self.system, ModelMaps):
      self.system.compile()
    baseline = self.mean.map if self.mean else None  # made here: one progress bar after the other
    fixations = Fixations(self.data, self.rules)
    system = self.system.bound if isinstance(self.system, _BoundSystem) else self.system
    scorer = Scorer(self.data, system, self.references, fixations, baseline, self.blur_video)
    frames = [fixations.scored_in(video) for video in self.data.videos]
    total = sum(map(len, frames))
    done = total - sum(len(frames[number]) for number in pending)
    with progress(f"scoring {self.system.about['name']}", total, unit="frames", start=done) as bar:
      for number in pending:
        arrays = scorer.video(number, frames[number], bar)
        with files.replacing_file(paths[number]) as temporary, temporary.open("wb") as file:
          np.savez(file, **arrays)


@dataclasses.dataclass(frozen=True)
class _BoundSystem:
  """A bound in the place of a model."""

  name: str
  bound: "Bound"
  post_processing: str = ""

  @property
  def about(self) -> dict[str, Any]:
    return {"kind": "bound", "name": self.name, "path": None, "weights_sha256": None}

  @property
  def signature(self) -> dict[str, Any]:
    return {"bound": self.name}


def _system(
  model: "SaliencyModel | str | Path",
  data: "Split",
  references: dict[str, "Bound"],
  maps: bool,
  blur: float,
  batch_size: int | None,
  mute: bool,
  flow_from: str | Path | None,
  sharing: bool,
) -> "Maps | _BoundSystem":
  """What `evaluate` is asked to score."""
  from jaxsal.evaluation.systems import FolderMaps, ModelMaps

  if not maps and model not in PSEUDO_MODELS:
    options = {"batch_size": batch_size, "flow_from": flow_from, "sharing": sharing}
    return ModelMaps(model, data, blur=blur, mute=mute, **options)
  if blur:
    raise UserError(
      f"blur {blur}: only a network has maps at its own size. Use blur_video (--blur-video), which "
      "blurs at the video's size."
    )
  if maps:
    return FolderMaps(model, data)
  name = model.replace("-", " ")
  if name not in references:
    raise UserError(
      f"{model} is not known for {data.where()}: the mean eye position needs a split 'train', and "
      "human-infinite needs the gaze of each observer (feature 'gaze')."
    )
  return _BoundSystem(name, references[name])


def _post_processing(system: "Maps | _BoundSystem", blur_video: float) -> str:
  steps = [system.post_processing]
  if blur_video:
    steps.append(f"blurred with sigma {blur_video:g} at the video's size")
  return ", ".join(filter(None, steps)) or "none"
