"""Compares two evaluations of the same frames: a picture of the difference for each video."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from jaxsal import files
from jaxsal.console import say
from jaxsal.errors import UserError
from jaxsal.evaluation.report import results
from jaxsal.metrics import METRICS

# Largest number of videos whose names do not overlap.
_MOST_NAMES = 80


def compare(
  first: str | Path, second: str | Path, out: str | Path, *, metric: str = "nss"
) -> np.ndarray:
  """Draws the difference of a score for every video, in falling order.

  With an evaluation with sound and one with `--mute`, this is the experiment of TSFP-Net's table 7.

  Args:
    first: folder of an evaluation.
    second: folder of another evaluation.
    out: path of the picture, a PNG, PDF or SVG file.
    metric: key of the metric, as in `scores.json`.

  Returns:
    The differences first - second, float [n], of the videos that have a score in both evaluations,
    in the order of the picture.

  Raises:
    UserError: a folder holds no finished evaluation; the evaluations differ in frames or protocol;
      the metric is not in both.
  """
  first, second, out = Path(first).resolve(), Path(second).resolve(), Path(out)
  if out.suffix.lower() not in (".png", ".pdf", ".svg"):
    raise UserError(f"{out}: the picture must be a .png, .pdf or .svg file.")
  summaries = results.read_summary(first), results.read_summary(second)
  _check_comparable(first, second, *summaries)
  if not all(metric in summary["metrics"] for summary in summaries):
    known = [name for name in summaries[0]["metrics"] if name in summaries[1]["metrics"]]
    raise UserError(f"Metric {metric!r} is not in both evaluations: use one of {', '.join(known)}.")

  rows = []
  for video, other in zip(*(summary["videos"] for summary in summaries)):
    scores = video["scores"][metric], other["scores"][metric]
    if None not in scores:
      rows.append((scores[0] - scores[1], video["name"]))
  if not rows:
    raise UserError(f"No video has a value of {metric} in both evaluations: use another metric.")
  rows.sort(reverse=True)
  differences = np.array([difference for difference, _ in rows])
  means = [summary["scores"][metric]["mean"] for summary in summaries]
  about = METRICS[metric]
  better = differences > 0 if about.higher_is_better else differences < 0
  title = (
    f"{about.title}: {first.name} {means[0]:.3f}, {second.name} {means[1]:.3f}; "
    f"{first.name} is better on {better.sum()} of {len(rows)} videos"
  )
  label = f"{about.title} of {first.name} - {about.title} of {second.name}"
  figure = _draw(differences, [name for _, name in rows], better, title, label)
  out.parent.mkdir(parents=True, exist_ok=True)
  with files.replacing_file(out) as temporary:
    figure.savefig(temporary, format=out.suffix[1:].lower())
  say(f"{title}\nthe picture: {out}")
  return differences


def _check_comparable(first: Path, second: Path, a: dict[str, Any], b: dict[str, Any]) -> None:
  """Raises UserError if two evaluations, by folder and content, are not of the same frames."""
  facts = {
    "data set": (a["dataset"], b["dataset"]),
    "split": (a["split"], b["split"]),
    "protocol": (a["protocol"]["name"], b["protocol"]["name"]),
    "frames": (a["scored_frames"], b["scored_frames"]),
    "videos": tuple([(v.get("split"), v["name"]) for v in s["videos"]] for s in (a, b)),
  }
  for name, (one, other) in facts.items():
    if one != other:
      values = "" if name == "videos" else f" ({one} and {other})"
      raise UserError(
        f"{first} and {second} cannot be compared because they differ in {name}{values}: evaluate"
        " both in the same way."
      )


def _draw(
  differences: np.ndarray, names: list[str], better: np.ndarray, title: str, label: str
) -> Figure:
  """Draws a bar for each video, blue if the first evaluation is better, else orange."""
  named = len(names) <= _MOST_NAMES
  figure = Figure(figsize=(9, 1.5 + 0.18 * len(names) if named else 9), layout="constrained")
  axes = figure.subplots()
  colours = np.where(better, "tab:blue", "tab:orange")
  axes.barh(np.arange(len(names)), differences, height=0.8 if named else 1.0, color=colours)
  axes.set_ylim(len(names) - 0.5, -0.5)
  axes.axvline(0, color="black", linewidth=0.8)
  axes.axvline(differences.mean(), color="black", linewidth=0.8, linestyle="--", label="mean")
  axes.legend(loc="lower right", frameon=False, fontsize=9)
  axes.set_title(title, fontsize=9, parse_math=False)
  axes.set_xlabel(label, fontsize=9, parse_math=False)
  axes.grid(axis="x", alpha=0.3)
  if named:
    axes.set_yticks(np.arange(len(names)), names, fontsize=7, parse_math=False)
  else:
    axes.set_ylabel(f"{len(names)} videos")
    axes.set_yticks([])
  return figure
