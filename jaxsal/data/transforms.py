"""From encoded records to arrays of the network's size. Pure functions, OpenCV underneath.

JPEG frames, where most of the pipeline's time goes, are read by libjpeg-turbo itself: the same
pixels as OpenCV's in less time, and no grey ones where a file breaks off.
"""

import contextlib

import cv2
import numpy as np
import simplejpeg

from jaxsal.errors import UserError


def decode(encoded: bytes, flags: int) -> np.ndarray | None:
  """What OpenCV's `imdecode` gives, or None for what cannot be decoded whole.

  Args:
    encoded: the file's bytes.
    flags: OpenCV's IMREAD_...
  """
  if flags == cv2.IMREAD_COLOR_RGB and simplejpeg.is_jpeg(encoded):
    try:
      return simplejpeg.decode_jpeg(encoded, "RGB")
    except ValueError:
      return None
  return cv2.imdecode(np.frombuffer(encoded, np.uint8), flags) if encoded else None


def decode_frame(encoded: bytes, where: str) -> np.ndarray:
  """Decodes a JPEG or PNG to uint8 [h, w, 3] in R, G, B.

  Args:
    encoded: the file's bytes.
    where: the record it comes from, for the message.

  Raises:
    UserError: the image cannot be decoded.
  """
  return _check(decode(encoded, cv2.IMREAD_COLOR_RGB), where)


def write_frame(encoded: bytes, where: str, out: np.ndarray) -> None:
  """Decodes as `decode_frame` does, into `out`, uint8 [h, w, 3], and resizes to its size.

  A JPEG of this size is decoded in place: nothing is allocated, and nothing copied.
  """
  # What is too large for `out`, or damaged, is left to decode_frame.
  with contextlib.suppress(ValueError):
    if simplejpeg.is_jpeg(encoded):
      image = simplejpeg.decode_jpeg(encoded, "RGB", buffer=out)
      if image.shape != out.shape:  # smaller: it lies where `out` begins
        out[...] = resize(image.copy(), out.shape[:2])
      return
  out[...] = resize(decode_frame(encoded, where), out.shape[:2])


def decode_density(encoded: bytes, where: str) -> np.ndarray:
  """Decodes a grey PNG of 8 or 16 bits to float32 [h, w], on its own scale; see `decode_frame`."""
  image = decode(encoded, cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH)
  return _check(image, where).astype(np.float32)


def resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """Resizes [h, w] or [h, w, c] to `size`, (height, width), and keeps the type.

  Pixels are averaged over their area when both sides shrink, so that nothing aliases, and bilinear
  otherwise.
  """
  h, w = image.shape[:2]
  if (h, w) == tuple(size):
    return image
  shrinks = size[0] <= h and size[1] <= w
  method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
  return cv2.resize(image, (size[1], size[0]), interpolation=method)


def fixation_map(
  fixations: np.ndarray, frame_size: tuple[int, int], size: tuple[int, int]
) -> np.ndarray:
  """The pixels that were fixated, on a map of another size than the frame.

  Args:
    fixations: [n, 2], (x, y) in pixels of the frame; column i covers [i, i + 1).
    frame_size: height and width of the frame.
    size: height and width of the map.

  Returns:
    uint8 [height, width] of 0 and 1. A pixel that was fixated twice is 1, and points outside the
    frame are dropped.
  """
  points = fixations[inside(fixations, frame_size)].astype(np.float64)
  scale = np.divide(size[::-1], frame_size[::-1])
  x, y = np.floor(points * scale).astype(np.intp).T
  fixated = np.zeros(size, np.uint8)
  fixated[y, x] = 1
  return fixated


def inside(fixations: np.ndarray, frame_size: tuple[int, int]) -> np.ndarray:
  """Which points [n, 2] lie in a frame of this height and width: bool [n]."""
  return ((fixations >= 0) & (fixations < np.float32(frame_size[::-1]))).all(axis=1)


def flip(image: np.ndarray) -> np.ndarray:
  """Mirrors [h, w] or [h, w, c] left to right."""
  return cv2.flip(image, 1)


def _check(image: np.ndarray | None, where: str) -> np.ndarray:
  if image is None:
    raise UserError(
      f"An image cannot be decoded: {where} is damaged. Delete the data set's directory and"
      " prepare it again."
    )
  return image
