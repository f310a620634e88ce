"""Reading a downloaded video with its density maps and fixations, frame by frame.

DHF1K, Hollywood-2 and UCF-Sports come in one form: a folder of frames or a video file, `maps/*.png`
(densities), `fixation/*.png` (binary), and `fixation/maps/*.mat` (the same, variable `I`). The PNG
files are preferred: they are lossless and smaller; MATLAB's are read where there is no PNG.
"""

import dataclasses
import pathlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import cv2
import numpy as np
import scipy.io

from jaxsal.data import transforms, video
from jaxsal.errors import UserError

_IMAGES = (".png", ".jpg", ".jpeg")
_JPEG = (".jpg", ".jpeg")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recording:
  """A video as it lies in the downloaded folder.

  Attributes:
    name: the data set's own name of the video.
    frames: how many there are.
    images: a folder of frames, or a video file.
    maps: folder of the densities; None where they are not public.
    fixations: folder of the fixations, PNG or MATLAB files; None where they are not public.
    fps: frames per second.
    gaze: the files that say who looked where, if there are any: a raw record per observer (see
      `read_gaze`), or what the set has instead.
    sound: a file with the sound track, where there is one.
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
  """A frame and what people did.

  Attributes:
    image: RGB uint8 [h, w, 3].
    jpeg: the file's bytes, if it was a JPEG.
    density: float32 [h, w], any positive scale.
    density_png: the file's bytes, if it was a PNG.
    fixations: float32 [n, 2], (x, y) in pixels.
    gaze: float32 [n, 3], (x, y, observer), where it is known.
  """

  image: np.ndarray
  jpeg: bytes | None
  density: np.ndarray
  density_png: bytes | None
  fixations: np.ndarray
  gaze: np.ndarray


def find(
  name: str,
  folder: pathlib.Path,
  images: pathlib.Path,
  fps: float,
  problems: list[str],
  gaze: tuple[pathlib.Path, ...] = (),
) -> Recording | None:
  """An annotated video, or None and a line in `problems` if something of it is missing.

  Args:
    name: of the video.
    folder: the annotation's: it holds `maps` and `fixation`.
    images: the frames' folder, or the video file.
    fps: frames per second.
    problems: gets the lines.
    gaze: files of raw gaze records.
  """
  maps, fixations = folder / "maps", folder / "fixation"
  for path in (images, maps, fixations):
    if not path.exists():
      problems.append(f"{name}: {path} is missing")
      return None
  if not files(fixations, ".png"):
    fixations = fixations / "maps"
  counts = {
    str(maps): len(files(maps, *_IMAGES)),
    str(fixations): len(files(fixations, ".png", ".mat")),
  }
  if images.is_dir():
    counts[str(images)] = len(files(images, *_IMAGES))
  if len(set(counts.values())) > 1 or 0 in counts.values():
    text = ", ".join(f"{count} files in {path}" for path, count in counts.items())
    problems.append(f"{name}: {text}")
    return None
  return Recording(
    name=name,
    frames=counts[str(maps)],
    images=images,
    maps=maps,
    fixations=fixations,
    fps=fps,
    gaze=gaze,
  )


def find_all(folder: pathlib.Path, fps: float, problems: list[str]) -> list[Recording]:
  """The annotated videos in the sub-folders of `folder`, each with its `images`; see `find`."""
  if not folder.is_dir():
    problems.append(f"{folder} is missing")
    return []
  found = (
    find(path.name, path, path / "images", fps, problems)
    for path in sorted(folder.iterdir())
    if path.is_dir()
  )
  return [recording for recording in found if recording is not None]


def read(recording: Recording) -> Iterator[Frame]:
  """The frames of a video, decoded and checked.

  Raises:
    UserError: a file cannot be read or does not fit the others; it is named.
  """
  if recording.images.is_dir():
    images = _read_folder(recording.images)
  else:
    images = ((image, None, None) for image in video.read_frames(recording.images))
  unknown = [None] * recording.frames
  maps = files(recording.maps, *_IMAGES) if recording.maps else unknown
  points = files(recording.fixations, ".png", ".mat") if recording.fixations else unknown
  gaze = read_gaze(recording.gaze, recording.frames, recording.fps)
  count, size = 0, None
  for image, jpeg, path in images:
    size = size or image.shape[:2]
    check_size(image[..., 0], size, path or recording.images, "the video's first frame")
    if count < recording.frames:
      yield _read_annotation(image, jpeg, path, maps[count], points[count], gaze[count])
    count += 1
  if count != recording.frames:
    raise UserError(
      f"{recording.images} has {count} frames, {recording.maps or 'its header'} says"
      f" {recording.frames}"
    )


def files(folder: pathlib.Path, *suffixes: str) -> list[pathlib.Path]:
  """The files of a folder with one of these suffixes, by name; none if there is no folder.

  Hidden ones, which other systems leave beside the true ones, do not count.
  """
  if not folder.is_dir():
    return []
  visible = (path for path in folder.iterdir() if not path.name.startswith("."))
  return sorted(path for path in visible if path.suffix.lower() in suffixes)


def resize(image: np.ndarray, size: tuple[int, int] | None) -> np.ndarray:
  """Resizes to (height, width); None keeps the size."""
  return image if size is None else transforms.resize(image, size)


def size_of(encoded: bytes) -> tuple[int, int]:
  """Height and width of an encoded image."""
  return cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_UNCHANGED).shape[:2]


def _read_folder(
  folder: pathlib.Path,
) -> Iterator[tuple[np.ndarray, bytes | None, pathlib.Path]]:
  for path in files(folder, *_IMAGES):
    data = path.read_bytes()
    image = decode(data, cv2.IMREAD_COLOR_RGB, path)
    yield image, data if path.suffix.lower() in _JPEG else None, path


def _read_annotation(
  image: np.ndarray,
  jpeg: bytes | None,
  path: pathlib.Path | None,
  map_path: pathlib.Path | None,
  fixation_path: pathlib.Path | None,
  gaze: np.ndarray,
) -> Frame:
  size = image.shape[:2]
  density, png, fixations = np.zeros(size, np.float32), None, np.zeros((0, 2), np.float32)
  if map_path is not None:
    if path is not None and path.stem != map_path.stem:
      raise UserError(f"{path} stands where {map_path} says {map_path.stem}: a frame is missing")
    density, png = read_density(map_path, size)
  if fixation_path is not None:
    if fixation_path.stem != map_path.stem:
      raise UserError(f"{fixation_path} stands where {map_path.name} wants its fixations")
    fixated = _read_fixations(fixation_path)
    check_size(fixated, size, fixation_path)
    fixations = points_of(fixated)
  gaze = gaze * np.float32([size[1] / 640, size[0] / 360, 1])
  inside = transforms.inside(gaze[:, :2], size)
  return Frame(image, jpeg, density, png, fixations, gaze[inside])


def read_density(path: pathlib.Path, size: tuple[int, int]) -> tuple[np.ndarray, bytes | None]:
  """The density of a frame of this size, float32 [h, w], and the file's bytes if it is a PNG."""
  data = path.read_bytes()
  density = decode(data, cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH, path)
  check_size(density, size, path)
  return density.astype(np.float32), data if path.suffix.lower() == ".png" else None


