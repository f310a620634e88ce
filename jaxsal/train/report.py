"""The report of a finished training: a table, curves, and a contact sheet of predictions."""

import json
import math
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
import rich.table
from jax.experimental import multihost_utils
from matplotlib.figure import Figure

from jaxsal import files
from jaxsal.console import say, show, track
from jaxsal.data.pipeline import EvalBatches
from jaxsal.evaluation.bounds import BatchPredictor
from jaxsal.metrics import TRAINING
from jaxsal.pictures import heat_overlay, to_grey
from jaxsal.train import log

_EXAMPLES = 8
_KEYS = [metric.key for metric in TRAINING]


class _Example(NamedTuple):
  """A target frame with its fixations, density and prediction, all of one size [h, w]."""

  title: str
  frame: np.ndarray
  fixations: np.ndarray
  density: np.ndarray
  prediction: np.ndarray


def write(
  workdir: pathlib.Path,
  about: dict[str, Any],
  predictors: Mapping[str, BatchPredictor],
  batches: EvalBatches,
  target: int,
) -> dict[str, Any]:
  """Scores predictors on the validation frames, prints the table and writes it with pictures.

  Args:
    workdir: folder that gets `summary.json`, `curves.png` and `contact_sheet.png`.
    about: JSON values that the summary begins with.
    predictors: functions from a batch to maps [b, h, w] by name, `model` among them.
    batches: validation frames.
    target: position of the target frame in its clip.

  Returns:
    The summary: `about`, the number of `frames`, and `scores` by predictor and metric.
  """
  scores, frames, examples = _score(predictors, batches, target)
  summary = about | {"frames": frames, "scores": scores}
  if jax.process_index() == 0:
    files.write_text(workdir / "summary.json", json.dumps(summary, indent=2) + "\n")
    _curves(log.read(workdir)).savefig(workdir / "curves.png")
    _contact_sheet(examples).savefig(workdir / "contact_sheet.png")
    show(_table(scores, frames))
    say(
      f"the best weights are in {workdir / 'model'}, pictures in {workdir / 'curves.png'} and "
      f"{workdir / 'contact_sheet.png'}"
    )
  return summary


def _score(
  predictors: Mapping[str, BatchPredictor], batches: EvalBatches, target: int
) -> tuple[dict[str, dict[str, float]], int, list[_Example]]:
  """Returns each predictor's mean metrics, the number of frames, and examples of frames."""
  totals = np.zeros((len(predictors), len(TRAINING), 2))  # sum and number of values
  examples: list[_Example] = []
  frames = 0
  every = math.ceil(len(batches) / _EXAMPLES)
  for i, batch in enumerate(track(batches, "scoring", len(batches), "batch")):
    valid = batch["mask"] > 0
    for predictor, predict in enumerate(predictors.values()):
      maps = predict(batch)
      for m, metric in enumerate(TRAINING):
        truth = {name: batch[name][valid] for name in metric.truth}
        values = metric(maps[valid].astype(np.float64), truth)
        totals[predictor, m] += np.nansum(values), np.isfinite(values).sum()
    frames += int(valid.sum())
    looked_at = np.flatnonzero(valid & batch["fixations"].any((1, 2)))
    if i % every == 0 and looked_at.size:
      row, maps = looked_at[0], predictors["model"](batch)
      title = f"video {batch['video'][row]}, frame {batch['frame'][row]}"
      frame = batch["frames"][row, target]
      truth = batch["fixations"][row], batch["density"][row]
      examples.append(_Example(title, frame, *truth, maps[row]))
  totals, frames = jax.tree.map(
    lambda x: np.sum(multihost_utils.process_allgather(np.asarray(x)[None], tiled=True), axis=0),
    (totals, frames),
  )
  with np.errstate(invalid="ignore"):
    means = totals[..., 0] / totals[..., 1]
  scores = {name: dict(zip(_KEYS, map(float, row))) for name, row in zip(predictors, means)}
  return scores, int(frames), examples


def _table(scores: dict[str, dict[str, float]], frames: int) -> rich.table.Table:
  table = rich.table.Table(title=f"validation, mean over {frames} frames at the network's size")
  table.add_column("")
  for metric in TRAINING:
    title = metric.title if metric.higher_is_better else f"{metric.title} (low is good)"
    table.add_column(title, justify="right")
  for predictor, row in scores.items():
    table.add_row(predictor, *(f"{row[key]:.3f}" for key in _KEYS))
  return table


def _curves(rows: list[dict[str, float]]) -> Figure:
  """Plots the training loss, the learning rate and every validation metric over steps."""
  names = [
    "train/loss",
    "train/learning_rate",
    "train/gradient_norm",
    *(f"validation/{key}" for key in _KEYS),
  ]
  figure = Figure(figsize=(14, 6), layout="constrained", dpi=100)
  axes = figure.subplots(2, 4).ravel()
  for ax, name in zip(axes, names):
    points = [(row["step"], row[name]) for row in rows if name in row]
    ax.plot(*zip(*points), marker="." if len(points) < 50 else "", color="tab:blue")
    ax.set_title(name)
    ax.set_xlabel("step")
    ax.grid(alpha=0.3)
  axes[-1].axis("off")
  return figure


def _contact_sheet(examples: list[_Example]) -> Figure:
  """Draws a row per example: frame with fixations, density, prediction, prediction over frame."""
  titles = ("frame and fixations", "density (ground truth)", "prediction", "prediction over frame")
  rows, (h, w) = max(len(examples), 1), examples[0].density.shape
  width = 12.0
  figure = Figure(figsize=(width, rows * width / 4 * h / w + 0.5), layout="constrained", dpi=100)
  axes = figure.subplots(rows, 4, squeeze=False)
  for ax, title in zip(axes[0], titles):
    ax.set_title(title)
  for row, example in zip(axes, examples):
    y, x = np.nonzero(example.fixations)
    row[0].imshow(example.frame)
    row[0].scatter(x, y, s=8, c="red", linewidths=0)
    row[0].set_ylabel(example.title, fontsize=8)
    row[1].imshow(example.density, cmap="inferno")
    row[2].imshow(example.prediction, cmap="inferno", vmin=0)
    row[3].imshow(heat_overlay(example.frame, to_grey(example.prediction)))
    for ax in row:
      ax.set_xticks([])
      ax.set_yticks([])
  return figure
