"""Scores of a whole split, from the files of its videos: JSON, CSV and a table."""

import csv
import importlib.metadata
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rich.box
import rich.table
from rich.text import Text

from jaxsal import files
from jaxsal.data.sources import Video
from jaxsal.protocols import Protocol
from jaxsal.published import METRICS

_FORMAT = 1


class _Mean:
  """Mean of a metric by a protocol, over videos that come one by one."""

  def __init__(self, of: str) -> None:
    self._of = of
    self._sum, self._parts = 0.0, 0
    self.count = self.dropped = 0

  def add(self, values: np.ndarray) -> tuple[float | None, int]:
    """Adds the frames of a video: their mean, and how many are dropped."""
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
    return float(self._sum / self._parts) if self._parts else None


def write(
  out: Path,
  videos: Sequence[Video],
  about: dict[str, Any],
  bounds: Sequence[str],
  protocol: Protocol,
) -> dict[str, Any]:
  """Writes `scores.json`, `videos.csv` and `frames.csv` of an evaluation whose videos are all done.

  Args:
    out: its folder, with a file per video (see `jaxsal.scoring.Scorer.video`).
    videos: of the split.
    about: what scores.json begins with.
    bounds: names of those that were scored as well.
    protocol: says how to average.

  Returns:
    What scores.json holds.
  """
  paths = [out / "videos" / f"{number:05}.npz" for number in range(len(videos))]
  with np.load(paths[0]) as arrays:
    metrics = [name for name in METRICS if name in arrays]
  means = {name: _Mean(protocol.mean_of) for name in metrics}
  bound_means = {bound: {name: _Mean(protocol.mean_of) for name in metrics} for bound in bounds}
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
      scores = {name: means[name].add(arrays[name]) for name in metrics}
      for bound, of_bound in bound_means.items():
        for name, mean in of_bound.items():
          mean.add(arrays[f"{bound}/{name}"])
      rows.append(
        {
          "name": video.name,
          "frames": video.frames,
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
    "frames": sum(video.frames for video in videos),
    "scored_frames": scored_frames,
    "metrics": metrics,
    "scores": {
      name: {"mean": mean.mean, "count": mean.count, "dropped": mean.dropped}
      for name, mean in means.items()
    },
    "bounds": {
      bound: {name: mean.mean for name, mean in of_bound.items()}
      for bound, of_bound in bound_means.items()
    },
    "videos": rows,
  }
  files.write_text(out / "scores.json", json.dumps(summary, indent=2, allow_nan=False) + "\n")
  return summary


def table(summary: dict[str, Any]) -> rich.table.Table:
  """The scores, and those of the bounds, with the protocol that they follow."""
  protocol = summary["protocol"]
  lines = [
    f"Protocol {protocol['name']}: {protocol['frames']} ({summary['scored_frames']} of "
    f"{summary['frames']}); mean {protocol['mean']}.",
    f"sAUC against {protocol['other_map']}.",
    f"Resized: {protocol['resize']}. Post-processing: {protocol['post_processing']}.",
  ]
  dropped = [
    f"{METRICS[name]} {score['dropped']}"
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
  result.add_column("")  # on a narrow terminal names are broken, never numbers
  for name in summary["metrics"]:
    result.add_column(METRICS[name], justify="right", no_wrap=True)
  own = {name: score["mean"] for name, score in summary["scores"].items()}
  for title, scores in {summary["source"]["name"]: own, **summary["bounds"]}.items():
    result.add_row(Text(title), *(_text(scores[name]) for name in summary["metrics"]))
  return result


def _cell(value: float | None) -> str:
  return "" if value is None or np.isnan(value) else f"{value:.6g}"


def _text(value: float | None) -> str:
  return "-" if value is None else f"{value:.3f}"
