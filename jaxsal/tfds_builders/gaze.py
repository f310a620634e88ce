"""Frames and densities of sets that give gaze as points, not as images."""

import numpy as np

from jaxsal.data import transforms
from jaxsal.tfds_builders.annotations import Frame

# DHF1K's standard deviation of a density's Gaussians, as a share of the frame's width: a full width
# at half maximum of 30 pixels in frames 640 pixels wide.
DHF1K_SIGMA = 12.74 / 640


def annotate(image: np.ndarray, gaze: np.ndarray, sigma: float) -> Frame:
  """Adds gaze to a frame, as fixations and as a density.

  Args:
    image: the frame, RGB uint8 [h, w, 3].
    gaze: [n, 3], x and y in pixels, and the observer's number. Points outside the frame are lost.
    sigma: standard deviation of the density's Gaussians, in pixels.
  """
  size = image.shape[0], image.shape[1]
  gaze = gaze.astype(np.float32)
  gaze = gaze[transforms.inside(gaze[:, :2], size)]
  return Frame(image, None, density(gaze, size, sigma), None, gaze[:, :2], gaze)


def exchanged(points: np.ndarray, size: tuple[int, int]) -> bool:
  """Returns whether points look like (y, x): clearly more lie in the frame if they are read so.

  Args:
    points: [n, 2], (x, y) in pixels.
    size: height and width of the frame.
  """
  as_given, turned = (transforms.inside(p, size).sum() for p in (points, points[:, ::-1]))
  return bool(turned - as_given > len(points) / 10)


def density(points: np.ndarray, size: tuple[int, int], sigma: float) -> np.ndarray:
  """Sums a Gaussian at each of the points.

  A Gaussian is the product of a column and a row, so the sum is the product of two matrices. In
  frames of a million pixels that is much faster than to blur them.

  Args:
    points: [n, >= 2], x and y in pixels.
    size: height and width of the density.
    sigma: standard deviation of the Gaussians, in pixels.

  Returns:
    float32 [h, w].
  """
  height, width = size
  rows, columns = (
    np.exp(-0.5 * ((np.arange(n) + 0.5 - place[:, None]) / sigma) ** 2).astype(np.float32)
    for n, place in ((height, points[:, 1]), (width, points[:, 0]))
  )
  return rows.T @ columns
