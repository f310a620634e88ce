"""Optical flow between frames, and its image: what GFSalNet's temporal stream sees.

Without JAX, so that data workers can use it; `jaxsal.models.pwcnet` is the other source of flow.
"""

import cv2
import numpy as np

from jaxsal.errors import UserError

# The Middlebury colour wheel (Baker et al., A Database and Evaluation Methodology for Optical Flow,
# IJCV 2011): corners, their places among its 55 colours, R, G and B.
_CORNERS = np.cumsum([0, 15, 6, 4, 11, 13, 6])
_WHEEL = np.array(
  [
    [255, 255, 0, 0, 0, 255, 255],
    [0, 255, 255, 255, 0, 0, 0],
    [0, 0, 0, 255, 255, 255, 0],
  ]
)
# With a shorter side OpenCV's DIS may crash the process (OpenCV 5.0: 8 x 100, 12 x 100).
MIN_SIZE = 16


def dis_flow(first: np.ndarray, second: np.ndarray) -> np.ndarray:
  """Flow by dense inverse search (Kroeger et al., ECCV 2016), OpenCV's at medium quality.

  Args:
    first, second: uint8 [h, w, 3], R, G, B.

  Returns:
    float32 [h, w, 2] in pixels, x then y: what is at p in the first is at p + flow in the second.

  Raises:
    UserError: if the frames differ in size, or are too small.
  """
  if first.shape != second.shape:
    raise UserError(f"frames have shapes {first.shape} and {second.shape}: flow needs one size")
  if min(first.shape[:2]) < MIN_SIZE:
    raise UserError(
      f"frames are {first.shape[0]} x {first.shape[1]}: flow needs {MIN_SIZE} pixels a side, "
      "resize them"
    )
  method = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
  return method.calc(*(cv2.cvtColor(x, cv2.COLOR_RGB2GRAY) for x in (first, second)), None)


def flow_image(flow: np.ndarray) -> np.ndarray:
  """Flow as an image: direction is the hue, speed the saturation, white stands still.

  Saturation is relative to the fastest pixel, as in the Middlebury code; but to one pixel at least,
  so that the noise of a still video stays white.

  Args:
    flow: [h, w, 2] in pixels, x then y.

  Returns:
    uint8 [h, w, 3], R, G, B.
  """
  x, y = np.moveaxis(np.asarray(flow, np.float32), -1, 0)
  speed = np.hypot(x, y)
  speed /= max(speed.max(), 1.0)
  place = (np.arctan2(-y, -x) / np.pi + 1) / 2 * (_CORNERS[-1] - 1)
  hue = np.stack([np.interp(place, _CORNERS, channel) for channel in _WHEEL], axis=-1)
  return (255 - speed[..., None] * (255 - hue)).astype(np.uint8)
