"""The gate of GFSalNet over the frames of a video and over time: figures 4 and 6 of its paper."""

import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Self

import cv2
import numpy as np
from matplotlib.figure import Figure

from jaxsal.data.transforms import resize
from jaxsal.data.video import VideoInfo, VideoWriter
from jaxsal.errors import UserError
from jaxsal.models import SaliencyModel
from jaxsal.models.gfsal import GFSalNet
from jaxsal.pictures import heat_overlay, to_grey
from jaxsal.prediction.writers import PredictedFrame, Writer


class Region(NamedTuple):
  """A rectangle of a video: pixel columns x0 to x1 - 1 and rows y0 to y1 - 1."""

  x0: int
  y0: int
  x1: int
  y1: int

  @classmethod
  def parse(cls, text: str) -> Self:
    """Returns the region of a text `x0,y0,x1,y1`, as on the command line."""
    try:
      return cls(*map(int, text.split(",")))
    except (TypeError, ValueError) as error:
      raise UserError(
        f"region {text!r}: it must be x0,y0,x1,y1 in pixels of the video, as in 40,10,120,90."
      ) from error

  def check(self, size: tuple[int, int]) -> None:
    """Raises UserError unless the region lies in a video of this height and width."""
    if not (0 <= self.x0 < self.x1 <= size[1] and 0 <= self.y0 < self.y1 <= size[0]):
      raise UserError(
        f"region {self}: x0 < x1 and y0 < y1 must lie in the video, which is {size[1]} wide and "
        f"{size[0]} high."
      )

  def __str__(self) -> str:
    return ",".join(map(str, self))

  def mean(self, saliency: np.ndarray, size: tuple[int, int]) -> float:
    """Returns the mean of a map [h, w] over the region of a video of this height and width."""
    down, right = np.divide(saliency.shape, size)
    rows = slice(int(self.y0 * down), int(np.ceil(self.y1 * down)))
    columns = slice(int(self.x0 * right), int(np.ceil(self.x1 * right)))
    return float(saliency[rows, columns].mean())


def check_gate(model: SaliencyModel) -> None:
  """Raises UserError unless the network is a GFSalNet with a gate."""
  if not isinstance(model, GFSalNet) or model.config.streams != "both" or not model.fusion.gated:
    raise UserError(
      "--show-gates: only a GFSalNet of two streams with gated fusion has a gate. Leave it out."
    )


class GatesWriter(Writer):
  """`gates.mp4` and `gates.png`.

  `gates.mp4` shows the frame, its map over it, P (the weight of appearance) and 1 - P (of motion),
  dark for 0 and yellow for 1. `gates.png` shows the mean of 1 - P in each region over time.
  """

  needs_images = True

  def __init__(self, folder: Path, video: VideoInfo, regions: Sequence[Region] = ()) -> None:
    """Opens the video.

    Args:
      folder: folder for both files.
      video: the video that is predicted.
      regions: regions of the plot; the whole frame if there are none.
    """
    self._plot = folder / "gates.png"
    self._video = VideoWriter(folder / "gates.mp4", video)
    self._labels = [str(region) for region in regions] or ["whole frame"]
    self._regions = regions or [Region(0, 0, video.width, video.height)]
    self._times: list[float] = []
    self._weights: list[list[float]] = []

  def write(self, frame: PredictedFrame) -> None:
    assert frame.image is not None and frame.gate is not None
    self._video.write(_mosaic(frame.image, frame.saliency, frame.gate), frame.time)
    motion = 1 - frame.gate
    self._times.append(float(frame.time))
    self._weights.append([region.mean(motion, frame.video_size) for region in self._regions])

  def __exit__(
    self,
    kind: type[BaseException] | None,
    error: BaseException | None,
    traceback: types.TracebackType | None,
  ) -> None:
    self._video.__exit__(kind, error, traceback)
    if kind is None:
      lines = dict(zip(self._labels, np.transpose(self._weights)))
      plot(self._times, lines).savefig(self._plot)


def plot(times: Sequence[float], weights: Mapping[str, Sequence[float] | np.ndarray]) -> Figure:
  """Draws mean motion weights over time, as in figure 6, with a line for each label."""
  figure = Figure(figsize=(8, 3.5), layout="constrained", dpi=100)
  axes = figure.subplots()
  for label, values in weights.items():
    axes.plot(times, values, label=label, marker="." if len(times) < 100 else "")
  axes.set_xlabel("seconds")
  axes.set_ylabel("mean motion weight, 1 - P")
  axes.set_ylim(0, 1)
  axes.grid(alpha=0.3)
  axes.legend()
  return figure


def _mosaic(frame: np.ndarray, saliency: np.ndarray, appearance: np.ndarray) -> np.ndarray:
  """Returns four pictures in a square, each half as high and wide as the frame."""
  h, w = frame.shape[:2]
  half = -(-h // 2), -(-w // 2)
  small = resize(frame, half)
  gates = [
    cv2.applyColorMap(np.rint(255 * resize(x, half)).astype(np.uint8), cv2.COLORMAP_VIRIDIS)
    for x in (appearance, 1 - appearance)
  ]
  pictures = {
    "frame": small.copy(),
    "saliency": heat_overlay(small, to_grey(resize(saliency, half))),
    "appearance, P": np.ascontiguousarray(gates[0][..., ::-1]),
    "motion, 1 - P": np.ascontiguousarray(gates[1][..., ::-1]),
  }
  for text, picture in pictures.items():
    line = max(14, half[0] // 12)
    picture[:line] //= 3  # white letters show on any picture then
    place, scale = (4, line - 4), max(0.35, half[1] / 800)
    white = (255, 255, 255)
    cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, white, 1, cv2.LINE_AA)
  first, second, third, fourth = pictures.values()
  return np.vstack([np.hstack([first, second]), np.hstack([third, fourth])])[:h, :w]
