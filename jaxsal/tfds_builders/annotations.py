"""Reads a downloaded video with its densities and fixations, frame by frame.

DHF1K, Hollywood-2 and UCF-Sports have one layout: a folder of frames or a video file, `maps/*.png`
(densities), `fixation/*.png` (binary) and `fixation/maps/*.mat` (the same fixations, variable `I`).
The PNG files are lossless and smaller; the MATLAB files are read only if there are no PNG files.
"""

import dataclasses
import math
import pathlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import cv2
import numpy as np
import scipy.io

from jaxsal.data import naming, transforms, video
from jaxsal.data.naming import files
from jaxsal.errors import UserError
from jaxsal.tfds_builders import fixation_maps, text

IMAGES = (".png", ".jpg", ".jpeg")
_JPEG = (".jpg", ".jpeg")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recording:
  """A video in the downloaded folder.

  Attributes:
    name: the data set's name of the video.
    frames: number of frames.
    images: folder of frames, or video file.
    maps: folder of the densities; None if they are not public.
    fixations: folder or file of the fixations; None if they are not public.
    fps: frames per second.
    gaze: files with the gaze of single observers, in the data set's own format (for DHF1K see
      `read_gaze`); empty if there are none.
    sound: file with the sound track; None if there is none.
  """

  name: str
  frames: int
  images: pathlib.Path
  maps: pathlib.Path | None
  fixations: pathlib.Path | None
  fps: float
  gaze: tuple[pathlib.Path, ...] = ()
  sound: pathlib.Path | None = None


class Frame(NamedTuple):
  """A frame with its annotation.

  Attributes:
    image: RGB uint8 [h, w, 3].
    jpeg: bytes of the frame's file; None if that is not a JPEG.
    density: float32 [h, w], on any positive scale.
    density_png: bytes of the density's file; None if that is not a PNG.
    fixations: float32 [n, 2], (x, y) in pixels.
    gaze: float32 [n, 3], (x, y, observer); empty if it is not known.
    time: seconds from the start of the video's file at which the frame is shown; None if only the
      frame rate is known.
  """

  image: np.ndarray
  jpeg: bytes | None
  density: np.ndarray
  density_png: bytes | None
  fixations: np.ndarray
  gaze: np.ndarray
  time: float | None = None


def find(
  name: str,
  folder: pathlib.Path,
  images: pathlib.Path,
  fps: float,
  problems: list[str],
  gaze: tuple[pathlib.Path, ...] = (),
) -> Recording | None:
  """Finds an annotated video; returns None if a part of it is missing.

  Args:
    name: name of the video.
    folder: folder of the annotation, with `maps` and `fixation` in it.
    images: folder of the frames, or video file.
    fps: frames per second.
    problems: receives a line if a part is missing.
    gaze: files with the gaze of single observers.
  """
  maps, fixations = folder / "maps", folder / "fixation"
  for path in (images, maps, fixations):
    if not path.exists():
      problems.append(f"{name}: {path} is missing")
      return None
  if not files(fixations, ".png"):
    fixations = fixations / "maps"
  found = {maps: files(maps, *IMAGES), fixations: files(fixations, ".png", ".mat")}
  if images.is_dir():
    found[images] = files(images, *IMAGES)
  unpaired = naming.unpaired(found) if all(found.values()) else ""
  if unpaired or not all(found.values()):
    counts = ", ".join(f"{len(paths)} files in {path}" for path, paths in found.items())
    problems.append("; ".join(filter(None, (f"{name}: {counts}", unpaired))))
    return None
  return Recording(
    name=name,
    frames=len(found[maps]),
    images=images,
    maps=maps,
    fixations=fixations,
    fps=fps,
    gaze=gaze,
  )


def find_all(folder: pathlib.Path, fps: float, problems: list[str]) -> list[Recording]:
  """Finds the annotated videos in the sub-folders of `folder`, each with its `images`."""
  if not folder.is_dir():
    problems.append(f"{folder} is missing")
    return []
  found = (
    find(path.name, path, path / "images", fps, problems)
    for path in naming.in_order(folder.iterdir())
    if path.is_dir()
  )
  return [recording for recording in found if recording is not None]


