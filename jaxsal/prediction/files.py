"""Saliency maps of a video of any length, into files."""

import contextlib
import dataclasses
import os
import shutil
import time
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

import cv2
import numpy as np

from jaxsal import console, files
from jaxsal.data import video as video_files
from jaxsal.errors import UserError
from jaxsal.pictures import heat_overlay, resize_map, to_grey
from jaxsal.prediction.predictor import Predictor, _prefetch, hear

if TYPE_CHECKING:
  from jaxsal.prediction.gates import Gates

# What `predict_file` may leave in a folder, and so what `overwrite` may delete.
_OUTPUTS = {"maps", "maps.npz", "overlay.mp4", "gates.mp4", "gates.png"}


@dataclasses.dataclass(frozen=True)
class Report:
  """What `predict_file` did: frames, seconds in all and in the network, and the folder."""

  frames: int
  seconds: float
  model_seconds: float
  out: Path


def predict_file(
  predictor: Predictor,
  path: str | Path,
  out: str | Path,
  *,
  maps: Literal["png", "npz", "both", "none"] = "png",
  overlay: bool = True,
  overwrite: bool = False,
  mute: bool = False,
  gates: "Gates | None" = None,
) -> Report:
  """Writes the saliency maps of a video of any length into a folder; memory stays bounded.

  - `maps/00001.png`, ...: one per frame, at the video's own size, 8-bit grey, each map scaled so
    that its maximum is 255, as the benchmarks take them.
  - `maps.npz`: `maps`, float16 [n, *predictor.size], not scaled, and `times`, float64 [n], the
    seconds at which the frames are shown.
  - `overlay.mp4`: the video under its heat map, with its time stamps and its sound
    (`jaxsal.data.video.VideoWriter`).
  - `gates.mp4` and `gates.png`: see `jaxsal.prediction.gates`.

  The folder appears when it is complete. Of a damaged video the frames before the damage are
  predicted, into a folder with `.incomplete` behind its name, and the error says so.

  Args:
    predictor: the compiled network.
    path: the video.
    out: the folder to make.
    maps: which of the first two to write.
    overlay: whether to write the third.
    overwrite: whether to replace a folder that an earlier prediction has written.
    mute: leave an audio-visual network without the video's sound.
    gates: what shows the gate of a GFSalNet, if it is to be shown.

  Raises:
    UserError: the video cannot be read or breaks off; `out` is in the way; there is nothing to
      write.
  """
  if maps not in ("png", "npz", "both", "none"):
    raise UserError(f"maps={maps!r} is unknown: use 'png', 'npz', 'both' or 'none'.")
  if maps == "none" and not overlay:
    raise UserError("Nothing to write: maps='none' needs the overlay. Ask for one of them.")
  path, out = Path(path), Path(os.path.abspath(out))
  check_free(out, overwrite)
  info = video_files.probe(path)
  start, model_start = time.perf_counter(), predictor.model_seconds

  with files.replacing_folder(out) as folder:
    sound = None if mute else hear(predictor, path)
    frames, damage = _write(predictor, info, folder, maps, overlay, sound)
    if gates is not None:
      gates.write(info, folder)
    if damage:
      incomplete = out.with_name(out.name + ".incomplete")
      shutil.rmtree(incomplete, ignore_errors=True)
      folder.chmod(0o755)
      folder.rename(incomplete)
      raise UserError(f"{damage} The {frames} frames before the damage are in {incomplete}.")
  seconds = time.perf_counter() - start
  return Report(frames, seconds, predictor.model_seconds - model_start, out)


