"""Pseudo-models between which the scores of a model can move: floor and ceiling."""

import functools
from collections.abc import Callable

import cv2
import numpy as np

from jaxsal.data import transforms
from jaxsal.data.pipeline import Batch
from jaxsal.data.sources import Split

Predictor = Callable[[Batch], np.ndarray]


def predictors(train: Split, validation: Split, size: tuple[int, int]) -> dict[str, Predictor]:
  """The bounds that are known for a data set, by name; each maps a batch to maps [b, h, w].

  - `mean eye position`, the floor: the mean density of the training split, which sees no image and
    shows how far centre bias alone goes.
  - `exact density`, the ceiling, where gaze was simulated: what the observers were drawn from. It
    owes nothing to the observers that it is scored against: all of them are held out.
  - `exact density, blurred` as the ground truth's densities are: the ceiling of the metrics that
    compare with those.
  """
  mean = mean_eye_position(train, size)
  bounds = {"mean eye position": lambda batch: np.broadcast_to(mean, batch["density"].shape)}
  if "exact" in validation[0]:
    sigma = validation.metadata["simulation"]["blur_sigma"]
    bounds["exact density"] = functools.partial(_exact_density, validation, size, 0.0)
    bounds["exact density, blurred"] = functools.partial(_exact_density, validation, size, sigma)
  return bounds


def mean_eye_position(split: Split, size: tuple[int, int]) -> np.ndarray:
  """Mean density [h, w] of a split's frames, each scaled to a sum of 1."""
  total = np.zeros(size)
  for record in range(len(split)):
    density = transforms.decode_density(split[record]["density"], split.where(record))
    density = transforms.resize(density, size)
    total += density / max(density.sum(), 1e-12)
  return total / len(split)


def _exact_density(split: Split, size: tuple[int, int], sigma: float, batch: Batch) -> np.ndarray:
  maps = np.zeros(batch["density"].shape)
  for row in np.flatnonzero(batch["mask"]):
    record = split.videos[batch["video"][row]].first + int(batch["frame"][row])
    density = transforms.decode_density(split[record]["exact"], split.where(record))
    if sigma:
      density = cv2.GaussianBlur(density, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT)
    maps[row] = transforms.resize(density, size)
  return maps
