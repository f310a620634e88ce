"""Sums up the scores of a split from the files of its videos, as JSON, CSV and a table."""

import csv
import importlib.metadata
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rich.box
import rich.table
from rich.text import Text

from jaxsal import files
from jaxsal.data.sources import Video
from jaxsal.evaluation.protocols import Protocol
from jaxsal.metrics import METRICS

_FORMAT = 1


class _Mean:
  """The mean of a metric by a protocol, over videos that are added one by one.

  Attributes:
    count: number of frames with a value.
    dropped: number of frames without a value.
  """

  def __init__(self, of: str) -> None:
    """Starts a mean of `frames` or of `videos`, as `Protocol.mean_of` names them."""
    self._of = of
    self._sum, self._parts = 0.0, 0
    self.count = self.dropped = 0

  def add(self, values: np.ndarray) -> tuple[float | None, int]:
    """Adds the frames of a video; returns their mean and the number of dropped frames."""
    kept = values[~np.isnan(values)].astype(np.float64)
    self.count += len(kept)
    self.dropped += len(values) - len(kept)
    if not len(kept):
      return None, len(values)
    self._sum += kept.mean() if self._of == "videos" else kept.sum()
    self._parts += 1 if self._of == "videos" else len(kept)
    return float(kept.mean()), len(values) - len(kept)

  @property
  def mean(self) -> float | None:
    """The mean so far; None without values."""
    return float(self._sum / self._parts) if self._parts else None


class _Means:
  """The means of all metrics, of a system and of bounds."""

  def __init__(self, of: str, metrics: Sequence[str], bounds: Sequence[str]) -> None:
    """Starts means of `frames` or of `videos`, for metrics by key and bounds by name."""
    self._own = {name: _Mean(of) for name in metrics}
    self._bounds = {bound: {name: _Mean(of) for name in metrics} for bound in bounds}
    self._videos = 0

  def add(self, arrays: Mapping[str, np.ndarray]) -> dict[str, tuple[float | None, int]]:
    """Adds a video; returns its mean and its number of dropped frames for each metric."""
    self._videos += 1
    for bound, means in self._bounds.items():
      for name, mean in means.items():
        mean.add(arrays[f"{bound}/{name}"])
    return {name: mean.add(arrays[name]) for name, mean in self._own.items()}

  def scores(self) -> dict[str, dict[str, Any]]:
    """Returns the system's means and counts, as `scores.json` holds them."""
    return {
      name: {"mean": mean.mean, "count": mean.count, "dropped": mean.dropped}
      for name, mean in self._own.items()
    }

  def bounds(self) -> dict[str, dict[str, float | None]]:
    """Returns the means of each bound."""
    return {
      bound: {name: mean.mean for name, mean in means.items()}
      for bound, means in self._bounds.items()
    }

  def of_category(self) -> dict[str, Any]:
    """Returns all means, as `scores.json` holds them for a category of videos."""
    scores = {name: mean.mean for name, mean in self._own.items()}
    return {"videos": self._videos, "scores": scores, "bounds": self.bounds()}


def write(
  out: Path,
  videos: Sequence[Video],
  about: dict[str, Any],
  bounds: Sequence[str],
  protocol: Protocol,
  categories: Mapping[str, str],
) -> dict[str, Any]:
  """Writes `scores.json`, `videos.csv` and `frames.csv` when all videos are scored.

  Args:
    out: folder of the evaluation, with a file per video (`jaxsal.evaluation.scorer.Scorer.video`).
    videos: videos of the split.
    about: entries that `scores.json` begins with.
    bounds: names of the bounds that were scored as well.
    protocol: protocol that says how to average.
    categories: category of each video, by the video's name; empty if the data set has none. Each
      category gets means of its own.

  Returns:
    The content of `scores.json`.
  """
  paths = [out / "videos" / f"{number:05}.npz" for number in range(len(videos))]
  with np.load(paths[0]) as arrays:
    metrics = [name for name in METRICS if name in arrays]
  means = _Means(protocol.mean_of, metrics, bounds)
  names = sorted({categories[video.name] for video in videos if video.name in categories})
  of_category = {name: _Means(protocol.mean_of, metrics, bounds) for name in names}
  rows, scored_frames = [], 0
  with (
    files.replacing_file(out / "frames.csv") as temporary,
    temporary.open("w", encoding="utf-8") as file,
  ):
    table = csv.writer(file, lineterminator="\n")
    table.writerow(["video", "frame", *metrics])
    for video, path in zip(videos, paths):
      with np.load(path) as stored:
        arrays = dict(stored)
      scores = means.add(arrays)
      if video.name in categories:
        of_category[categories[video.name]].add(arrays)
      rows.append(
        {
          "name": video.name,
          "frames": len(video.targets),
          "scores": {name: score for name, (score, _) in scores.items()},
          "dropped": {name: dropped for name, (_, dropped) in scores.items()},
        }
      )
      scored_frames += len(arrays["frame"])
      for frame, *values in zip(arrays["frame"].tolist(), *(arrays[name] for name in metrics)):
        table.writerow([video.name, frame, *map(_cell, values)])
  with (
    files.replacing_file(out / "videos.csv") as temporary,
    temporary.open("w", encoding="utf-8") as file,
  ):
    table = csv.writer(file, lineterminator="\n")
    table.writerow(["video", "frames", *metrics, *(f"{name}_dropped" for name in metrics)])
    for row in rows:
      values = [_cell(value) for value in row["scores"].values()]
      table.writerow([row["name"], row["frames"], *values, *row["dropped"].values()])
  summary = {
    "format": _FORMAT,
    "jaxsal": importlib.metadata.version("jaxsal"),
    **about,
    "frames": sum(len(video.targets) for video in videos),
    "scored_frames": scored_frames,
    "metrics": metrics,
    "scores": means.scores(),
    "bounds": means.bounds(),
    "categories": {name: means.of_category() for name, means in of_category.items()},
    "videos": rows,
  }
  files.write_text(out / "scores.json", json.dumps(summary, indent=2, allow_nan=False) + "\n")
  return summary


