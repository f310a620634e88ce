"""Reads image files through Pillow."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from jaxsal.errors import UserError


def read(path: str | Path) -> np.ndarray:
  """Reads an image as it is shown: turned as its EXIF data say, in RGB, uint8 [h, w, 3].

  Raises:
    UserError: the file is missing or damaged, or is no image.
  """
  with _opened(Path(path)) as image:
    if _orientation(image) > 1:
      image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # Pillow would clip 16 bits to 8.
      image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return np.asarray(image.convert("RGB"))


def size(path: str | Path) -> tuple[int, int]:
  """Returns height and width of an image as it is shown; decodes the header of the file only.

  Raises:
    UserError: the file is missing or damaged, or is no image.
  """
  with _opened(Path(path)) as image:
    width, height = image.size
    # The orientations from 5 on are turned by 90 degrees.
    return (width, height) if _orientation(image) >= 5 else (height, width)


def _orientation(image: Image.Image) -> int:
  """Returns the EXIF orientation of an image whose pixels were not decoded yet, 1 to 8."""
  if image.format == "PNG" and "exif" not in image.info:
    return 1  # Pillow would decode the pixels to look for EXIF data after them.
  return image.getexif().get(ExifTags.Base.Orientation, 1)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
  """Opens an image; errors in the block become those of the user."""
  if not path.exists():
    raise UserError(f"{path}: no such file. Check the path of the image.")
  try:
    with Image.open(path) as image:
      yield image
  except UnidentifiedImageError as error:
    raise UserError(f"{path}: not an image. Use a JPEG, PNG, WebP, BMP or TIFF file.") from error
  # Pillow raises a SyntaxError for a broken PNG.
  except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
    raise UserError(
      f"{path}: the image cannot be read ({error}). Copy, download or write the file again."
    ) from error
