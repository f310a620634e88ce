"""Scores a model, or the maps of any system, on a prepared split by the protocol of a benchmark.

Memory stays bounded for a split of any size, and a run that was stopped continues after the last
video that it finished.
"""

import dataclasses
import functools
import importlib.metadata
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxsal import files
from jaxsal.console import progress, say, show
from jaxsal.data import sources
from jaxsal.data.sources import Split
from jaxsal.errors import UserError
from jaxsal.evaluation import bounds as known_bounds
from jaxsal.evaluation import protocols, report
from jaxsal.evaluation import summary as summaries
from jaxsal.evaluation.bounds import Bound, MeanEyePosition
from jaxsal.evaluation.protocols import Fixations, Protocol
from jaxsal.evaluation.scorer import Scorer
from jaxsal.evaluation.systems import BoundSystem, FolderMaps, Maps, ModelMaps, check_blur
from jaxsal.models import SaliencyModel
from jaxsal.prediction import PredictOptions

# Bounds that can take the place of a model, by their names in the command.
PSEUDO_MODELS = ("mean-eye-position", "human-infinite")

# Files and folders that a run writes into its own folder, which `overwrite` may delete.
_OUTPUTS = ("run.json", "videos", "scores.json", "videos.csv", "frames.csv", "report.html")


def evaluate(
  model: SaliencyModel | str | Path | Sequence[SaliencyModel | str | Path],
  dataset: str,
  *,
  split: str,
  out: str | Path,
  data_dir: str | Path = "~/tensorflow_datasets",
  protocol: str | None = None,
  maps: bool = False,
  blur_video: float = 0.0,
  bounds: bool = True,
  overwrite: bool = False,
  options: PredictOptions | None = None,
  **changes: Any,
) -> dict[str, Any]:
  """Scores a system on every frame that the protocol counts; a second call continues a run.

  First `out` gets `run.json`, which says what is evaluated, and a file for each video that is done,
  `videos/00000.npz` and so on, with the scores of its frames (NaN where a metric is undefined) and
  pictures of one frame. When all videos are done, it gets `scores.json`, `videos.csv`, `frames.csv`
  and `report.html`.

  A cross-validation has no split `test` but the folds `test_1`, `test_2` and so on. Each fold is
  evaluated into a folder of its own in `out`, and `scores.json` holds the means over the folds.

  Args:
    model: a network, the path of a model folder or of a training's workdir, or one of the bounds
      `mean-eye-position` and `human-infinite` (see `jaxsal.evaluation.bounds`). For a
      cross-validation, optionally a sequence with one of these for each fold.
    dataset: name of the data set, `name` or `name/config`.
    split: name of the split, such as `validation`.
    out: folder for this run alone.
    data_dir: folder in which data sets were prepared.
    protocol: `dhf1k`, `mit` or `stavis` (see `jaxsal.evaluation.protocols`); by default, the
      protocol that papers follow on the data set.
    maps: whether `model` is a folder of another system's maps, `FOLDER/<video>/<frame>.png`.
    blur_video: standard deviation of a Gaussian that smooths maps after they were resized to the
      video, in pixels of the video; 0 for none.
    bounds: whether the bounds that are known for the data set are scored as well.
    overwrite: whether to delete the results in `out` and start again.
    options: how a network predicts; the defaults of `jaxsal.prediction.PredictOptions` if None.
    **changes: values for single fields of the options, as in `blur=7`.

  Returns:
    The content of `scores.json`.

  Raises:
    UserError: the data, the model or the maps are missing or do not fit; the split has no
      annotation; an option is out of range; `out` belongs to another run.
  """
  options = (options or PredictOptions()).with_(**changes)
  check_blur(blur_video)
  say(f"opening split {split} of {dataset}")
  out = Path(out).expanduser().resolve()
  systems = [model] if isinstance(model, SaliencyModel | str | Path) else list(model)
  folds = sources.folds(dataset, split, data_dir)
  if len(systems) not in {1, len(folds) or 1}:
    raise UserError(
      f"{len(systems)} models for {', '.join(folds) or f'the one split {split!r}'}: name one, or"
      " one for each split."
    )
  outs = {fold: out / fold for fold in folds} or {split: out}
  systems *= len(outs) // len(systems)
  open_run = functools.partial(
    _open,
    dataset=dataset,
    data_dir=data_dir,
    protocol=protocol,
    maps=maps,
    blur_video=blur_video,
    bounds=bounds,
    options=options,
  )
  # All folds are opened before any is scored, so that an error in the last one is reported at once.
  runs = [open_run(system, split=name, out=outs[name]) for system, name in zip(systems, outs)]
  if protocol is None:
    say(f"protocol: {runs[0].rules.name} (--protocol names another)")
  if folds:
    signature = {"dataset": dataset, "splits": folds}
    files.claim(out, out / "run.json", signature, (*folds, *_OUTPUTS), overwrite=overwrite)
  for run in runs:
    run.claim(overwrite)
  if not folds:
    return runs[0].finish()
  summary = summaries.write_folds(out, [run.finish() for run in runs], split)
  _show(summary, out)
  return summary


def _show(summary: dict[str, Any], out: Path) -> None:
  """Prints the scores, and writes the report."""
  show(summaries.table(summary))
  say(f"the report: {report.write(out)}")