def read(recording: Recording) -> Iterator[Frame]:
  """Yields the frames of a video, decoded and checked.

  Raises:
    UserError: a file cannot be read or does not fit the others.
  """
  if recording.images.is_dir():
    images = _read_folder(recording.images)
  else:
    images = ((image, None, None) for image in video.read_frames(recording.images))
  maps = points = None
  if recording.maps and recording.fixations:
    maps = files(recording.maps, *IMAGES)
    points = files(recording.fixations, ".png", ".mat")
  gaze = read_gaze(recording.gaze, recording.frames, recording.fps)
  count, size = 0, None
  for image, jpeg, path in images:
    size = size or image.shape[:2]
    check_size(image[..., 0], size, path or recording.images, "the video's first frame")
    if count < recording.frames:
      density, png, fixations = np.zeros(size, np.float32), None, np.zeros((0, 2), np.float32)
      if maps and points:
        density, png, fixations = _read_annotation(size, maps[count], points[count])
      yield Frame(image, jpeg, density, png, fixations, _on_frame(gaze[count], size))
    count += 1
  if count != recording.frames:
    raise UserError(
      f"{recording.images} has {count} frames, {recording.maps or 'its header'} says"
      f" {recording.frames}."
    )


def resize(image: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
  """Resizes an image to (height, width); None keeps its size."""
  return image if size is None else transforms.resize(image, size)


def size_of(encoded: bytes) -> tuple[int, int]:
  """Returns height and width of an encoded image."""
  image = transforms.decode(encoded, cv2.IMREAD_UNCHANGED)
  if image is None:
    raise ValueError("The bytes are no image that OpenCV can decode.")
  return image.shape[0], image.shape[1]


def _read_folder(
  folder: pathlib.Path,
) -> Iterator[tuple[np.ndarray, bytes | None, pathlib.Path]]:
  for path in files(folder, *IMAGES):
    data = path.read_bytes()
    image = decode(data, cv2.IMREAD_COLOR_RGB, path)
    yield image, data if path.suffix.lower() in _JPEG else None, path


def _read_annotation(
  size: tuple[int, int], map_path: pathlib.Path, fixation_path: pathlib.Path
) -> tuple[np.ndarray, bytes | None, np.ndarray]:
  """Reads the density of a frame, its bytes if it is a PNG, and the fixations.

  Args:
    size: height and width of the frame.
    map_path: file of the density.
    fixation_path: file of the fixations.
  """
  density, png = read_density(map_path, size)
  return density, png, _read_fixations(fixation_path, size)


def _on_frame(gaze: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """Moves gaze [n, 3] from a frame of 640 x 360 pixels to one of `size`; drops points outside."""
  gaze = gaze * np.asarray([size[1] / 640, size[0] / 360, 1], np.float32)
  return gaze[transforms.inside(gaze[:, :2], size)]


def read_density(path: pathlib.Path, size: tuple[int, int]) -> tuple[np.ndarray, bytes | None]:
  """Reads the density of a frame of this size.

  Returns:
    float32 [h, w], and the file's bytes if it is a PNG.
  """
  data = path.read_bytes()
  density = decode(data, cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH, path)
  check_size(density, size, path)
  return density.astype(np.float32), data if path.suffix.lower() == ".png" else None


def _read_fixations(path: pathlib.Path, size: tuple[int, int]) -> np.ndarray:
  """Reads the fixations of a frame of this size: float32 [n, 2], (x, y) in pixels."""
  if path.suffix.lower() == ".mat":
    return read_fixation_mat(path, "I", size, "its frame")
  # As stored: OpenCV's conversion to 8-bit grey loses the value 1 in an image of 16 bits, and dark
  # colours of a palette.
  image = decode(path.read_bytes(), cv2.IMREAD_UNCHANGED, path)
  fixated = fixation_maps.one_channel(image, path)
  check_size(fixated, size, path)
  return fixation_maps.points_of(fixation_maps.marks(fixated, path))


def read_fixation_mat(
  path: pathlib.Path, variable: str, size: tuple[int, int], other: str
) -> np.ndarray:
  """Reads the fixations in a MATLAB file: float32 [n, 2], (x, y) in pixels.

  Args:
    path: the file.
    variable: name of the variable with the fixation map.
    size: height and width of the map.
    other: the image that has this size, for the error.

  Raises:
    UserError: the file cannot be read or holds no fixation map of this size.
  """
  fixated = fixation_maps.dense(read_mat(path, variable)[0])
  check_size(fixated, size, path, other)
  return fixation_maps.points_of(fixation_maps.marks(fixated, path))


def read_mat(path: pathlib.Path, *names: str) -> list[Any]:
  """Reads variables of a MATLAB file.

  Structures become dictionaries, and axes of length 1 are removed.

  Raises:
    UserError: the file cannot be read, or lacks a variable.
  """
  try:
    variables = scipy.io.loadmat(path, simplify_cells=True)
  except Exception as error:  # SciPy raises errors of many types.
    raise UserError(f"{path} is not a MATLAB file, or is damaged ({error}).") from error
  for name in names:
    if name not in variables:
      there = [other for other in variables if not other.startswith("__")]
      raise UserError(f"{path} has no variable {name}; it has {', '.join(there) or 'none'}.")
  return [variables[name] for name in names]


def decode(data: bytes, flags: int, path: pathlib.Path) -> np.ndarray:
  """Decodes an image.

  Args:
    data: the encoded image.
    flags: OpenCV's IMREAD_... flags.
    path: the image's file, for the error.

  Raises:
    UserError: the image cannot be decoded.
  """
  image = transforms.decode(data, flags)
  if image is None:
    raise UserError(f"{path} cannot be decoded ({len(data)} bytes).")
  return image


def check_size(
  image: np.ndarray, size: tuple[int, int], path: pathlib.Path, other: str = "its frame"
) -> None:
  """Raises UserError if an image [h, w] differs in size from `other`, which has `size`."""
  if image.shape != tuple(size):
    shape = " x ".join(map(str, image.shape))
    raise UserError(f"{path} is {shape}, {other} is {size[0]} x {size[1]} (height x width).")


def read_gaze(paths: tuple[pathlib.Path, ...], frames: int, fps: float) -> list[np.ndarray]:
  """Reads the gaze of each observer at each frame from DHF1K's raw gaze files.

  A file has one line per sample: the time in microseconds, x and y on a screen of 1440 x 900
  pixels, and the event, which begins with F during a fixation. The video filled the screen's width,
  with bars above and below. An observer's gaze at a frame is the first sample of a fixation while
  the frame is shown. The file is taken to begin with the video, also if the observer blinks then.

  Args:
    paths: one file per observer, named after the observer's number, as in P001_Trail0001.txt.
    frames: number of frames.
    fps: frames per second.

  Returns:
    One float32 [n, 3] per frame: x and y in pixels of a frame of 640 x 360 (width x height), and
    the observer's number.

  Raises:
    UserError: a file is no text, or none of its lines has this form.
  """
  found: list[list[tuple[float, float, float]]] = [[] for _ in range(frames)]
  scale = 640 / 1440
  for path in paths:
    observer = int(path.stem.partition("_")[0][1:])  # P001_Trail0001
    seen, start = set(), None
    lines = [line.split() for line in text.lines(path)]
    for fields in lines:
      microseconds, x, y = (_number(field) for field in [*fields, "", "", ""][:3])
      if not math.isfinite(microseconds):  # a heading
        continue
      start = microseconds if start is None else start
      frame = math.floor((microseconds - start) * 1e-6 * fps)
      fixated = fields[3:] and fields[3].startswith("F") and math.isfinite(x + y)
      if fixated and 0 <= frame < frames and frame not in seen:
        seen.add(frame)
        found[frame].append((x * scale, (y - (900 - 360 / scale) / 2) * scale, observer))
    if start is None and sum(map(bool, lines)) > 1:
      raise UserError(
        f"{path}: no line has the time in microseconds, x, y and the event, with spaces or tabs in"
        " between."
      )
  return [np.asarray(rows, np.float32).reshape(-1, 3) for rows in found]


def _number(field: str) -> float:
  """Parses a number, with a decimal point or comma; NaN if it is none."""
  try:
    return float(field.replace(",", "."))
  except ValueError:
    return math.nan
