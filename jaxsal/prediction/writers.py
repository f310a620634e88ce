"""The outputs of a predicted video, one writer each."""

import dataclasses
import functools
import shutil
import types
import zipfile
from fractions import Fraction
from pathlib import Path
from typing import Self

import cv2
import numpy as np

from jaxsal.data.video import VideoInfo, VideoWriter
from jaxsal.pictures import heat_overlay, resize_map, to_grey


@dataclasses.dataclass(frozen=True)
class PredictedFrame:
  """A frame of a video with its map.

  Attributes:
    number: number of the frame, from 1.
    time: seconds from the start of the file.
    saliency: the map, float32 [h, w], at the network's size.
    gate: weight of appearance in a GFSalNet, float32 [h, w]; None without gates.
    video_size: height and width of the video, H and W.
    image: the frame, RGB uint8 [H, W, 3]; None if no writer needs it.
  """

  number: int
  time: Fraction
  saliency: np.ndarray
  gate: np.ndarray | None
  video_size: tuple[int, int]
  image: np.ndarray | None

  @functools.cached_property
  def grey(self) -> np.ndarray:
    """The map at the video's size, uint8 [H, W], scaled to a maximum of 255."""
    return to_grey(resize_map(self.saliency, self.video_size))


class Writer:
  """One output of a prediction; a context manager that completes it if there was no error.

  Attributes:
    needs_images: whether `write` needs the frames themselves.
  """

  needs_images = False

  def write(self, frame: PredictedFrame) -> None:
    """Adds the next frame of the video."""
    raise NotImplementedError

  def __enter__(self) -> Self:
    return self

  def __exit__(
    self,
    kind: type[BaseException] | None,
    error: BaseException | None,
    traceback: types.TracebackType | None,
  ) -> None:
    pass


class MapImages(Writer):
  """A folder of maps as 8-bit grey PNG, 00001.png for the first frame."""

  def __init__(self, folder: Path) -> None:
    self._folder = folder
    folder.mkdir()

  def write(self, frame: PredictedFrame) -> None:
    _, encoded = cv2.imencode(".png", frame.grey)
    (self._folder / f"{frame.number:05}.png").write_bytes(encoded.tobytes())


class MapArchive(Writer):
  """An NPZ of unscaled maps and their times.

  The header of the maps needs their number, which is known at the end only. They are collected in a
  file next to the archive until then.
  """

  def __init__(self, path: Path, size: tuple[int, int]) -> None:
    self._path, self._size = path, size
    self._times: list[float] = []
    self._raw_path = path.with_suffix(".raw")
    self._raw = self._raw_path.open("w+b")

  def write(self, frame: PredictedFrame) -> None:
    self._raw.write(frame.saliency.astype("<f2").tobytes())
    self._times.append(float(frame.time))

  def __exit__(
    self,
    kind: type[BaseException] | None,
    error: BaseException | None,
    traceback: types.TracebackType | None,
  ) -> None:
    with self._raw:
      if kind is None:
        self._finish()
    self._raw_path.unlink()

  def _finish(self) -> None:
    self._raw.seek(0)
    shape = (len(self._times), *self._size)
    header = {"descr": "<f2", "fortran_order": False, "shape": shape}
    with zipfile.ZipFile(self._path, "w") as archive:
      with archive.open("maps.npy", "w", force_zip64=True) as member:
        np.lib.format.write_array_header_1_0(member, header)
        shutil.copyfileobj(self._raw, member)
      with archive.open("times.npy", "w") as member:
        np.lib.format.write_array(member, np.asarray(self._times, np.float64))


class Overlay(Writer):
  """The video with its heat map laid over it, with its time stamps and its sound."""

  needs_images = True

  def __init__(self, path: Path, video: VideoInfo) -> None:
    self._video = VideoWriter(path, video)

  def write(self, frame: PredictedFrame) -> None:
    assert frame.image is not None
    self._video.write(heat_overlay(frame.image, frame.grey), frame.time)

  def __exit__(
    self,
    kind: type[BaseException] | None,
    error: BaseException | None,
    traceback: types.TracebackType | None,
  ) -> None:
    self._video.__exit__(kind, error, traceback)