def points_of(fixated: np.ndarray) -> np.ndarray:
  """The middles of the pixels of a map [h, w] that are not 0: float32 [n, 2], (x, y)."""
  y, x = np.nonzero(fixated)
  return np.stack([x, y], axis=1).astype(np.float32) + 0.5


def _read_fixations(path: pathlib.Path) -> np.ndarray:
  """Where somebody looked: [h, w], not 0 there."""
  if path.suffix.lower() != ".mat":
    return decode(path.read_bytes(), cv2.IMREAD_GRAYSCALE, path)
  (fixated,) = read_mat(path, "I")
  return np.asarray(fixated)


def read_mat(path: pathlib.Path, *names: str) -> list[Any]:
  """Variables of a MATLAB file; structures are dictionaries, and axes of length 1 are gone.

  Raises:
    UserError: the file cannot be read, or lacks one of them.
  """
  try:
    variables = scipy.io.loadmat(path, simplify_cells=True)
  except Exception as error:  # scipy has many
    raise UserError(f"{path} is not a MATLAB file, or is damaged ({error})") from error
  for name in names:
    if name not in variables:
      there = [other for other in variables if not other.startswith("__")]
      raise UserError(f"{path} has no variable {name}; it has {', '.join(there) or 'none'}")
  return [variables[name] for name in names]


def decode(data: bytes, flags: int, path: pathlib.Path) -> np.ndarray:
  """An encoded image; `path` is named if it cannot be decoded."""
  image = transforms.decode(data, flags)
  if image is None:
    raise UserError(f"{path} cannot be decoded ({len(data)} bytes)")
  return image


def check_size(
  image: np.ndarray, size: tuple[int, int], path: pathlib.Path, other: str = "its frame"
) -> None:
  """Raises UserError if the image of `path` has another height and width than `other`."""
  if image.shape != tuple(size):
    shape = " x ".join(map(str, image.shape))
    raise UserError(f"{path} is {shape}, {other} is {size[0]} x {size[1]}")


def read_gaze(paths: tuple[pathlib.Path, ...], frames: int, fps: float) -> list[np.ndarray]:
  """Where each observer looked at each frame, from DHF1K's raw records.

  A record has a line per sample: time in microseconds, x and y on a screen of 1440 x 900 pixels,
  and the event, which begins with F during a fixation. The video filled the screen's width, with
  bars above and below. An observer's gaze at a frame is the first fixating sample while it is
  shown; the record is taken to begin with the video.

  Args:
    paths: a file per observer, named after their number: P001_Trail0001.txt.
    frames: number of frames.
    fps: frames per second.

  Returns:
    Per frame, float32 [n, 3]: x and y in pixels of a frame of 640 x 360, and the observer's number.
  """
  found: list[list[tuple[float, float, float]]] = [[] for _ in range(frames)]
  scale = 640 / 1440
  for path in paths:
    observer = int(path.stem.partition("_")[0][1:])  # P001_Trail0001
    seen, start = set(), None
    for line in path.read_text(errors="replace").splitlines():
      fields = line.split()
      try:
        microseconds, x, y = (float(field) for field in fields[:3])
      except ValueError:  # a heading
        continue
      start = microseconds if start is None else start
      frame = int((microseconds - start) * 1e-6 * fps)
      if frame < frames and frame not in seen and fields[3:] and fields[3].startswith("F"):
        seen.add(frame)
        found[frame].append((x * scale, (y - (900 - 360 / scale) / 2) * scale, observer))
  return [np.float32(rows).reshape(-1, 3) for rows in found]
