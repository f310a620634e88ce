"""Decodes and resizes images: pure functions, made with OpenCV and Pillow.

JPEG frames, which take most of the pipeline's time, are decoded by libjpeg-turbo directly. It gives
the same pixels as OpenCV in less time, and refuses files that break off, where OpenCV fills in grey
pixels.
"""

import contextlib
from typing import Literal

import cv2
import numpy as np
import simplejpeg
from PIL import Image

from jaxsal.errors import UserError

Resampling = Literal["area", "lanczos"]


def decode(encoded: bytes, flags: int) -> np.ndarray | None:
  """Decodes an image as OpenCV's `imdecode` does; returns None if it is damaged.

  Args:
    encoded: bytes of the image's file.
    flags: OpenCV's IMREAD_... flags.
  """
  if flags == cv2.IMREAD_COLOR_RGB and simplejpeg.is_jpeg(encoded):
    try:
      return simplejpeg.decode_jpeg(encoded, "RGB")
    except ValueError:
      return None
  return cv2.imdecode(np.frombuffer(encoded, np.uint8), flags) if encoded else None


def decode_frame(encoded: bytes, where: str) -> np.ndarray:
  """Decodes a JPEG or PNG to RGB uint8 [h, w, 3].

  Args:
    encoded: bytes of the image's file.
    where: name of the record, for the error.

  Raises:
    UserError: the image cannot be decoded.
  """
  return _check(decode(encoded, cv2.IMREAD_COLOR_RGB), where)


def write_frame(encoded: bytes, where: str, out: np.ndarray) -> None:
  """Decodes a JPEG or PNG into `out`, RGB uint8 [h, w, 3], and resizes it to the size of `out`.

  A JPEG of this size is decoded in place, without allocation or copy.

  Args:
    encoded: bytes of the image's file.
    where: name of the record, for the error.
    out: the array that receives the frame.

  Raises:
    UserError: the image cannot be decoded.
  """
  # Images that are damaged or too large for `out` are left to decode_frame.
  with contextlib.suppress(ValueError):
    if simplejpeg.is_jpeg(encoded):
      image = simplejpeg.decode_jpeg(encoded, "RGB", buffer=out)
      if image.shape != out.shape:  # A smaller image is decoded into the first bytes of `out`.
        out[...] = resize(image.copy(), out.shape[:2])
      return
  out[...] = resize(decode_frame(encoded, where), out.shape[:2])


def decode_density(encoded: bytes, where: str) -> np.ndarray:
  """Decodes a grey PNG of 8 or 16 bits to float32 [h, w], on its own scale.

  Args:
    encoded: bytes of the image's file.
    where: name of the record, for the error.

  Raises:
    UserError: the image cannot be decoded.
  """
  image = decode(encoded, cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH)
  return _check(image, where).astype(np.float32)


def resize(image: np.ndarray, size: tuple[int, int], resampling: Resampling = "area") -> np.ndarray:
  """Resizes [h, w] or [h, w, c] to `size` (height, width); keeps the type.

  Args:
    image: the image; for "lanczos" uint8, grey or RGB.
    size: height and width of the result.
    resampling: "area" averages pixels over their area if both sides shrink, which prevents
      aliasing, and interpolates bilinearly otherwise. "lanczos" is Pillow's filter of that name,
      which several authors resize with; it takes three to five times as long.
  """
  h, w = image.shape[:2]
  if (h, w) == tuple(size):
    return image
  if resampling == "lanczos":
    resized = Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.LANCZOS)
    return np.asarray(resized)
  shrinks = size[0] <= h and size[1] <= w
  method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
  return cv2.resize(image, (size[1], size[0]), interpolation=method)


def fixation_map(
  fixations: np.ndarray, frame_size: tuple[int, int], size: tuple[int, int]
) -> np.ndarray:
  """Marks fixated pixels in an array that may differ in size from the frame.

  Args:
    fixations: [n, 2], (x, y) in pixels of the frame; column i covers [i, i + 1).
    frame_size: height and width of the frame.
    size: height and width of the array.

  Returns:
    uint8 [height, width], 1 where a pixel was fixated at least once and 0 elsewhere. Points outside
    the frame are dropped.
  """
  points = fixations[inside(fixations, frame_size)].astype(np.float64)
  scale = np.divide(size[::-1], frame_size[::-1])
  x, y = np.floor(points * scale).astype(np.intp).T
  fixated = np.zeros(size, np.uint8)
  fixated[y, x] = 1
  return fixated


def inside(fixations: np.ndarray, frame_size: tuple[int, int]) -> np.ndarray:
  """Returns which points [n, 2] lie in a frame of this height and width: bool [n]."""
  end = np.array(frame_size[::-1], np.float32)
  return np.all((fixations >= 0) & (fixations < end), axis=1)


def flip(image: np.ndarray) -> np.ndarray:
  """Mirrors [h, w] or [h, w, c] left to right."""
  return cv2.flip(image, 1)


def _check(image: np.ndarray | None, where: str) -> np.ndarray:
  if image is None:
    raise UserError(
      f"An image cannot be decoded: {where} is damaged. Delete the data set's directory and"
      " prepare the set again."
    )
  return image
