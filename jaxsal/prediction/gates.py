"""What GFSalNet's gate does in a video: figures 4 and 6 of its paper."""

import contextlib
from collections.abc import Generator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Self

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from jaxsal import console
from jaxsal.data import video as video_files
from jaxsal.data.transforms import resize
from jaxsal.errors import UserError
from jaxsal.models._base import SaliencyModel
from jaxsal.models.gfsal import GFSalNet
from jaxsal.pictures import heat_overlay, to_grey
from jaxsal.prediction.files import intact
from jaxsal.prediction.predictor import Predictor


class Region(NamedTuple):
  """A rectangle of a video: pixel columns x0 to x1 - 1 and rows y0 to y1 - 1."""

  x0: int
  y0: int
  x1: int
  y1: int

  @classmethod
  def parse(cls, text: str) -> Self:
    """`x0,y0,x1,y1` as on the command line."""
    try:
      return cls(*map(int, text.split(",")))
    except (TypeError, ValueError) as error:
      raise UserError(
        f"region {text!r}: it must be x0,y0,x1,y1 in pixels of the video, as in 40,10,120,90"
      ) from error

  def check(self, size: tuple[int, int]) -> None:
    """Raises UserError unless the region lies in a video of this height and width."""
    if not (0 <= self.x0 < self.x1 <= size[1] and 0 <= self.y0 < self.y1 <= size[0]):
      raise UserError(
        f"region {self}: x0 < x1 and y0 < y1 must lie in the video, which is {size[1]} wide and "
        f"{size[0]} high"
      )

  def __str__(self) -> str:
    return ",".join(map(str, self))

  def mean(self, saliency: np.ndarray, size: tuple[int, int]) -> float:
    """Mean of a map [h, w] over the region of a video of this height and width."""
    down, right = np.divide(saliency.shape, size)
    rows = slice(int(self.y0 * down), int(np.ceil(self.y1 * down)))
    columns = slice(int(self.x0 * right), int(np.ceil(self.x1 * right)))
    return float(saliency[rows, columns].mean())


class Gates:
  """A gated GFSalNet, compiled for all that it computes."""

  def __init__(
    self,
    model: GFSalNet,
    *,
    batch_size: int | None = None,
    flow_from: str | Path | None = None,
    regions: Sequence[Region] = (),
  ) -> None:
    """Compiles the network.

    Args:
      model: the network.
      batch_size, flow_from: see `jaxsal.prediction.predictor.Predictor`.
      regions: of which `write` plots the mean motion weight; by default the whole frame.

    Raises:
      UserError: the network has no gate; and as `Predictor`.
    """
    if not isinstance(model, GFSalNet) or model.config.streams != "both" or not model.fusion.gated:
      raise UserError("--show-gates: only a GFSalNet of two streams with gated fusion has a gate")
    self._predictor = Predictor(_Gated(model), batch_size=batch_size, flow_from=flow_from)
    self._regions = regions

  @property
  def size(self) -> tuple[int, int]:
    """Height and width of the frames that it takes."""
    return self._predictor.size

  def maps(self, frames: Iterable[np.ndarray]) -> Generator[np.ndarray, None, None]:
    """S and P of each of a video's frames, RGB uint8 [*size, 3]: float32 [*size, 2]."""
    return self._predictor.maps(frames)

  def write(self, info: video_files.VideoInfo, folder: Path) -> None:
    """Writes `gates.mp4` and `gates.png` of a video into a folder.

    `gates.mp4` shows the frame, S over it, P (the weight of appearance) and 1 - P (of motion), dark
    for 0 and yellow for 1; `gates.png` the mean of 1 - P in each region over time.
    """
    size = info.height, info.width
    regions = self._regions or [Region(0, 0, info.width, info.height)]
    times, weights = [], []
    shown = intact(video_files.read_timed_frames(info.path), [])
    seen = intact(video_files.read_timed_frames(info.path, self.size), [])
    total = video_files.count_frames(info.path)
    with (
      contextlib.closing(self.maps(frame.image for frame in seen)) as maps,
      video_files.VideoWriter(folder / "gates.mp4", info.path) as writer,
      console.progress(f"{info.path.name}: gates", total, unit="frames") as bar,
    ):
      for frame, both in zip(shown, maps):
        saliency, appearance = np.moveaxis(both, -1, 0)
        writer.write(_mosaic(frame.image, saliency, appearance), frame.time)
        times.append(float(frame.time))
        weights.append([region.mean(1 - appearance, size) for region in regions])
        bar.advance()
    labels = [str(region) for region in self._regions] or ["whole frame"]
    plot(times, dict(zip(labels, np.transpose(weights)))).savefig(folder / "gates.png")


def plot(times: Sequence[float], weights: Mapping[str, Sequence[float]]) -> Figure:
  """Mean motion weights over time, as in figure 6: a line for each label."""
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


class _Gated(SaliencyModel):
  """S and P in the place of the map: [b, h, w, 2]."""

  needs_flow = True

  def __init__(self, network: GFSalNet) -> None:
    self.network, self.config = network, network.config

  def from_batch(self, batch: Mapping[str, jax.Array]) -> jax.Array:
    maps = self.network.maps_from_batch(batch)
    return jnp.stack([maps.saliency, maps.gate], axis=-1)


def _mosaic(frame: np.ndarray, saliency: np.ndarray, appearance: np.ndarray) -> np.ndarray:
  """Four pictures of half the frame's height and width, at the frame's size."""
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
    picture[:line] //= 3  # so that white letters show on any picture
    place, scale = (4, line - 4), max(0.35, half[1] / 800)
    white = (255, 255, 255)
    cv2.putText(picture, text, place, cv2.FONT_HERSHEY_SIMPLEX, scale, white, 1, cv2.LINE_AA)
  first, second, third, fourth = pictures.values()
  return np.vstack([np.hstack([first, second]), np.hstack([third, fourth])])[:h, :w]
