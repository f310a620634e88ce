"""TFDS builder of LEDOV: `jaxsal prepare ledov --from=DOWNLOADED --data-dir=DATA`."""

import math
import pathlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from jaxsal.data import transforms, video
from jaxsal.errors import UserError
from jaxsal.tfds_builders import annotations, frame_lists, gaze, records, video_builder
from jaxsal.tfds_builders.annotations import Frame, Recording
from jaxsal.tfds_builders.video_builder import Register

# The names of the splits in namelist.mat, in its own spelling.
_SPLITS = {"train": "trainlist", "validation": "vaildlist", "test": "testlist"}
# For each published list of frames: its split, and the name by which it opens.
_LISTS = {
  "mask-ledov-val.csv": ("validation", "meta_validation"),
  "mask-ledov-test.csv": ("test", "meta"),
}
# Standard deviation of the densities' Gaussians, in pixels of the video: their full width at half
# maximum is 2 degrees of 40 pixels (the authors' make_gauss_masks4.m).
_SIGMA = 2 * 40 / math.sqrt(8 * math.log(2))
_COLUMNS = "subject, start (ms), duration (ms), x, y"


class _Record(NamedTuple):
  """The contents of a video's Data.mat.

  Attributes:
    frames: number of frames.
    fps: frames per second.
    size: height and width, in pixels.
    fixations: float64 [n, 5] with the columns `_COLUMNS`.
  """

  frames: int
  fps: float
  size: tuple[int, int]
  fixations: np.ndarray


class Builder(video_builder.VideoBuilder):
  """Builds the Large-scale Eye-tracking Database of Videos (Jiang et al., DeepVS, ECCV 2018).

      animal_bear04/animal_bear04.mp4   538 videos, of 1280 x 720 pixels at least
                   /Data.mat            `Data`: VideoFrames, VideoFrameRate, VideoSize (width,
                                        height), and fixdata, a row per fixation: subject, start and
                                        duration in milliseconds, x and y in pixels from 1 on
      VideoNameList.mat                 `VideoNameList`: names of the videos
      namelist.mat                      `trainlist`, `vaildlist`, `testlist`: numbers of the videos
                                        in VideoNameList, from 1 on
      mask-ledov-val.csv,               frames of LEDOV-Meta (optional, see
      mask-ledov-test.csv               `tfds_builders.frame_lists`); they open as the splits
                                        `meta_validation` and `meta`

  Fixations are assigned to frames as in the authors' evaluation (metrics/TestLEDOV.m): a frame has
  the fixations that last while it is shown. A mark was shown in the centre before each video, so
  the fixations of a subject count from the first one off the centre on. Densities are sums of
  Gaussians.
  """

  MANUAL_DOWNLOAD_INSTRUCTIONS = """
  Fetch LEDOV from its authors, github.com/remega/LEDOV-eye-tracking-database, and unpack it into
  one folder, with a folder for each video in it. Add VideoNameList.mat and namelist.mat from the
  same repository. For LEDOV-Meta add mask-ledov-val.csv and mask-ledov-test.csv from
  github.com/mtangemann/deepgazemr, folder meta-benchmark.
  """
  HOMEPAGE = "https://github.com/remega/LEDOV-eye-tracking-database"
  DESCRIPTION = "538 videos of animals, people and machines, each watched freely by 32 observers."
  CITATION = (
    "L. Jiang, M. Xu, T. Liu, M. Qiao, Z. Wang. DeepVS: A Deep Learning Based Video Saliency"
    " Prediction Approach. ECCV 2018."
  )
  REGISTER = {  # noqa: RUF012
    "train": Register(461, None),
    "validation": Register(36, None),
    "test": Register(41, None),
  }
  ANNOTATED = ("train", "validation", "test")
  GAZE = True

  def _recordings(self, folder: pathlib.Path, problems: list[str]) -> dict[str, list[Recording]]:
    found: dict[str, list[Recording]] = {}
    blur = {}
    for split, names in _read_splits(folder).items():
      found[split] = []
      for name in names:
        clip, data = folder / name / f"{name}.mp4", folder / name / "Data.mat"
        try:
          for path in (clip, data):
            if not path.exists():
              raise UserError(f"{path} is missing.")
          about = _read_record(data)
        except UserError as error:
          problems.append(f"{name}: {error}")
          continue
        blur[name] = _SIGMA / about.size[1]
        found[split].append(
          Recording(
            name=name,
            frames=about.frames,
            images=clip,
            maps=None,
            fixations=data,
            fps=about.fps,
            gaze=(data,),
          )
        )
    self.metadata["blur_sigma"] = blur
    return found

  def _lists(
    self, folder: pathlib.Path, found: dict[str, list[Recording]], problems: list[str]
  ) -> dict[str, records.Lists]:
    return {
      split: {title: frame_lists.read(folder / file, found[split], problems)}
      for file, (split, title) in _LISTS.items()
      if (folder / file).exists()
    }

  def _frames(self, recording: Recording) -> Iterator[Frame]:
    (data,) = recording.gaze
    about = _read_record(data)
    by_frame = gaze_by_frame(about.fixations, about.frames, about.fps, about.size)
    count = 0
    for image in video.read_frames(recording.images):
      annotations.check_size(image[..., 0], about.size, recording.images, "Data.VideoSize")
      if count < about.frames:
        yield gaze.annotate(image, by_frame[count], _SIGMA)
      count += 1
    if count != about.frames:
      raise UserError(f"{recording.images} has {count} frames, {data} says {about.frames}.")


