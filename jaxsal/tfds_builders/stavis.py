"""The base of the builders of the audio-visual sets, in the distribution by STAViS's authors.

    video_frames/AVAD/V1_Speech1/img_00001.jpg
    video_audio/AVAD/V1_Speech1/V1_Speech1.wav
    annotations/AVAD/V1_Speech1/fixMap_00001.mat       fixations, variable eyeMap, binary
    annotations/AVAD/V1_Speech1/maps/eyeMap_00001.jpg  density
    fold_lists/AVAD_list_train_1_fps.txt               lines "name frames fps", some empty

Numbers may have fewer zeros, and begin at 0 or at 1. The six databases share one folder, from which
each builder reads its own. A list may promise more
frames than there are densities; the frames that have an image, a density and fixations are stored.
"""

import pathlib
from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np

from jaxsal.console import say
from jaxsal.data import naming, transforms
from jaxsal.data.rates import check_fps
from jaxsal.errors import UserError
from jaxsal.tfds_builders import annotations, records, text, video_builder
from jaxsal.tfds_builders.annotations import Frame, Recording

# The stored split, of which the folds are lists. TFDS gives the name "all" a meaning of its own.
FULL = "full"
FOLDS = tuple(f"{part}_{number}" for number in (1, 2, 3) for part in ("train", "test"))


class Row(NamedTuple):
  """A video's number of frames and frame rate in a fold list."""

  frames: int
  fps: float


class StavisBuilder(video_builder.VideoBuilder, skip_registration=True):
  """Builds a database of the distribution: each video once, and the folds as lists of videos.

  Attributes:
    DATABASE: the database's name in folders and fold lists.
    FOLDS: the names of its fold lists.
  """

  MANUAL_DOWNLOAD_INSTRUCTIONS = """
  Fetch the frames, audio, annotations and fold lists that the authors of STAViS distribute,
  cvsp.cs.ntua.gr/research/stavis, and unpack them into one folder, with `video_frames/`,
  `video_audio/`, `annotations/` and `fold_lists/` in it.
  """
  ANNOTATED = (FULL,)
  SOUND = True
  PROTOCOL = "stavis"
  DATABASE: str
  FOLDS = FOLDS

  def _recordings(self, folder: pathlib.Path, problems: list[str]) -> dict[str, list[Recording]]:
    listed: dict[str, Row] = {}
    for fold in self.FOLDS:
      listed = read_fold(folder, self.DATABASE, fold, problems) | listed
    names = sorted(listed, key=naming.natural_key)
    found = [find(folder, self.DATABASE, name, listed[name], problems) for name in names]
    recordings = [recording for recording in found if recording is not None]
    shorter = [r for r in recordings if r.frames < listed[r.name].frames]
    if shorter:
      frames = sum(listed[r.name].frames - r.frames for r in shorter)
      say(
        f"{len(shorter)} of {len(recordings)} videos are shorter than the fold lists say, by"
        f" {frames} frames in all"
      )
    return {FULL: recordings}

  def _lists(
    self, folder: pathlib.Path, found: dict[str, list[Recording]], problems: list[str]
  ) -> dict[str, records.Lists]:
    folds = {fold: read_fold(folder, self.DATABASE, fold, []) for fold in self.FOLDS}
    return {FULL: {fold: dict.fromkeys(rows) for fold, rows in folds.items()}}

  def _frames(self, recording: Recording) -> Iterator[Frame]:
    return read(recording)


def read_fold(
  folder: pathlib.Path, database: str, fold: str, problems: list[str]
) -> dict[str, Row]:
  """Reads the videos of a fold list; adds a line to `problems` for each line that is wrong."""
  rows = {}
  path = folder / "fold_lists" / f"{database}_list_{fold}_fps.txt"
  for place, line in read_lines(path, problems):
    try:
      name, frames, fps = line.split()
      rows[name] = Row(int(frames), check_fps(float(fps), place))
    except (ValueError, UserError):
      problems.append(f'{place}: {line!r} must be "name frames fps", with fps above 0')
  return rows


