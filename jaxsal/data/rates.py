"""Checks frame rates, which place frames in time and in the sound."""

import math
from fractions import Fraction

from jaxsal.errors import UserError


def check_fps(fps: float | Fraction, where: str) -> float:
  """Returns a frame rate.

  Args:
    fps: frames per second.
    where: name of the video, for the error.

  Raises:
    UserError: the rate is 0, negative, infinite or NaN.
  """
  if not 0 < fps < math.inf:
    raise UserError(f"{where}: {fps} frames per second is no frame rate; it must be above 0.")
  return float(fps)
