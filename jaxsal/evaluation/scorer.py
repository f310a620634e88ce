"""Scores the frames of one video: the maps of a system, and of bounds, on the device."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence

import cv2
import jax
import numpy as np

from jaxsal import metrics
from jaxsal.console import Progress
from jaxsal.data import transforms
from jaxsal.data.sources import Split, Video
from jaxsal.errors import UserError
from jaxsal.evaluation.bounds import Bound, Frame
from jaxsal.evaluation.protocols import Fixations
from jaxsal.evaluation.systems import BATCH, Maps, finisher, stack
from jaxsal.pictures import to_grey

_frame_scores = jax.jit(metrics.frame_scores)
# Largest width of the report's pictures, in pixels.
_PICTURE_WIDTH = 320


class Scorer:
  """Scores a system, and bounds, on one video after the other."""

  def __init__(
    self,
    split: Split,
    system: Maps | Bound,
    references: Mapping[str, Bound],
    fixations: Fixations,
    baseline: np.ndarray | None,
    blur: float,
  ) -> None:
    """Keeps what the videos of a split have in common.

    Args:
      split: the split.
      system: system that is evaluated.
      references: bounds that are scored on the same frames, by name.
      fixations: fixations of the split.
      baseline: baseline of information gain, a map of any size; None leaves that metric out.
      blur: blur of the system's maps at the video's size, for `jaxsal.evaluation.systems.finisher`.
    """
    self._split, self._system, self._references = split, system, references
    self._fixations, self._baseline, self._blur = fixations, baseline, blur
    self._metrics = [
      key
      for key, metric in metrics.METRICS.items()
      if baseline is not None or "baseline" not in metric.truth
    ]

  def video(self, number: int, frames: Sequence[int], bar: Progress) -> dict[str, np.ndarray]:
    """Scores frames of a video, and takes pictures of one that has fixations, if any has.

    Args:
      number: number of the video in the split.
      frames: numbers of the frames in the video.
      bar: progress bar, advanced by every frame.

    Returns:
      Arrays by name:

      - `frame`: the numbers of the frames, int32 [n].
      - `METRIC`: the scores of the system in a metric, float32 [n], NaN where it is undefined.
      - `BOUND/METRIC`: the scores of a bound, likewise.
      - `example`: position of the frame with pictures in `frame`. This entry and the following ones
        are missing if no frame has fixations.
      - `example_frame`, `example_density`, `example_prediction`: pictures as JPEG, uint8 [k].
      - `example_fixations`: fixations as (x, y) in pixels of the pictures, float32 [m, 2].
    """
    video = self._split.videos[number]
    looked_at = [i for i, f in enumerate(frames) if self._fixations.map(video.first + f).any()]
    example = looked_at[len(looked_at) // 2] if looked_at else None
    arrays: dict[str, np.ndarray] = {}
    values: dict[str, list[jax.Array]] = {
      prefix + metric: []
      for prefix in ("", *(f"{name}/" for name in self._references))
      for metric in self._metrics
    }

    def score(prefix: str, bound: Bound, blur: float) -> tuple[jax.Array, Sequence[Frame]]:
      predictions, truths = zip(*map(bound, batch))
      maps = finisher((video.height, video.width), blur)(stack(predictions))
      for metric, value in self._scores(maps, truths, others).items():
        parts = values[prefix + metric]
        parts.append(value)
        # Waiting for the batch before this one lets the device work while the next one is read.
        jax.block_until_ready(parts[-2:-1])
      return maps, truths

    with self._as_bound(number, frames) as system:
      for start in range(0, len(frames), BATCH):
        batch = [self._frame(video, frame) for frame in frames[start : start + BATCH]]
        others = [self._fixations.other_map(frame.number) for frame in batch]
        maps, truths = score("", system, self._blur)
        for name, bound in self._references.items():
          score(f"{name}/", bound, 0.0)
        if example is not None and start <= example < start + BATCH:
          row = example - start
          arrays |= _pictures(truths[row], np.asarray(maps[row]))
          arrays["example"] = np.asarray(example, np.int32)
        bar.advance(len(batch))
    arrays["frame"] = np.asarray(frames, np.int32)
    for name, parts in values.items():
      arrays[name] = np.concatenate([np.zeros(0, np.float32), *parts])[: len(frames)]
    return arrays

  @contextlib.contextmanager
  def _as_bound(self, number: int, frames: Sequence[int]) -> Iterator[Bound]:
    """Yields the system as a function of one video's frames, to be called in their order."""
    if callable(self._system):
      yield self._system
      return
    with contextlib.closing(self._system.of_video(number, frames)) as maps:

      def predict(frame: Frame) -> tuple[np.ndarray, Frame]:
        saliency = next(maps)
        if not np.isfinite(saliency).all():
          raise UserError(
            f"{frame.video.name}, frame {frame.number - frame.video.first}: the map is not finite."
            " Such frames cannot be left out, because that would flatter the model."
          )
        return saliency, frame

      yield predict

  def _frame(self, video: Video, frame: int) -> Frame:
    """Reads a frame of a video, with its truth."""
    number = video.first + frame
    record = self._split[number]
    density = transforms.decode_density(record["density"], self._split.where(number))
    return Frame(number, video, record, density, self._fixations.map(number))

  def _scores(
    self, maps: jax.Array, truths: Sequence[Frame], others: Sequence[np.ndarray]
  ) -> dict[str, jax.Array]:
    """Computes every metric of a batch, [BATCH], whose first rows belong to `truths`."""
    baseline = None
    if self._baseline is not None:
      baseline = finisher(maps.shape[1:], 0.0)(self._baseline)
    return _frame_scores(
      maps,
      stack([truth.density for truth in truths]),
      stack([truth.fixations for truth in truths]),
      stack(others),
      baseline,
    )


def _pictures(frame: Frame, prediction: np.ndarray) -> dict[str, np.ndarray]:
  """Makes the pictures of a frame for the report, as `Scorer.video` returns them."""
  height, width = prediction.shape
  scale = min(1.0, _PICTURE_WIDTH / width)
  size = round(height * scale), round(width * scale)
  image = transforms.decode_frame(frame.record["image"], frame.video.name)
  points = np.argwhere(frame.fixations)[:, ::-1] + 0.5
  return {
    "example_frame": _jpeg(transforms.resize(image, size)[..., ::-1]),
    "example_density": _jpeg(to_grey(transforms.resize(frame.density, size))),
    "example_prediction": _jpeg(to_grey(transforms.resize(prediction, size))),
    "example_fixations": (points * scale).astype(np.float32),
  }


def _jpeg(image: np.ndarray) -> np.ndarray:
  return cv2.imencode(".jpg", image)[1]
