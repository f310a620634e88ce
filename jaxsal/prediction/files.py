"""Saliency maps of a video of any length, written into a folder."""

import array
import collections
import contextlib
import dataclasses
import os
import shutil
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from jaxsal import console, files
from jaxsal.data import video as video_files
from jaxsal.errors import UserError
from jaxsal.prediction.predictor import Predictor, check_finite, images_of
from jaxsal.prediction.prefetch import prefetch
from jaxsal.prediction.writers import MapArchive, MapImages, Overlay, PredictedFrame, Writer

if TYPE_CHECKING:
  from jaxsal.prediction.gates import Region

Maps = Literal["png", "npz", "both", "none"]

# The files and folders that prediction writes, and that `overwrite` may therefore delete.
_OUTPUTS = {"maps", "maps.npz", "overlay.mp4", "overlays", "gates.mp4", "gates.png"}


@dataclasses.dataclass(frozen=True)
class Report:
  """The work that a prediction has done.

  Attributes:
    frames: number of frames, or of images.
    seconds: seconds in all.
    model_seconds: seconds in the network, transfers included.
    out: the folder that was written.
  """

  frames: int
  seconds: float
  model_seconds: float
  out: Path


def predict_file(
  predictor: Predictor,
  video: str | Path | video_files.VideoInfo,
  out: str | Path,
  *,
  maps: Maps = "png",
  overlay: bool = True,
  overwrite: bool = False,
  regions: "Sequence[Region] | None" = None,
) -> Report:
  """Writes the saliency maps of a video of any length into a folder; memory stays bounded.

  - `maps/00001.png`, ...: one per frame, at the video's own size, 8-bit grey, each map scaled so
    that its maximum is 255, as the benchmarks take them.
  - `maps.npz`: `maps`, float16 [n, *predictor.size], not scaled, and `times`, float64 [n], the
    seconds at which the frames are shown.
  - `overlay.mp4`: the video under its heat map, with its time stamps and its sound
    (`jaxsal.data.video.VideoWriter`).
  - `gates.mp4` and `gates.png`, if the predictor was made with `gates`: the gate over the frames
    and over time (`jaxsal.prediction.gates`).

  The folder appears when it is complete. If the video is damaged, the frames before the damage are
  predicted into a folder named `<out>.incomplete`, and the error names that folder.

  Args:
    predictor: the compiled network.
    video: path of the video, or its `VideoInfo` from `jaxsal.data.video`: from `probe`, or from
      `probe_frames` if its frames are image files.
    out: path of the folder to make.
    maps: which of the first two outputs to write.
    overlay: whether to write the third output.
    overwrite: whether to replace the folder of an earlier prediction.
    regions: regions of the video over which `gates.png` averages; the whole frame by default.

  Raises:
    UserError: the video cannot be read or is damaged, `out` is in the way, a region is not in the
      video, there is nothing to write, or the network gives values that are not finite.
  """
  if maps not in ("png", "npz", "both", "none"):
    raise UserError(f"maps={maps!r} is unknown: use 'png', 'npz', 'both' or 'none'.")
  if maps == "none" and not overlay and not predictor.gates:
    raise UserError("Nothing to write: maps='none' needs the overlay. Ask for maps or overlay.")
  if regions and not predictor.gates:
    raise UserError("regions are those of the gate's plot: they need a Predictor with gates=True.")
  out = Path(os.path.abspath(out))
  check_free(out, overwrite)
  info = video_files.probe(video)
  for region in regions or ():
    region.check((info.height, info.width))
  start = time.perf_counter()
  predictor = predictor.for_size(info.height, info.width)
  model_start = predictor.model_seconds

  with files.replacing_folder(out) as folder:
    # One opening of the video cannot serve all its readers. The sound is needed before the first
    # clip, and frames at full size would fill gigabytes while they wait for their maps; so they are
    # decoded a second time if they are shown. Writers of video copy the sound as they go along.
    damage = _Damage()
    frames = 0
    with contextlib.ExitStack() as stack:
      writers = [
        stack.enter_context(writer)
        for writer in _writers(predictor, info, folder, maps, overlay, regions or ())
      ]
      predicted = _predicted(predictor, info, damage, any(x.needs_images for x in writers))
      stack.enter_context(contextlib.closing(predicted))
      total = video_files.count_frames(info)
      bar = stack.enter_context(console.progress(info.path.name, total, unit="frames"))
      for frame in predicted:
        for writer in writers:
          writer.write(frame)
        frames = frame.number
        bar.advance()
    if damage.error:
      incomplete = out.with_name(out.name + ".incomplete")
      shutil.rmtree(incomplete, ignore_errors=True)
      folder.chmod(0o755)
      folder.rename(incomplete)
      raise UserError(f"{damage.error} The {frames} frames before the damage are in {incomplete}.")
  seconds = time.perf_counter() - start
  return Report(frames, seconds, predictor.model_seconds - model_start, out)


def _writers(
  predictor: Predictor,
  info: video_files.VideoInfo,
  folder: Path,
  maps: Maps,
  overlay: bool,
  regions: "Sequence[Region]",
) -> Iterator[Writer]:
  if maps in ("png", "both"):
    yield MapImages(folder / "maps")
  if maps in ("npz", "both"):
    yield MapArchive(folder / "maps.npz", predictor.size)
  if overlay:
    yield Overlay(folder / "overlay.mp4", info)
  if predictor.gates:
    from jaxsal.prediction.gates import GatesWriter  # brings Matplotlib

    yield GatesWriter(folder, info, regions)


def _predicted(
  predictor: Predictor, info: video_files.VideoInfo, damage: "_Damage", with_images: bool
) -> Generator[PredictedFrame, None, None]:
  """Yields the frames of a video with their maps, up to where it is damaged.

  Args:
    predictor: the compiled network.
    info: the video.
    damage: where to note the damage.
    with_images: whether to give the frames at their own size too.
  """
  size = info.height, info.width
  waiting: collections.deque[Fraction] = collections.deque()  # times of frames without their maps
  times = array.array("d")  # times of all frames, for the sound

  def frames() -> Iterator[video_files.Frame]:
    resampling = predictor.network.resampling
    resized = video_files.read_timed_frames(info, predictor.size, resampling)
    for frame in damage.frames_before(resized):
      waiting.append(frame.time)
      yield frame

  with contextlib.ExitStack() as stack:
    shown = None
    if with_images:
      again = _Damage().frames_before(video_files.read_timed_frames(info))
      shown = stack.enter_context(contextlib.closing(prefetch(again, depth=4)))
    images, sound = images_of(frames(), times), predictor.hear(info)
    maps = predictor.maps(images, sound=sound, fps=float(info.fps), times=times)
    stack.enter_context(contextlib.closing(maps))
    for number, saliency in enumerate(maps, start=1):
      check_finite(saliency, f"{info.path}, frame {number - 1}")
      gate = None
      if predictor.gates:
        saliency, gate = np.moveaxis(saliency, -1, 0)
      image = None if shown is None else next(shown).image
      yield PredictedFrame(number, waiting.popleft(), saliency, gate, size, image)


class _Damage:
  """The error that a damaged video breaks off with; None while none was met."""

  error: video_files.DamagedVideo | None = None

  def frames_before(self, frames: Iterable[video_files.Frame]) -> Iterator[video_files.Frame]:
    """Yields the frames before the damage, as if the video ended there."""
    try:
      yield from frames
    except video_files.DamagedVideo as error:
      self.error = error


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