def _read_splits(folder: pathlib.Path) -> dict[str, list[str]]:
  """Reads the names of each split's videos.

  Raises:
    UserError: one of the two lists is missing, or they do not fit each other.
  """
  for name in ("VideoNameList.mat", "namelist.mat"):
    if not (folder / name).exists():
      raise UserError(
        f"{folder / name} is missing: it says which videos are for training."
        f" {video_builder.instructions(Builder)}"
      )
  (names,) = annotations.read_mat(folder / "VideoNameList.mat", "VideoNameList")
  names = np.atleast_1d(names)
  lists = annotations.read_mat(folder / "namelist.mat", *_SPLITS.values())
  splits = dict(zip(_SPLITS, (np.ravel(numbers).astype(int) for numbers in lists)))
  numbers = np.sort(np.concatenate([*splits.values()]))
  if not np.array_equal(numbers, np.arange(1, len(names) + 1)):
    raise UserError(
      f"{folder / 'namelist.mat'} must name each of the {len(names)} videos of VideoNameList.mat"
      f" once, by a number from 1 on: it has {len(numbers)} numbers,"
      f" {numbers.min()} to {numbers.max()}."
    )
  return {split: [str(names[number - 1]) for number in of] for split, of in splits.items()}


def _read_record(path: pathlib.Path) -> _Record:
  """Reads Data.mat and checks that its numbers are plausible.

  Raises:
    UserError: numbers are missing, or too many fixations lie outside the video.
  """
  (data,) = annotations.read_mat(path, "Data")
  fields = ("VideoFrames", "VideoFrameRate", "VideoSize", "fixdata")
  lacking = [name for name in fields if not isinstance(data, dict) or name not in data]
  if lacking:
    raise UserError(f"{path}: Data has no {', '.join(lacking)}.")
  frames, fps, size, fixations = (np.asarray(data[name], np.float64) for name in fields)
  if (
    frames.size != 1 or fps.size != 1 or size.size != 2 or not (frames >= 1 and 0 < fps < math.inf)
  ):
    raise UserError(
      f"{path}: Data must have one number of frames, one frame rate, and a width and height, all"
      f" positive; it has {frames}, {fps}, {size}."
    )
  fixations = np.atleast_2d(fixations)
  if fixations.shape[-1] != 5:
    shape = " x ".join(map(str, fixations.shape))
    raise UserError(f"{path}: fixdata must have 5 columns ({_COLUMNS}); it is {shape}.")
  width, height = size.astype(int).tolist()
  for what, fits in (
    ("start within the video", fixations[:, 1] <= 1000 * frames / fps),
    ("lie within its frames", _inside(fixations, (height, width))),
  ):
    if 2 * fits.sum() < len(fits):
      raise UserError(
        f"{path}: the columns of fixdata must be {_COLUMNS}, but of {len(fits)} fixations only"
        f" {fits.sum()} {what} ({frames:.0f} frames of {width} x {height}, {fps:g} a second)."
      )
  if gaze.exchanged(fixations[:, 3:], (height, width)):
    raise UserError(
      f"{path}: x and y of fixdata look exchanged, because more fixations would then lie in its"
      f" frames of {width} x {height}. The columns must be {_COLUMNS}."
    )
  return _Record(int(frames), float(fps), (height, width), fixations)


def gaze_by_frame(
  fixations: np.ndarray, frames: int, fps: float, size: tuple[int, int]
) -> list[np.ndarray]:
  """Assigns fixations to the frames that were shown meanwhile.

  Args:
    fixations: [n, 5]: subject, start and duration in milliseconds, x and y in pixels from 1 on.
    frames: number of frames.
    fps: frames per second.
    size: height and width of the frames, in pixels.

  Returns:
    One float32 [n, 3] per frame: x and y in pixels from 0 on, and the subject.
  """
  height, width = size
  fixations = fixations[np.isfinite(fixations).all(axis=1)]
  subject, start, duration, x, y = fixations.T
  inside = _inside(fixations, size)
  centre = round(height / 20)
  away = inside & (np.abs(x - width / 2) > centre) & (np.abs(y - height / 2) > centre)
  # The first frame is shown from 0 to 1 / fps, both ends included.
  first = np.maximum(np.ceil(start * fps / 1000), 1).astype(int) - 1
  last = np.minimum(np.ceil((start + duration) * fps / 1000), frames).astype(int) - 1
  found: list[list[tuple[float, float, float]]] = [[] for _ in range(frames)]
  looking = set()
  for row in np.lexsort((start, subject)):
    if away[row]:
      looking.add(subject[row])
    if inside[row] and subject[row] in looking:
      for frame in range(first[row], last[row] + 1):
        # MATLAB's pixel 1 is column 0, whose centre is at 0.5.
        found[frame].append((x[row] - 0.5, y[row] - 0.5, subject[row]))
  by_frame = [np.asarray(rows, np.float32).reshape(-1, 3) for rows in found]
  return [rows[transforms.inside(rows[:, :2], size)] for rows in by_frame]


def _inside(fixations: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """Returns which fixations [n, 5] lie in the frame: bool [n]."""
  *_, x, y = fixations.T
  return (x > 0) & (x < size[1]) & (y > 0) & (y < size[0])