def _open(
  model: SaliencyModel | str | Path,
  *,
  split: str,
  out: Path,
  dataset: str,
  data_dir: str | Path,
  protocol: str | None,
  maps: bool,
  blur_video: float,
  bounds: bool,
  options: PredictOptions,
) -> "_Run":
  """Opens the data and the system of one split; nothing is written yet."""
  data = sources.open_split(dataset, split, data_dir)
  if not data.stated("annotated", True):
    raise UserError(
      f"{data.where()} has no annotation to score against: its benchmark scores maps that are sent "
      "in, which `jaxsal submit` writes."
    )
  rules = protocols.find(protocol or data.metadata.get("protocol", "dhf1k"))
  mean = None
  if train := _training_split(data):
    mean = MeanEyePosition(sources.open_split(dataset, train, data_dir))
  references = known_bounds.of_split(data, mean)
  system = _system(model, data, references, options, maps=maps)
  if isinstance(system, BoundSystem):
    del references[system.about["name"]]
  signature = {
    "jaxsal": importlib.metadata.version("jaxsal"),
    "dataset": data.dataset,
    "split": split,
    "frames": len(data),
    "protocol": rules.name,
    "blur_video": blur_video,
    "bounds": bounds,
    **system.signature,
  }
  return _Run(out, signature, data, system, references if bounds else {}, mean, rules, blur_video)


def _training_split(data: Split) -> str | None:
  """Returns the training split that belongs to a split; of a cross-validation, that of its fold."""
  fold = re.fullmatch(r"\w+(_\d+)", data.name)
  names = [f"train{fold[1]}", "train"] if fold else ["train"]
  return next((name for name in names if name in data.names), None)


def _system(
  model: SaliencyModel | str | Path,
  data: Split,
  references: dict[str, Bound],
  options: PredictOptions,
  *,
  maps: bool,
) -> Maps | BoundSystem:
  """Makes the system that `evaluate` is asked to score."""
  if not maps and model not in PSEUDO_MODELS:
    return ModelMaps(model, data, options)
  if options.blur:
    raise UserError(
      f"blur {options.blur}: only a network has maps at its own size. Use blur_video "
      "(--blur-video), which blurs at the video's size."
    )
  if isinstance(model, SaliencyModel):
    raise UserError("maps=True needs the folder of the maps in place of a network.")
  if maps:
    return FolderMaps(model, data)
  name = str(model).replace("-", " ")
  if name not in references:
    raise UserError(
      f"{model} is not known for {data.where()}: the mean eye position needs a split 'train', and "
      "human-infinite needs the gaze of each observer (feature 'gaze')."
    )
  return BoundSystem(name, references[name])


@dataclasses.dataclass(frozen=True)
class _Run:
  """The evaluation of one split.

  Attributes:
    out: folder of the run.
    signature: content of `run.json`.
    data: the split.
    system: the system that is evaluated.
    references: bounds that are scored on the same frames, by name.
    mean: mean eye position, which information gain is measured from, if it is known.
    rules: the protocol.
    blur_video: blur of the system's maps at the video's size.
  """

  out: Path
  signature: dict[str, Any]
  data: Split
  system: Maps | BoundSystem
  references: dict[str, Bound]
  mean: MeanEyePosition | None
  rules: Protocol
  blur_video: float

  def claim(self, overwrite: bool) -> None:
    """Creates `out`, or accepts it if it belongs to this run."""
    files.claim(self.out, self.out / "run.json", self.signature, _OUTPUTS, overwrite=overwrite)

  def finish(self) -> dict[str, Any]:
    """Scores the videos that have no scores yet, and writes the summary and the report."""
    self._score_videos()
    steps = [self.system.post_processing]
    if self.blur_video:
      steps.append(f"blurred with sigma {self.blur_video:g} at the video's size")
    about = {
      "source": self.system.about,
      "dataset": self.data.dataset,
      "split": self.data.name,
      "protocol": protocols.describe(self.rules, ", ".join(filter(None, steps)) or "none"),
    }
    categories = self.data.metadata.get("categories", {})
    names = list(self.references)
    summary = summaries.write(self.out, self.data.videos, about, names, self.rules, categories)
    _show(summary, self.out)
    return summary

  def _score_videos(self) -> None:
    """Writes the scores of each video that has none yet into `out/videos`."""
    folder = self.out / "videos"
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{number:05}.npz" for number in range(len(self.data.videos))]
    pending = [number for number, path in enumerate(paths) if not path.exists()]
    if not pending:
      return
    if isinstance(self.system, ModelMaps):
      self.system.compile()
    # Computed before the scorer starts its bar, because it has a progress bar of its own.
    baseline = self.mean.map if self.mean else None
    fixations = Fixations(self.data, self.rules)
    scorer = Scorer(self.data, self.system, self.references, fixations, baseline, self.blur_video)
    frames = [fixations.scored_in(video) for video in self.data.videos]
    total = sum(map(len, frames))
    say(f"videos to score: {len(pending)}; the metrics are compiled first")
    done = total - sum(len(frames[number]) for number in pending)
    with progress(f"scoring {self.system.about['name']}", total, unit="frames", start=done) as bar:
      for number in pending:
        arrays: dict[str, Any] = scorer.video(number, frames[number], bar)
        with files.replacing_file(paths[number]) as temporary, temporary.open("wb") as file:
          np.savez(file, **arrays)
