"""Scores of a model, or of anybody's maps, on a prepared split, by the protocol of a benchmark.

Memory stays bounded, whatever the split's size, and a run that was stopped continues after the last
video that it finished. JAX and the data sets are imported where they are used, so that `import
jaxsal` stays quick.
"""

import dataclasses
import importlib.metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxsal import files
from jaxsal.console import console, progress
from jaxsal.errors import UserError

if TYPE_CHECKING:
  from jaxsal.bounds import Bound, MeanEyePosition
  from jaxsal.data.sources import Split
  from jaxsal.maps import Maps
  from jaxsal.models.base import SaliencyModel
  from jaxsal.protocols import Protocol

# Bounds that stand for a model, by what the command calls them.
PSEUDO_MODELS = ("mean-eye-position", "human-infinite")

# What a run leaves in its folder, and so what `overwrite` may delete.
_OUTPUTS = ("run.json", "videos", "scores.json", "videos.csv", "frames.csv", "report.html")


def evaluate(
  model: "SaliencyModel | str | Path",
  dataset: str,
  *,
  split: str,
  out: str | Path,
  data_dir: str | Path = "~/tensorflow_datasets",
  protocol: str = "dhf1k",
  maps: bool = False,
  blur: float = 0.0,
  blur_video: float = 0.0,
  batch_size: int | None = None,
  mute: bool = False,
  bounds: bool = True,
  overwrite: bool = False,
) -> dict[str, Any]:
  """Scores a system on every frame that the protocol counts; called again, it continues.

  `out` gets `scores.json`, `videos.csv`, `frames.csv` and `report.html` when all is done, and
  before that `run.json`, which says what is evaluated, and `videos/00000.npz`, ..., the scores of
  each video's frames (NaN where a metric is not defined) with pictures of one of them.

  Args:
    model: a network, the path of a model folder or of a training's workdir, or one of the bounds
      `mean-eye-position` and `human-infinite` (see `jaxsal.bounds`).
    dataset: `name` or `name/config`.
    split: its name, as in `validation`.
    out: a folder for this run alone.
    data_dir: where data sets were prepared.
    protocol: `dhf1k`, `mit` or `stavis`; see `jaxsal.protocols`.
    maps: whether `model` is a folder of another system's maps, FOLDER/<video>/<frame>.png.
    blur: standard deviation of a Gaussian on a network's maps, in pixels at the network's size.
    blur_video: the same at the video's size, after resizing.
    batch_size: clips at a time; see `jaxsal.predict.Predictor`.
    mute: whether an audio-visual network goes without the sound of the videos (the experiment of
      ViNet's table 7).
    bounds: whether the bounds that are known for the data set are scored as well.
    overwrite: whether to begin anew in a folder that has scores already.

  Returns:
    What `scores.json` holds.

  Raises:
    UserError: the data, the model or the maps are missing or unfit; the split has no annotation;
      `out` belongs to another run.
  """
  from jaxsal import bounds as known
  from jaxsal import protocols, report, scores
  from jaxsal.data import sources

  rules = protocols.find(protocol)
  if not 0 <= blur_video < np.inf:
    raise UserError(f"blur {blur_video}: must be 0 (none) or a standard deviation in pixels.")
  data = sources.open_split(dataset, split, data_dir)
  if not data.metadata.get("annotated", {}).get(split, True):
    raise UserError(
      f"{data.where()} has no annotation to score against: its benchmark scores maps that are sent "
      "in, which `jaxsal submit` writes."
    )
  mean = None
  if "train" in data.metadata["videos"]:
    mean = known.MeanEyePosition(sources.open_split(dataset, "train", data_dir))
  references = known.of_split(data, mean)
  system = _system(model, data, references, maps, blur, batch_size, mute)
  if isinstance(system, _BoundSystem):
    del references[system.name]
  if not bounds:
    references = {}

  out = Path(out).expanduser().resolve()
  signature = {
    "jaxsal": importlib.metadata.version("jaxsal"),
    "dataset": data.dataset,
    "split": split,
    "frames": len(data),
    "protocol": protocol,
    "blur_video": blur_video,
    "bounds": bounds,
  }
  files.claim(out, out / "run.json", signature | system.signature, _OUTPUTS, overwrite=overwrite)
  _score_videos(out / "videos", data, system, references, mean, rules, blur_video)
  about = {
    "source": system.about,
    "dataset": data.dataset,
    "split": split,
    "protocol": protocols.describe(rules, _post_processing(system, blur_video)),
  }
  summary = scores.write(out, data.videos, about, list(references), rules)
  console.print(scores.table(summary))
  page = report.write(out)
  console.print(f"the report: {page}", soft_wrap=True, highlight=False, markup=False)
  return summary


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
) -> "Maps | _BoundSystem":
  """What `evaluate` is asked to score."""
  from jaxsal.maps import FolderMaps, ModelMaps

  if not maps and model not in PSEUDO_MODELS:
    return ModelMaps(model, data, blur=blur, batch_size=batch_size, mute=mute)
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


def _score_videos(
  folder: Path,
  data: "Split",
  system: "Maps | _BoundSystem",
  references: dict[str, "Bound"],
  mean: "MeanEyePosition | None",
  rules: "Protocol",
  blur_video: float,
) -> None:
  """Writes the scores of each video that has none yet into `folder`."""
  from jaxsal.maps import ModelMaps
  from jaxsal.protocols import Fixations
  from jaxsal.scoring import Scorer

  folder.mkdir(exist_ok=True)
  paths = [folder / f"{number:05}.npz" for number in range(len(data.videos))]
  pending = [number for number, path in enumerate(paths) if not path.exists()]
  if not pending:
    return
  if isinstance(system, ModelMaps):
    system.compile()
  baseline = mean.map if mean else None  # made here: one progress bar after the other
  fixations = Fixations(data, rules)
  bound_or_maps = system.bound if isinstance(system, _BoundSystem) else system
  scorer = Scorer(data, bound_or_maps, references, fixations, baseline, blur_video)
  frames = [fixations.scored_in(video) for video in data.videos]
  total = sum(map(len, frames))
  done = total - sum(len(frames[number]) for number in pending)
  with progress(f"scoring {system.about['name']}", total, unit="frames", start=done) as bar:
    for number in pending:
      arrays = scorer.video(number, frames[number], bar)
      with files.replacing_file(paths[number]) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)
