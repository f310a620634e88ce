"""Reads fixation maps, which are 0 but for the fixated pixels, and refuses what is none.

A density, a picture with smoothed marks or a white background would give thousands of false
fixations for each frame, and scores that look plausible.
"""

import pathlib
from typing import Any

import numpy as np
import scipy.sparse

from jaxsal.errors import UserError

# Some authors store the number of observers who looked at a pixel in place of one value.
_MOST_OBSERVERS = 50
# Largest share and number of fixated pixels. The observers of a data set look at some dozens of
# pixels at a time, which are few in frames of any size; raw samples of 1000 a second are some
# thousands.
_LARGEST_SHARE = 0.1
_MOST_PIXELS = 4000


def one_channel(image: np.ndarray, path: pathlib.Path) -> np.ndarray:
  """Turns a decoded image [h, w] or [h, w, c] into one number per pixel, 0 for black: [h, w].

  Raises:
    UserError: the image is transparent in places.
  """
  if image.ndim == 2:
    return image
  if image.shape[-1] == 4:
    if np.ptp(image[..., 3]):
      raise UserError(f"{path} is transparent in places. {_RULE}")
    image = image[..., :3]
  first, *others = np.moveaxis(image, -1, 0)
  if all(np.array_equal(first, other) for other in others):
    return first
  number = first.astype(np.int64)
  for other in others:
    number = (number << 16) + other
  return number


def marks(values: np.ndarray, path: pathlib.Path) -> np.ndarray:
  """Returns which pixels of a fixation map [h, w] are fixated: bool [h, w].

  Args:
    values: content of the map, of any numeric type.
    path: file of the map, for the error.

  Raises:
    UserError: the values are not those of a fixation map.
  """
  if values.dtype.kind not in "buif":
    raise UserError(f"{path} holds no numbers. {_RULE}")
  if values.dtype.kind == "f" and not np.isfinite(values).all():
    raise UserError(f"{path} holds NaN or infinite values. {_RULE}")
  marked = values != 0
  share = marked.mean()
  found = np.unique(values[marked])
  counts = found.size < 2 or (
    found[0] > 0 and found[-1] <= _MOST_OBSERVERS and np.all(found == np.rint(found))
  )
  if counts and share <= _LARGEST_SHARE and marked.sum() <= _MOST_PIXELS:
    return marked
  if share > 0.5 and found.size < 3:
    looks = "It looks like marks on a background that is not black"
  elif counts:
    looks = "It looks like a mask, not like points"
  else:
    looks = "It looks like a density, or like marks that were smoothed, resized or stored as JPEG"
  different = "one value" if found.size == 1 else f"{found.size} different values"
  raise UserError(
    f"{path} is no fixation map: {share:.1%} of its pixels are not 0, with {different}. {looks}."
    f" {_RULE}"
  )


def dense(variable: Any) -> np.ndarray:
  """Returns a variable of a MATLAB file as an array, also if it is stored as a sparse matrix."""
  return variable.toarray() if scipy.sparse.issparse(variable) else np.asarray(variable)


def points_of(fixated: np.ndarray) -> np.ndarray:
  """Returns the centres of the pixels of [h, w] that are not 0: float32 [n, 2], (x, y)."""
  y, x = np.nonzero(fixated)
  return np.stack([x, y], axis=1).astype(np.float32) + 0.5


_RULE = "A fixation map is 0 everywhere but at the fixated pixels, which have one value."