def write_folds(out: Path, summaries: Sequence[dict[str, Any]], split: str) -> dict[str, Any]:
  """Writes `scores.json` of a cross-validation: the means of the scores over its folds.

  Args:
    out: folder of the cross-validation.
    summaries: content of `scores.json` for each fold, from `write`.
    split: common name of the folds, such as `test`.

  Returns:
    The content of `scores.json`; `scores` and `bounds` are the means, `splits` has each fold's own.
  """
  first = summaries[0]
  source = {
    key: value if all(s["source"][key] == value for s in summaries) else None
    for key, value in first["source"].items()
  }

  def mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None

  summary = {
    "format": _FORMAT,
    "jaxsal": importlib.metadata.version("jaxsal"),
    "source": source | {"name": ", ".join(dict.fromkeys(s["source"]["name"] for s in summaries))},
    "dataset": first["dataset"],
    "split": split,
    "protocol": first["protocol"] | {"mean": f"{first['protocol']['mean']}, then over splits"},
    "frames": sum(s["frames"] for s in summaries),
    "scored_frames": sum(s["scored_frames"] for s in summaries),
    "metrics": first["metrics"],
    "scores": {
      name: {
        "mean": mean([s["scores"][name]["mean"] for s in summaries]),
        "count": sum(s["scores"][name]["count"] for s in summaries),
        "dropped": sum(s["scores"][name]["dropped"] for s in summaries),
      }
      for name in first["metrics"]
    },
    "bounds": {
      bound: {name: mean([s["bounds"][bound][name] for s in summaries]) for name in of_bound}
      for bound, of_bound in first["bounds"].items()
    },
    "splits": {
      s["split"]: {
        "source": s["source"],
        "scores": {name: score["mean"] for name, score in s["scores"].items()},
        "bounds": s["bounds"],
      }
      for s in summaries
    },
    "videos": [row | {"split": s["split"]} for s in summaries for row in s["videos"]],
  }
  files.write_text(out / "scores.json", json.dumps(summary, indent=2, allow_nan=False) + "\n")
  return summary


def table(summary: dict[str, Any]) -> rich.table.Table:
  """Makes a table of the scores, with those of the bounds and with the protocol.

  Further rows are for each category of videos, or for each fold of a cross-validation.
  """
  protocol = summary["protocol"]
  lines = [
    f"Protocol {protocol['name']}: {protocol['frames']} ({summary['scored_frames']} of "
    f"{summary['frames']}); mean {protocol['mean']}.",
    f"sAUC against {protocol['other_map']}.",
    f"Resized: {protocol['resize']}. Post-processing: {protocol['post_processing']}.",
  ]
  dropped = [
    f"{METRICS[name].title} {score['dropped']}"
    for name, score in summary["scores"].items()
    if score["dropped"]
  ]
  if dropped:
    lines.append(f"Frames without a value, left out of the mean: {', '.join(dropped)}.")
  result = rich.table.Table(
    box=rich.box.SIMPLE_HEAD,
    pad_edge=False,
    collapse_padding=True,
    title=f"{summary['dataset']}, {summary['split']}",
    caption="\n".join(lines),
    caption_justify="left",
  )
  result.add_column("")  # a narrow terminal breaks the names, never the numbers
  for name in summary["metrics"]:
    result.add_column(METRICS[name].title, justify="right", no_wrap=True)
  own = {name: score["mean"] for name, score in summary["scores"].items()}
  _add_rows(result, summary, "", {"scores": own, "bounds": summary["bounds"]})
  for name, part in {**summary.get("categories", {}), **summary.get("splits", {})}.items():
    result.add_section()
    _add_rows(result, summary, f"{name}: ", part)
  return result


def _add_rows(
  result: rich.table.Table, summary: dict[str, Any], prefix: str, part: dict[str, Any]
) -> None:
  for title, scores in {summary["source"]["name"]: part["scores"], **part["bounds"]}.items():
    result.add_row(Text(prefix + title), *(_text(scores[name]) for name in summary["metrics"]))


def _cell(value: float | None) -> str:
  return "" if value is None or np.isnan(value) else f"{value:.6g}"


def _text(value: float | None) -> str:
  return "-" if value is None else f"{value:.3f}"
