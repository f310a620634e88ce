"""What an evaluation left behind, read for the report."""

import collections
import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from jaxsal.console import track
from jaxsal.errors import UserError

FORMAT = 1


@dataclasses.dataclass(frozen=True)
class Results:
  """An evaluation.

  Attributes:
    summary: the content of `scores.json`.
    files: of the scores of each video.
    values: metric -> its value for every scored frame [n], NaN where it was dropped.
  """

  summary: dict[str, Any]
  files: list[Path]
  values: dict[str, np.ndarray]

  def example(self, number: int) -> "Example | None":
    """The example of the video at position `number`; None if none was stored."""
    with np.load(self.files[number]) as arrays:
      if "example_frame" not in arrays:
        return None
      position = int(arrays["example"])
      density, prediction = (
        cv2.applyColorMap(cv2.imdecode(arrays[name], cv2.IMREAD_GRAYSCALE), cv2.COLORMAP_INFERNO)
        for name in ("example_density", "example_prediction")
      )
      return Example(
        number=int(arrays["frame"][position]),
        frame=cv2.imdecode(arrays["example_frame"], cv2.IMREAD_COLOR),
        density=density,
        prediction=prediction,
        fixations=arrays["example_fixations"],
        scores={metric: float(arrays[metric][position]) for metric in self.summary["metrics"]},
      )


@dataclasses.dataclass(frozen=True)
class Example:
  """A frame of a video and its maps.

  Attributes:
    number: of the frame in its video.
    frame, density, prediction: images of one size, the maps in the colours of inferno: uint8
      [h, w, 3] in B, G, R.
    fixations: (x, y) in pixels of the images, float [n, 2].
    scores: metric -> value; NaN where it was dropped.
  """

  number: int
  frame: np.ndarray
  density: np.ndarray
  prediction: np.ndarray
  fixations: np.ndarray
  scores: dict[str, float]


def read_summary(out: Path) -> dict[str, Any]:
  """The content of `scores.json`.

  Raises:
    UserError: `out` holds no finished evaluation, or one in another format.
  """
  path = out / "scores.json"
  if not path.is_file():
    raise UserError(f"{path}: no such file. `jaxsal evaluate --out={out}` writes it at its end.")
  summary = json.loads(path.read_text("utf-8"), parse_constant=lambda _: None)  # NaN is no value
  if summary.get("format") != FORMAT:
    raise UserError(
      f"{path}: format {summary.get('format')!r}, and this version reads format {FORMAT}. Evaluate "
      "again, to another --out."
    )
  return summary


def read(out: Path) -> Results:
  """Reads `scores.json` and the values per frame.

  Raises:
    UserError: `out` holds no finished evaluation, or one in another format.
  """
  summary = read_summary(out)
  values: dict[str, list[np.ndarray]] = {name: [] for name in summary["metrics"]}
  paths = _files(out, summary["videos"])
  for path in track(paths, "reading scores", len(paths), "video"):
    if not path.is_file():
      raise UserError(f"{path}: no such file, though scores.json lists the video. Evaluate again.")
    with np.load(path) as arrays:
      for name, parts in values.items():
        parts.append(arrays[name])
  return Results(summary, paths, {name: np.concatenate(parts) for name, parts in values.items()})


def _files(out: Path, videos: Sequence[Mapping[str, Any]]) -> list[Path]:
  """Where each video's scores lie: each split of a cross-validation has a folder of its own."""
  numbers: collections.Counter[str] = collections.Counter()
  paths = []
  for video in videos:
    split = video.get("split", "")
    paths.append(out / split / "videos" / f"{numbers[split]:05}.npz")
    numbers[split] += 1
  return paths
