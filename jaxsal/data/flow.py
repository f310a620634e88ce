"""Optical flow between frames, and its image: what GFSalNet's temporal stream sees.

Every frame gets the motion that led to it: from where it was in the frame before, to where it is in
this one, at the pixels of this one. That needs no frame of the future. A video's first frame, which
has none before it, gets the motion towards the second; the only frame of a video stands still.

Across a cut there is no motion, whatever a method finds. If one of the two frames, warped by the
flow onto the other, leaves more than `MAX_UNEXPLAINED` of its variance, the flow counts as zero.
Within the shots of three films this was 0.3 at most, between unrelated frames 0.77 at least.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

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
# Share of a frame's variance that its neighbour, warped, may leave: beyond it there is a cut.
MAX_UNEXPLAINED = 0.5

# From two frames, uint8 [h, w, 3], R, G, B, to the flow, float32 [h, w, 2] in pixels, x then y:
# what is at p in the first is at p + flow in the second.
Flow = Callable[[np.ndarray, np.ndarray], np.ndarray]


class Estimator(NamedTuple):
  """A way to compute flow.

  Attributes:
    method: `dis`, or `pwcnet` and the SHA-256 of its weights.
    flow: from two frames to their flow.
  """

  method: str
  flow: Flow


class Neighbours(NamedTuple):
  """A frame and the one that its motion is computed with.

  Attributes:
    frame: uint8 [h, w, 3].
    other: uint8 [h, w, 3].
    step: how many frames later `other` is; see `neighbour`.
  """

  frame: np.ndarray
  other: np.ndarray
  step: int


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


def neighbour(index: int, frames: int) -> int:
  """How many frames after frame `index` the one is that its motion is computed with.

  -1, the frame before; 1 for the first frame of the video, and 0 for its only one.
  """
  return -1 if index else min(frames - 1, 1)


def with_neighbours(frames: Iterable[np.ndarray]) -> Iterator[Neighbours]:
  """Every frame of a video with its neighbour, by the rule of `neighbour`; holds two of them."""
  frames = iter(frames)
  start = list(itertools.islice(frames, 2))
  if start:
    yield Neighbours(start[0], start[-1], len(start) - 1)
  for before, frame in itertools.pairwise(itertools.chain(start, frames)):
    yield Neighbours(frame, before, -1)


def motion_image(pair: Neighbours, flow: Flow = dis_flow) -> np.ndarray:
  """The image of a frame's motion: uint8 [h, w, 3], R, G, B. White where nothing moves."""
  found = flow(pair.frame, pair.other)
  return flow_image(found * np.float32(0 if _is_cut(pair, found) else pair.step))


def _is_cut(pair: Neighbours, flow: np.ndarray) -> bool:
  frame, other = (cv2.cvtColor(x, cv2.COLOR_RGB2GRAY).astype(np.float32) for x in pair[:2])
  h, w = frame.shape
  columns, rows = np.meshgrid(np.arange(w, dtype=np.float32), np.arange(h, dtype=np.float32))
  x, y = np.moveaxis(flow, -1, 0)
  warped = cv2.remap(
    other, columns + x, rows + y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
  )
  return bool((warped - frame).var() > MAX_UNEXPLAINED * frame.var())


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


def image_flow(image: np.ndarray) -> np.ndarray:
  """What `flow_image` showed, as far as 8 bits tell: float32 [h, w, 2], the fastest pixel at 1.

  The wheel's colours are those of HSV at full value, with other distances between the corners.
  """
  hue, speed, _ = cv2.split(cv2.cvtColor(np.float32(image) / 255, cv2.COLOR_RGB2HSV))
  place = np.minimum(np.interp(hue, np.arange(0, 361, 60), _CORNERS), _CORNERS[-1] - 1)
  angle = (2 * place / (_CORNERS[-1] - 1) - 1) * np.pi
  return np.stack([-speed * np.cos(angle), -speed * np.sin(angle)], axis=-1).astype(np.float32)


def mirror(image: np.ndarray) -> np.ndarray:
  """The image of the flow between the frames mirrored left to right: its x has the other sign."""
  return flow_image(cv2.flip(image_flow(image), 1) * np.float32([-1, 1]))
