"""Reads the results of an evaluation for its report."""

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
  """The results of an evaluation.

  Attributes:
    summary: content of `scores.json`.
    files: file with the scores of each video.
    values: values of each metric for all scored frames [n], by key; NaN where a frame was dropped.
  """

  summary: dict[str, Any]
  files: list[Path]
  values: dict[str, np.ndarray]

  def example(self, number: int) -> "Example | None":
    """Reads the example of the video at position `number`; returns None if none was stored."""
    path = self.files[number]

    def picture(name: str, flags: int) -> np.ndarray:
      image = cv2.imdecode(arrays[f"example_{name}"], flags)
      if image is None:
        raise UserError(f"{path}: a picture cannot be decoded. Evaluate again, to another --out.")
      return image

    def coloured(name: str) -> np.ndarray:
      return cv2.applyColorMap(picture(name, cv2.IMREAD_GRAYSCALE), cv2.COLORMAP_INFERNO)

    with np.load(path) as arrays:
      if "example_frame" not in arrays:
        return None
      position = int(arrays["example"])
      return Example(
        number=int(arrays["frame"][position]),
        frame=picture("frame", cv2.IMREAD_COLOR),
        density=coloured("density"),
        prediction=coloured("prediction"),
        fixations=arrays["example_fixations"],
        scores={metric: float(arrays[metric][position]) for metric in self.summary["metrics"]},
      )


@dataclasses.dataclass(frozen=True)
class Example:
  """A frame of a video, with its maps.

  Attributes:
    number: number of the frame in its video.
    frame: the frame: uint8 [h, w, 3] in B, G, R.
    density: the ground truth, of the same size, in the colours of inferno.
    prediction: the prediction, of the same size, in the colours of inferno.
    fixations: (x, y) in pixels of the images, float [n, 2].
    scores: value of each metric, by key; NaN where the frame was dropped.
  """

  number: int
  frame: np.ndarray
  density: np.ndarray
  prediction: np.ndarray
  fixations: np.ndarray
  scores: dict[str, float]


def read_summary(out: Path) -> dict[str, Any]:
  """Reads `scores.json` in the folder of an evaluation.

  Raises:
    UserError: `out` holds no finished evaluation, or one in another format.
  """
  path = out / "scores.json"
  if not path.is_file():
    raise UserError(f"{path}: no such file. `jaxsal evaluate --out={out}` writes it at its end.")
  summary = json.loads(path.read_text("utf-8"), parse_constant=lambda _: None)  # NaN: None
  if summary.get("format") != FORMAT:
    raise UserError(
      f"{path}: format {summary.get('format')!r}, and this version reads format {FORMAT}. Evaluate "
      "again, to another --out."
    )
  return summary


def read(out: Path) -> Results:
  """Reads `scores.json` and the values of all frames in the folder of an evaluation.

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
  """Returns the file of each video; every fold of a cross-validation has a folder of its own."""
  numbers: collections.Counter[str] = collections.Counter()
  paths = []
  for video in videos:
    split = video.get("split", "")
    paths.append(out / split / "videos" / f"{numbers[split]:05}.npz")
    numbers[split] += 1
  return paths
