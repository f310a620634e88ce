"""TFDS builder of your own data: `jaxsal prepare own --from=FOLDER --data-dir=DATA`."""

import dataclasses
import hashlib
import itertools
import pathlib
from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import tensorflow_datasets as tfds

from jaxsal.data import naming, video
from jaxsal.data.rates import check_fps
from jaxsal.errors import UserError
from jaxsal.tfds_builders import gaze, video_builder
from jaxsal.tfds_builders.annotations import Frame, Recording
from jaxsal.tfds_builders.own import tables
from jaxsal.tfds_builders.video_builder import Register

_VIDEOS = (".mp4", ".mov", ".mkv", ".avi", ".webm")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Watched(Recording):
  """A video with its samples of gaze.

  Attributes:
    by_frame: whether samples name frames; otherwise they have times in seconds.
    samples: float64 [n, 4]; see `tables.Gaze`.
    digest: hash of the samples, so that an interrupted build notices when they change.
  """

  by_frame: bool
  samples: np.ndarray = dataclasses.field(repr=False, compare=False)
  digest: str


class Builder(video_builder.VideoBuilder):
  """Builds a data set from your own videos and a table of gaze.

      videos/park.mp4   the videos: MP4, MOV, MKV, AVI or WebM
      gaze.csv          one line per sample, with the columns video, observer, time, x and y
      splits.csv        one line per video, with the columns video and split (optional)

  The first line of a table names its columns; further columns are ignored. For example, `gaze.csv`:

      video,observer,time,x,y
      park,anna,0.000,612.5,340.0
      park,anna,0.016,613.0,341.5
      park,ben,0.000,,

  - `video` is the name of the video's file without its suffix.
  - `observer` is any name or number.
  - `time` is in seconds from the start of the video. The column `frame` may replace it, the number
    of the frame, from 0 on.
  - `x` and `y` are in pixels of the video as it is shown, from its upper left corner. They are
    empty where the eye tracker lost the eyes. Samples outside the frame are left out.

  The table should hold fixations only, without saccades. In each frame, the first sample of each
  observer counts as one fixation, as in DHF1K. The density of a frame is the sum of a Gaussian at
  each fixation, with DHF1K's standard deviation, 2 % of the frame's width (12.74 pixels in 640).

  `splits.csv` names the split of each video: train, validation or test. Without the file, the last
  tenth of the videos in the order of their names, but at least one, is for validation, and all
  others are for training.

  The sound of the videos is stored for audio-visual networks. A data directory holds one set of
  this name: keep several sets in several directories, `--data-dir`. To build a set again after a
  change, delete its directory first.
  """

  MANUAL_DOWNLOAD_INSTRUCTIONS = """
  Make a folder with your videos in `videos/` and a table `gaze.csv` with the columns video (name of
  the file without its suffix), observer, time (seconds from the start of the video; or frame, from
  0 on), x and y (pixels of the video from its upper left corner). A table `splits.csv` with the
  columns video and split (train, validation or test) is optional.
  """
  HOMEPAGE = ""
  DESCRIPTION = "Your own videos with records of gaze."
  CITATION = ""
  REGISTER: ClassVar[dict[str, Register]] = {}
  ANNOTATED = tables.SPLITS
  GAZE = True
  SOUND = True

  def _info(self) -> tfds.core.DatasetInfo:
    info = super()._info()
    assert isinstance(info.metadata, dict)
    info.metadata["blur_sigma"] = gaze.DHF1K_SIGMA
    return info

  def _recordings(self, folder: pathlib.Path, problems: list[str]) -> dict[str, list[Recording]]:
    paths = naming.files(folder / "videos", *_VIDEOS)
    if not paths:
      return {}
    videos: dict[str, tables.Video | None] = {}
    for path in paths:
      if path.stem in videos:
        raise UserError(f"{path} has the name of another video apart from its suffix; rename it.")
      videos[path.stem] = _probe(path, problems)
    by_frame, samples = tables.read_gaze(folder / "gaze.csv", videos)
    splits = tables.read_splits(folder / "splits.csv", list(videos))
    found: dict[str, list[Recording]] = {split: [] for split in splits}
    for split, name in ((split, name) for split, names in splits.items() for name in names):
      watched = videos[name]
      if watched is None:
        continue
      if name not in samples:
        problems.append(f"{name}: gaze.csv has no sample of it with x and y")
        continue
      found[split].append(
        Watched(
          name=name,
          frames=watched.frames,
          images=watched.info.path,
          maps=None,
          fixations=None,
          fps=float(watched.info.fps),
          gaze=(folder / "gaze.csv",),
          sound=watched.info.path if watched.info.has_audio else None,
          by_frame=by_frame,
          samples=samples[name],
          digest=hashlib.sha256(samples[name].tobytes()).hexdigest(),
        )
      )
    return found

  def _frames(self, recording: Recording) -> Iterator[Frame]:
    assert isinstance(recording, Watched)
    samples = recording.samples
    frames = video.read_timed_frames(recording.images)
    for index, (frame, following) in enumerate(itertools.pairwise(itertools.chain(frames, [None]))):
      assert frame is not None
      start = float(frame.time)
      shown = index, index + 1
      if not recording.by_frame:
        shown = start, float(following.time) if following else start + 1 / recording.fps
      first, last = np.searchsorted(samples[:, 0], shown)
      points = _first_of_each(samples[first:last, 1:])
      sigma = gaze.DHF1K_SIGMA * frame.image.shape[1]
      yield gaze.annotate(frame.image, points, sigma)._replace(time=start)


def _probe(path: pathlib.Path, problems: list[str]) -> tables.Video | None:
  """Probes a video; returns None if it cannot be read."""
  try:
    info = video.probe(path)
    check_fps(info.fps, str(path))
    return tables.Video(info, video.count_frames(info))
  except UserError as error:
    problems.append(f"{path.stem}: {error}")
    return None


def _first_of_each(samples: np.ndarray) -> np.ndarray:
  """Returns the first sample of each observer: (observer, x, y) [n, 3] as (x, y, observer)."""
  _, first = np.unique(samples[:, 0], return_index=True)
  return samples[first][:, [1, 2, 0]]
