"""Computes the optical flow between frames, and its image, which GFSalNet's temporal stream takes.

The motion of a frame is the motion that led to it: from the previous frame to this one, at the
pixels of this one. It needs no future frame. The first frame of a video has no previous frame; its
motion is the motion towards the second frame. The only frame of a video has no motion.

There is no motion across a cut, although a method always finds some. If the neighbour, warped by
the flow onto the frame, leaves more than `MAX_UNEXPLAINED` of the frame's variance, the flow counts
as zero. Within the shots of three films that share was at most 0.3, and between unrelated frames at
least 0.77.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import cv2
import numpy as np

from jaxsal.errors import UserError

# The Middlebury colour wheel (Baker et al., A Database and Evaluation Methodology for Optical Flow,
# IJCV 2011): the places of its corners among its 55 colours, and the corners' R, G and B.
_CORNERS = np.cumsum([0, 15, 6, 4, 11, 13, 6])
_WHEEL = np.array(
  [
    [255, 255, 0, 0, 0, 255, 255],
    [0, 255, 255, 255, 0, 0, 0],
    [0, 0, 0, 255, 255, 255, 0],
  ]
)
# OpenCV's DIS may crash the process if a side is shorter (OpenCV 5.0: 8 x 100, 12 x 100).
MIN_SIZE = 16
# The share of a frame's variance that its warped neighbour may leave unless there is a cut.
MAX_UNEXPLAINED = 0.5

# A function from two frames, RGB uint8 [h, w, 3], to the flow, float32 [h, w, 2] in pixels, x then
# y: a point at p in the first frame is at p + flow in the second.
Flow = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Estimator(NamedTuple):
  """A method that computes flow.

  Attributes:
    method: name of the method: `dis`, or `pwcnet` and the SHA-256 of its weights.
    flow: function from two frames to their flow.
  """

  method: str
  flow: Flow


class Neighbours(NamedTuple):
  """A frame and the neighbour with which its motion is computed.

  Attributes:
    frame: the frame, RGB uint8 [h, w, 3].
    other: the neighbour, RGB uint8 [h, w, 3].
    step: number of frames from the frame to the neighbour; see `neighbour`.
  """

  frame: np.ndarray
  other: np.ndarray
  step: int


def dis_flow(first: np.ndarray, second: np.ndarray) -> np.ndarray:
  """Computes flow by dense inverse search (Kroeger et al., ECCV 2016), OpenCV's medium preset.

  Args:
    first, second: the frames, RGB uint8 [h, w, 3].

  Returns:
    float32 [h, w, 2] in pixels, x then y: a point at p in the first frame is at p + flow in the
    second.

  Raises:
    UserError: the frames differ in size or are too small.
  """
  if first.shape != second.shape:
    raise UserError(f"Frames have shapes {first.shape} and {second.shape}: flow needs one size.")
  if min(first.shape[:2]) < MIN_SIZE:
    raise UserError(
      f"Frames are {first.shape[0]} x {first.shape[1]}: flow needs {MIN_SIZE} pixels a side. Resize"
      " the frames."
    )
  # OpenCV's type stubs lack this function.
  create = cv2.DISOpticalFlow_create  # pyright: ignore[reportAttributeAccessIssue]
  method = create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
  return method.calc(*(cv2.cvtColor(x, cv2.COLOR_RGB2GRAY) for x in (first, second)), None)


def neighbour(index: int, frames: int) -> int:
  """Returns the number of frames from frame `index` to the neighbour for its motion.

  It is -1, for the previous frame; 1 for the first frame of a video, and 0 for its only frame.
  """
  return -1 if index else min(frames - 1, 1)


def with_neighbours(frames: Iterable[np.ndarray]) -> Iterator[Neighbours]:
  """Yields every frame of a video with its neighbour; keeps two frames in memory."""
  frames = iter(frames)
  start = list(itertools.islice(frames, 2))
  if start:
    yield Neighbours(start[0], start[-1], len(start) - 1)
  for before, frame in itertools.pairwise(itertools.chain(start, frames)):
    yield Neighbours(frame, before, -1)


def motion_image(pair: Neighbours, flow: Flow = dis_flow) -> np.ndarray:
  """Returns the image of a frame's motion: RGB uint8 [h, w, 3], white where nothing moves."""
  found = flow(pair.frame, pair.other)
  return flow_image(found * np.float32(0 if _is_cut(pair, found) else pair.step))


def _is_cut(pair: Neighbours, flow: np.ndarray) -> bool:
  """Returns whether there is a cut between a frame and its neighbour."""
  frame, other = (cv2.cvtColor(x, cv2.COLOR_RGB2GRAY).astype(np.float32) for x in pair[:2])
  h, w = frame.shape
  columns, rows = np.meshgrid(np.arange(w, dtype=np.float32), np.arange(h, dtype=np.float32))
  x, y = np.moveaxis(flow, -1, 0)
  warped = cv2.remap(
    other, columns + x, rows + y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
  )
  return bool((warped - frame).var() > MAX_UNEXPLAINED * frame.var())


def flow_image(flow: np.ndarray) -> np.ndarray:
  """Draws flow as an image: direction is hue, speed is saturation, and white is no motion.

  Saturation is relative to the speed of the fastest pixel, as in the Middlebury code, but to a
  speed of at least 1, so that the noise of a still video remains white.

  Args:
    flow: [h, w, 2] in pixels, x then y.

  Returns:
    RGB uint8 [h, w, 3].
  """
  x, y = np.moveaxis(np.asarray(flow, np.float32), -1, 0)
  speed = np.hypot(x, y)
  speed /= max(speed.max(), 1.0)
  place = (np.arctan2(-y, -x) / np.pi + 1) / 2 * (_CORNERS[-1] - 1)
  hue = np.stack([np.interp(place, _CORNERS, channel) for channel in _WHEEL], axis=-1)
  return (255 - speed[..., None] * (255 - hue)).astype(np.uint8)


def image_flow(image: np.ndarray) -> np.ndarray:
  """Inverts `flow_image`, to the precision of 8 bits.

  The wheel has the colours of HSV at full value, but other distances between its corners.

  Returns:
    float32 [h, w, 2], relative to the speed of the fastest pixel.
  """
  hue, speed, _ = cv2.split(cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2HSV))
  place = np.minimum(np.interp(hue, np.arange(0, 361, 60), _CORNERS), _CORNERS[-1] - 1)
  angle = (2 * place / (_CORNERS[-1] - 1) - 1) * np.pi
  return np.stack([-speed * np.cos(angle), -speed * np.sin(angle)], axis=-1).astype(np.float32)


def mirror(image: np.ndarray) -> np.ndarray:
  """Returns the image of the flow between frames that are mirrored left to right.

  The x component of the flow then has the opposite sign.
  """
  return flow_image(cv2.flip(image_flow(image), 1) * np.array([-1, 1], np.float32))
