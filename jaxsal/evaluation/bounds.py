"""Bounds: pseudo-models whose scores are the floor and the ceiling for the scores of models.

- `mean eye position` is the floor: the mean density of the training split. It sees no image, and
  shows how far centre bias alone goes.
- `human infinite` is a ceiling for data sets with the gaze of each observer: one half of the
  observers predicts the other half. For each frame, the observers who looked at it are divided at
  random; if their number is odd, the first half gets one more. The density of the first half's gaze
  is the prediction, and it is scored against the gaze and the density of the second half. Both
  densities are blurred like those of the data set. Half of the observers are a noisier prediction,
  and a noisier truth, than all of them, so a good model, which is scored against all, can pass this
  bound.
- `exact density` is the ceiling for simulated gaze: the density that the gaze was drawn from. It
  does not depend on the observers that it is scored against: all of them are held out.
- `exact density, blurred` is the exact density blurred like the ground truth's densities: the
  ceiling of the metrics that compare with those.
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

# Number of frames that the mean eye position is computed from, and its height and width if no
# network gives a size. The map is smooth and needs no more of either.
_MEAN_FRAMES = 20_000
_MEAN_SIZE = 180, 320
# DHF1K's densities are Gaussians of 30 pixels full width at half maximum, on frames 640 wide.
_DHF1K_SIGMA = 12.74 / 640


class Frame(NamedTuple):
  """A frame that is scored, and the truth that a prediction is compared with.

  Attributes:
    number: number of the frame's record.
    video: video of the frame.
    record: content of the record.
    density: float32 [h, w], on the data set's own positive scale.
    fixations: uint8 [h, w], 1 where somebody looked.
  """

  number: int
  video: Video
  record: dict[str, Any]
  density: np.ndarray
  fixations: np.ndarray


Bound = Callable[[Frame], tuple[np.ndarray, Frame]]
"""A function of a frame that returns a prediction, and the frame with the truth for its score."""


class MeanEyePosition:
  """The mean eye position as a bound.

  Attributes:
    map: mean density of the training split [h, w], computed at its first use.
  """

  def __init__(self, train: Split) -> None:
    """Keeps the training split; nothing is read yet."""
    self._train = train

  @functools.cached_property
  def map(self) -> np.ndarray:
    return mean_eye_position(self._train, _MEAN_SIZE).astype(np.float32)

  def __call__(self, frame: Frame) -> tuple[np.ndarray, Frame]:
    """Predicts the mean density for any frame."""
    return self.map, frame


def of_split(split: Split, mean: MeanEyePosition | None) -> dict[str, Bound]:
  """Returns the bounds that are known for a split, by name.

  Args:
    split: the split that is scored.
    mean: the mean eye position, or None if there is no training split.
  """
  bounds: dict[str, Bound] = {}
  if mean is not None:
    bounds["mean eye position"] = mean
  # The download that a data set was built from may have lacked the gaze of each observer.
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
  """Computes the mean density [h, w] of a split's frames, each scaled to a sum of 1.

  Args:
    split: the training split.
    size: height and width of the result.
    frames: number of evenly spread frames that are used if the split has more.
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
  """Predicts one half of a frame's observers from the other half.

  A single observer predicts nobody, and no metric is defined for such a frame.

  Returns:
    The prediction, and the frame with the second half's fixations and density.
  """
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
  """Counts the points [n, 2] in each pixel, and blurs the counts: float32 [h, w]."""
  counts = np.zeros(size, np.float32)
  x, y = np.floor(points).astype(int).T
  np.add.at(counts, (y, x), 1)
  return _gaussian(counts, sigma)


def _exact_density(split: Split, number: int, sigma: float = 0.0) -> np.ndarray:
  """Reads the exact density of a record, blurred if `sigma` is not 0."""
  density = transforms.decode_density(split[number]["exact"], split.where(number))
  return _gaussian(density, sigma) if sigma else density


def _gaussian(density: np.ndarray, sigma: float) -> np.ndarray:
  return cv2.GaussianBlur(density, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT)


def _blur_sigma(split: Split, video: Video) -> float:
  """Returns the standard deviation of the data set's own blur of densities, in pixels."""
  if "simulation" in split.metadata:
    return split.metadata["simulation"]["blur_sigma"]
  relative = split.metadata.get("blur_sigma", _DHF1K_SIGMA)  # as a share of the frame's width
  if isinstance(relative, dict):  # the blur differs between videos
    relative = relative[video.name]
  return relative * video.width


# --- Bounds for the trainer, on batches of clips at the network's size.

BatchPredictor = Callable[[Batch], np.ndarray]
"""A function from a batch to maps [b, h, w]."""


def predictors(train: Split, validation: Split, size: tuple[int, int]) -> dict[str, BatchPredictor]:
  """Returns the bounds that are scored against a batch's own truth.

  Args:
    train: training split.
    validation: split that is scored.
    size: height and width of the maps.

  Returns:
    Functions from a batch to maps [b, h, w], by name.
  """
  mean = mean_eye_position(train, size)
  bounds: dict[str, BatchPredictor] = {
    "mean eye position": lambda batch: np.broadcast_to(mean, batch["density"].shape)
  }
  if "exact" in validation.features:
    sigma = _blur_sigma(validation, validation.videos[0])
    bounds["exact density"] = functools.partial(_exact_densities, validation, size, 0.0)
    bounds["exact density, blurred"] = functools.partial(_exact_densities, validation, size, sigma)
  return bounds


def _exact_densities(split: Split, size: tuple[int, int], sigma: float, batch: Batch) -> np.ndarray:
  """Reads the exact densities of a batch's target frames: [b, *size], zeros where the mask is 0."""
  maps = np.zeros(batch["density"].shape)
  for row in np.flatnonzero(batch["mask"]):
    number = split.videos[batch["video"][row]].first + int(batch["frame"][row])
    maps[row] = transforms.resize(_exact_density(split, number, sigma), size)
  return maps