def _write(
  predictor: Predictor,
  info: video_files.VideoInfo,
  folder: Path,
  maps: str,
  overlay: bool,
  sound: np.ndarray | None,
) -> tuple[int, video_files.DamagedVideo | None]:
  """Writes into `folder` what `predict_file` promises: number of frames, and what ended them."""
  damage: list[video_files.DamagedVideo] = []
  times: list[float] = []
  frames = intact(video_files.read_timed_frames(info.path, predictor.size), damage)
  png, npz = maps in ("png", "both"), maps in ("npz", "both")
  done = 0
  with contextlib.ExitStack() as stack:
    if png:
      (folder / "maps").mkdir()
    if npz:
      archive = stack.enter_context(_MapArchive(folder / "maps.npz", predictor.size, times))
    if overlay:
      writer = stack.enter_context(video_files.VideoWriter(folder / "overlay.mp4", info.path))
      # Decoded a second time: frames that wait for their maps would fill gigabytes at full size.
      again = _prefetch(intact(video_files.read_timed_frames(info.path), []), depth=4)
      shown = stack.enter_context(contextlib.closing(again))
    predicted = predictor.maps(_images(frames, times), sound=sound, fps=float(info.fps))
    stack.enter_context(contextlib.closing(predicted))
    total = video_files.count_frames(info.path)
    bar = stack.enter_context(console.progress(info.path.name, total, unit="frames"))
    for done, saliency in enumerate(predicted, start=1):
      if npz:
        archive.add(saliency)
      if png or overlay:
        grey = to_grey(resize_map(saliency, (info.height, info.width)))
      if png:
        _, encoded = cv2.imencode(".png", grey)
        (folder / "maps" / f"{done:05}.png").write_bytes(encoded)
      if overlay:
        frame = next(shown)
        writer.write(heat_overlay(frame.image, grey), frame.time)
      bar.advance()
  return done, damage[0] if damage else None


class _MapArchive:
  """An NPZ of maps that grows on disk: its header needs their number, known at the end only."""

  def __init__(self, path: Path, size: tuple[int, int], times: list[float]) -> None:
    self._path, self._size, self._times = path, size, times
    self._raw_path = path.with_suffix(".raw")
    self._raw = self._raw_path.open("w+b")
    self._count = 0

  def add(self, saliency: np.ndarray) -> None:
    self._raw.write(saliency.astype("<f2").tobytes())
    self._count += 1

  def __enter__(self) -> Self:
    return self

  def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
    with self._raw:
      if kind is None:
        self._finish()
    self._raw_path.unlink()

  def _finish(self) -> None:
    self._raw.seek(0)
    header = {"descr": "<f2", "fortran_order": False, "shape": (self._count, *self._size)}
    with zipfile.ZipFile(self._path, "w") as archive:
      with archive.open("maps.npy", "w", force_zip64=True) as member:
        np.lib.format.write_array_header_1_0(member, header)
        shutil.copyfileobj(self._raw, member)
      with archive.open("times.npy", "w") as member:
        np.lib.format.write_array(member, np.asarray(self._times[: self._count], np.float64))


def _images(frames: Iterable[video_files.Frame], times: list[float]) -> Iterator[np.ndarray]:
  """The images of `frames`; their times go into `times`."""
  for frame in frames:
    times.append(float(frame.time))
    yield frame.image


def intact(
  frames: Iterable[video_files.Frame], damage: list[video_files.DamagedVideo]
) -> Iterator[video_files.Frame]:
  """The frames before the damage, as if the video ended there; `damage` is told."""
  try:
    yield from frames
  except video_files.DamagedVideo as error:
    damage.append(error)


def check_free(out: Path, overwrite: bool) -> None:
  """Raises UserError if `out` holds something that `predict_file` may not replace."""
  if not out.exists():
    return
  if not out.is_dir():
    raise UserError(f"{out}: a file is in the way of the output folder. Name another folder.")
  there = {entry.name for entry in out.iterdir()}
  if there and not overwrite:
    raise UserError(f"{out}: the output folder is not empty. Name another, or pass --overwrite.")
  if foreign := there - _OUTPUTS:
    raise UserError(
      f"{out}: holds {sorted(foreign)[0]!r}, which no prediction has written, so the folder is not "
      "replaced. Name another output folder."
    )