def read_lines(path: pathlib.Path, problems: list[str]) -> Iterator[tuple[str, str]]:
  """Yields the place (for errors) and the text of each line of a list that is not empty."""
  if not path.is_file():
    problems.append(f"{path} is missing")
    return
  try:
    lines = text.lines(path)
  except UserError as error:
    problems.append(str(error))
    return
  for number, line in enumerate(lines, start=1):
    if line.strip():
      yield f"{path}, line {number}", line.strip()


def find(
  folder: pathlib.Path,
  database: str,
  name: str,
  row: Row,
  problems: list[str],
  *,
  title: str | None = None,
) -> Recording | None:
  """Finds a video; returns None if a part of it is missing.

  Args:
    folder: folder of the distribution.
    database: name of the video's database.
    name: name of the video.
    row: the video's row in a fold list.
    problems: receives a line if a part is missing.
    title: the data set's name of the video; `name` by default.
  """
  images = folder / "video_frames" / database / name
  fixations = folder / "annotations" / database / name
  maps, sound = fixations / "maps", folder / "video_audio" / database / name / f"{name}.wav"
  found = _numbered(images, maps, fixations)
  for path, there in zip((images, maps, fixations), found):
    if not there:
      problems.append(f"{name}: no files in {path}")
      return None
    if doubled := naming.doubled(naming.files(path, there[min(there)].suffix.lower())):
      problems.append(f"{name}: {doubled}")
      return None
  from_zero = [path for path, there in zip((images, maps, fixations), found) if 0 in there]
  if len(from_zero) in (1, 2):
    problems.append(
      f"{name}: frames are counted from 0 in {from_zero[0]} but not in all of {images}, {maps} and"
      f" {fixations}"
    )
    return None
  first = 0 if from_zero else 1
  whole = set.intersection(*map(set, found)) & set(range(first, first + row.frames))
  if gaps := set(range(first, max(whole, default=first) + 1)) - whole:
    problems.append(
      f"{name}: image, density or fixations are missing of frame {video_builder.missing(gaps, 5)}"
    )
    return None
  return Recording(
    name=title or name,
    frames=len(whole),
    images=images,
    maps=maps,
    fixations=fixations,
    fps=row.fps,
    sound=sound if sound.exists() else None,
  )


def read(recording: Recording) -> Iterator[Frame]:
  """Yields the frames of a video, decoded and checked.

  An image that differs in size from its density is resized to the density's size, because scores
  are measured there.

  Raises:
    UserError: a file cannot be read or does not fit the others.
  """
  assert recording.maps is not None and recording.fixations is not None
  size = None
  images, maps, fixation_maps = _numbered(recording.images, recording.maps, recording.fixations)
  first = 0 if 0 in maps else 1
  for number in range(first, first + recording.frames):
    density_path = maps[number]
    density = annotations.decode(density_path.read_bytes(), cv2.IMREAD_GRAYSCALE, density_path)
    size = size or (density.shape[0], density.shape[1])
    annotations.check_size(density, size, density_path, "the video's first density")

    fixation_path = fixation_maps[number]
    fixations = annotations.read_fixation_mat(fixation_path, "eyeMap", size, "its density")

    image_path = images[number]
    jpeg = image_path.read_bytes()
    image = annotations.decode(jpeg, cv2.IMREAD_COLOR_RGB, image_path)
    if image.shape[:2] != size:
      image, jpeg = transforms.resize(image, size), None
    yield Frame(image, jpeg, density.astype(np.float32), None, fixations, np.zeros((0, 3)))


def _numbered(
  images: pathlib.Path, maps: pathlib.Path, fixations: pathlib.Path
) -> list[dict[int, pathlib.Path]]:
  """Returns a video's images, densities and fixations by number, with or without zeros."""
  return [
    naming.by_number(naming.files(images, ".jpg"), "img_"),
    naming.by_number(naming.files(maps, ".jpg"), "eyeMap_"),
    naming.by_number(naming.files(fixations, ".mat"), "fixMap_"),
  ]
