"""Pseudo-models between which the scores of a model can move: floor and ceiling.

- `mean eye position`, the floor: the mean density of the training split. It sees no image and shows
  how far centre bias alone goes.
- `human infinite`, a ceiling, where the gaze of each observer is known: one half of the observers
  predicts the other half. At every frame the observers who looked at it are split at random; of an
  odd number the first half gets one more. The density of the first half's gaze is the prediction;
  the second half's gaze and density are what it is scored against. Both densities are blurred as
  the data set's own. Half of the observers are a noisier prediction, and a noisier truth, than all
  of them: a good model, which is scored against all, can pass this bound.
- `exact density`, the ceiling, where gaze was simulated: what the observers were drawn from. It
  owes nothing to the observers that it is scored against: all of them are held out.
- `exact density, blurred` as the ground truth's densities are: the ceiling of the metrics that
  compare with those.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import cv2
import numpy as np

from jaxsal.console import track
from jaxsal.data import transforms
from jaxsal.data.pipeline import Batch
from jaxsal.data.sources import Split, Video, target_records
from jaxsal.evaluation.protocols import SEED

# Frames that the mean eye position is taken of, and its size where no network says another: so
# smooth a map needs no more of either.
_MEAN_FRAMES = 20_000
_MEAN_SIZE = 180, 320
# DHF1K's densities are Gaussians of 30 pixels full width at half maximum, on frames 640 wide.
_DHF1K_SIGMA = 12.74 / 640


class Frame(NamedTuple):
  """A frame that is scored, and what a prediction of it is compared with.

  Attributes:
    number: of its record.
    video: the video that it is in.
    record: as it is stored.
    density: float32 [h, w], on the data set's own positive scale.
    fixations: uint8 [h, w], 1 where somebody looked.
  """

  number: int
  video: Video
  record: dict[str, Any]
  density: np.ndarray
  fixations: np.ndarray


# From a frame to a prediction of it, and the frame with the truth that it is scored against.
Bound = Callable[[Frame], tuple[np.ndarray, Frame]]


class MeanEyePosition:
  """The floor, as a bound.

  Attributes:
    map: the mean density of the training split, made at its first use.
  """

  def __init__(self, train: Split) -> None:
    self._train = train

  @functools.cached_property
  def map(self) -> np.ndarray:
    return mean_eye_position(self._train, _MEAN_SIZE).astype(np.float32)

  def __call__(self, frame: Frame) -> tuple[np.ndarray, Frame]:
    return self.map, frame


def of_split(split: Split, mean: MeanEyePosition | None) -> dict[str, Bound]:
  """The bounds that are known for a split, by name.

  Args:
    split: the frames to score.
    mean: where there is a training split to take it of.
  """
  bounds: dict[str, Bound] = {}
  if mean is not None:
    bounds["mean eye position"] = mean
  # A set may have been built from a download without the gaze of each observer.
  if "gaze" in split.features and split.stated("gaze", True):
    bounds["human infinite"] = functools.partial(human_infinite, split)
  if "exact" in split.features:
    bounds["exact density"] = lambda frame: (_exact_density(split, frame.number), frame)
    sigma = _blur_sigma(split, split.videos[0])
    bounds["exact density, blurred"] = lambda frame: (
      _exact_density(split, frame.number, sigma),
      frame,
    )
  return bounds


def mean_eye_position(
  split: Split, size: tuple[int, int], *, frames: int = _MEAN_FRAMES
) -> np.ndarray:
  """Mean density [h, w] of a split's frames, each scaled to a sum of 1.

  Args:
    split: the training split.
    size: height and width of the mean.
    frames: of a larger split, so many frames are taken, evenly spread.
  """
  total = np.zeros(size)
  targets = target_records(split.videos)
  spread = np.linspace(0, len(targets) - 1, min(len(targets), frames)).astype(int)
  records = targets[spread].tolist()
  for record in track(records, "mean eye position", len(records), "frames"):
    density = transforms.decode_density(split[record]["density"], split.where(record))
    density = transforms.resize(density, size)
    total += density / max(density.sum(), 1e-12)
  return total / len(records)


def human_infinite(split: Split, frame: Frame) -> tuple[np.ndarray, Frame]:
  """See `human infinite` above. A lone observer predicts nobody: no metric is defined there."""
  size = frame.video.height, frame.video.width
  gaze = frame.record["gaze"]
  gaze = gaze[transforms.inside(gaze[:, :2], size)]
  observers = np.random.default_rng([SEED, frame.number]).permutation(np.unique(gaze[:, 2]))
  first = np.isin(gaze[:, 2], observers[: (len(observers) + 1) // 2])
  sigma = _blur_sigma(split, frame.video)
  prediction, density = (_blurred(gaze[half, :2], size, sigma) for half in (first, ~first))
  fixations = transforms.fixation_map(gaze[~first, :2], size, size)
  return prediction, frame._replace(density=density, fixations=fixations)


def _blurred(points: np.ndarray, size: tuple[int, int], sigma: float) -> np.ndarray:
  """Each of the points [n, 2] counts as 1 in its pixel, blurred: float32 [h, w]."""
  counts = np.zeros(size, np.float32)
  x, y = np.floor(points).astype(int).T
  np.add.at(counts, (y, x), 1)
  return _gaussian(counts, sigma)


def _exact_density(split: Split, number: int, sigma: float = 0.0) -> np.ndarray:
  density = transforms.decode_density(split[number]["exact"], split.where(number))
  return _gaussian(density, sigma) if sigma else density


def _gaussian(density: np.ndarray, sigma: float) -> np.ndarray:
  return cv2.GaussianBlur(density, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT)


def _blur_sigma(split: Split, video: Video) -> float:
  """Standard deviation of the set's own blur of fixations into densities, in pixels."""
  if "simulation" in split.metadata:
    return split.metadata["simulation"]["blur_sigma"]
  relative = split.metadata.get("blur_sigma", _DHF1K_SIGMA)  # to the frame's width
  if isinstance(relative, dict):  # it differs between the videos
    relative = relative[video.name]
  return relative * video.width


# --- The same for the trainer, on batches of clips at the network's size.

Predictor = Callable[[Batch], np.ndarray]


def predictors(train: Split, validation: Split, size: tuple[int, int]) -> dict[str, Predictor]:
  """The bounds that need no other truth than the batch's; each maps a batch to maps [b, h, w]."""
  mean = mean_eye_position(train, size)
  bounds: dict[str, Predictor] = {
    "mean eye position": lambda batch: np.broadcast_to(mean, batch["density"].shape)
  }
  if "exact" in validation.features:
    sigma = _blur_sigma(validation, validation.videos[0])
    bounds["exact density"] = functools.partial(_exact_densities, validation, size, 0.0)
    bounds["exact density, blurred"] = functools.partial(_exact_densities, validation, size, sigma)
  return bounds


def _exact_densities(split: Split, size: tuple[int, int], sigma: float, batch: Batch) -> np.ndarray:
  maps = np.zeros(batch["density"].shape)
  for row in np.flatnonzero(batch["mask"]):
    number = split.videos[batch["video"][row]].first + int(batch["frame"][row])
    maps[row] = transforms.resize(_exact_density(split, number, sigma), size)
  return maps
