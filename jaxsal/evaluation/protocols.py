"""Protocols: which frames count, how their scores are averaged, and where the negatives of the
shuffled AUC come from.

Scores of different protocols cannot be compared. For the same set of maps, the shuffled AUC is .84
if negatives are drawn as in the DHF1K benchmark and .56 if they are drawn as in STAViS. Therefore
every score is stored with its protocol in words.

Random choices depend only on `SEED` and on the number of a frame's record, so that the scores of a
split are the same in any order and in any number of runs.
"""

import dataclasses
from typing import Literal

import numpy as np

from jaxsal.console import track
from jaxsal.data import transforms
from jaxsal.data.sources import Split, Video, target_records
from jaxsal.errors import UserError

SEED = 0
# Number of frames that are drawn for the other map of a frame.
_OTHER_FRAMES = 10


@dataclasses.dataclass(frozen=True, kw_only=True)
class Protocol:
  """The rules by which a benchmark evaluates.

  Attributes:
    name: name of the protocol for `--protocol`.
    most_frames: number of frames that are drawn and scored if the split has more; None for all.
    others: origin of the other map's fixations: frames of the whole list, frames of the list except
      the one that is scored, or the rest of the same video.
    mean_of: unit of the mean: all frames, or the videos, after a mean over the frames of each.
    frames: description of the frames that count, for reports.
    mean: description of the mean, for reports.
    other_map: description of the other map, for reports.
  """

  name: str
  most_frames: int | None = None
  others: Literal["list", "other frames", "video"]
  mean_of: Literal["frames", "videos"]
  frames: str
  mean: str
  other_map: str

  def scored(self, num_frames: int) -> np.ndarray:
    """Returns the positions, int64, ascending, of the frames that count in a split.

    Args:
      num_frames: number of frames of the split.
    """
    if self.most_frames is None or num_frames <= self.most_frames:
      return np.arange(num_frames)
    rng = np.random.default_rng(SEED)
    return np.sort(rng.choice(num_frames, self.most_frames, replace=False))


PROTOCOLS = {
  protocol.name: protocol
  for protocol in (
    Protocol(
      name="dhf1k",
      most_frames=50_000,
      others="list",
      mean_of="frames",
      frames="every frame, or 50,000 at random if there are more",
      mean="over frames",
      other_map="fixations of 10 random frames of the evaluated list, rescaled to the frame's size",
    ),
    Protocol(
      name="mit",
      others="other frames",
      mean_of="frames",
      frames="every frame",
      mean="over frames",
      other_map="fixations of 10 random other frames of the list, rescaled to the frame's size",
    ),
    Protocol(
      name="stavis",
      others="video",
      mean_of="videos",
      frames="every frame",
      mean="over the frames of a video, then over videos",
      other_map="fixations of all frames of the same video, except those of the frame itself",
    ),
  )
}
"""All protocols by name."""

_NAN_POLICY = (
  "a frame without fixations has no NSS, AUC and IG, and a frame without a density no CC, SIM and "
  "KL; it is left out of the mean and counted as dropped"
)
_RESIZE = "predictions to the size of the ground truth, bicubic; fixations stay points"


def describe(protocol: Protocol, post_processing: str) -> dict[str, str]:
  """Returns the description of a protocol in words, which belongs to every score.

  Args:
    protocol: the protocol.
    post_processing: description of the processing that the maps went through.
  """
  return {
    "name": protocol.name,
    "frames": protocol.frames,
    "mean": protocol.mean,
    "nan_policy": _NAN_POLICY,
    "other_map": f"{protocol.other_map}; mean over all random splits, not 100 of them",
    "resize": _RESIZE,
    "post_processing": post_processing,
  }


def find(name: str) -> Protocol:
  """Returns the protocol of a name.

  Raises:
    UserError: the name is unknown.
  """
  if name not in PROTOCOLS:
    raise UserError(f"Protocol {name!r} is unknown: use one of {', '.join(PROTOCOLS)}.")
  return PROTOCOLS[name]


class Fixations:
  """The fixations of all frames of a split, in memory, 8 bytes each.

  Other maps need fixations of frames from anywhere in the split. Reading them from the files for
  every frame would read the whole split ten times.

  Attributes:
    scored: numbers of the records that the protocol scores, ascending.
  """

  def __init__(self, split: Split, protocol: Protocol) -> None:
    """Reads the fixations, under a progress bar.

    Args:
      split: the split.
      protocol: rules for the frames that are scored and for other maps.
    """
    points = [
      split.fixations(record)
      for record in track(range(len(split)), "reading fixations", len(split), "frames")
    ]
    self._starts = np.cumsum([0, *map(len, points)])
    self._points = np.concatenate(points)
    self._videos = split.videos
    self._first_records = [video.first for video in split.videos]
    self._protocol = protocol
    self._of_video: tuple[int, np.ndarray] = -1, np.empty(0)
    targets = target_records(split.videos)
    self.scored = targets[protocol.scored(len(targets))]

  def scored_in(self, video: Video) -> list[int]:
    """Returns the numbers, within the video, of the frames that count."""
    first, last = np.searchsorted(self.scored, [video.first, video.first + video.frames])
    return (self.scored[first:last] - video.first).tolist()

  def points(self, record: int) -> np.ndarray:
    """Returns the fixations of a frame: float32 [n, 2], (x, y) in pixels."""
    return self._points[self._starts[record] : self._starts[record + 1]]

  def map(self, record: int) -> np.ndarray:
    """Returns the map of a frame's fixated pixels: uint8 [h, w], 0 or 1."""
    size = self._size(record)
    return transforms.fixation_map(self.points(record), size, size)

  def other_map(self, record: int) -> np.ndarray:
    """Returns the map of the negatives for a frame's shuffled AUC: uint8 [h, w], 0 or 1."""
    if self._protocol.others == "video":
      return self._union_of_video(record) & (1 - self.map(record))
    height, width = size = self._size(record)
    points = [np.empty((0, 2), np.float32)]
    for other in self._draw(record):
      other_height, other_width = self._size(other)
      scale = np.array([width / other_width, height / other_height], np.float32)
      points.append(self.points(other) * scale)
    return transforms.fixation_map(np.concatenate(points), size, size)

  def _draw(self, record: int) -> np.ndarray:
    """Draws at most `_OTHER_FRAMES` different records of the list."""
    records = self.scored
    if self._protocol.others == "other frames":
      records = np.delete(records, np.searchsorted(records, record))
    rng = np.random.default_rng([SEED, record])
    return rng.choice(records, min(_OTHER_FRAMES, len(records)), replace=False)

  def _union_of_video(self, record: int) -> np.ndarray:
    """Returns the map of the pixels fixated in any frame of a record's video.

    The map of the latest video is kept, because its records come one after the other.
    """
    number = self._video(record)
    if self._of_video[0] != number:
      video, size = self._videos[number], self._size(record)
      points = self._points[self._starts[video.first] : self._starts[video.first + video.frames]]
      self._of_video = number, transforms.fixation_map(points, size, size)
    return self._of_video[1]

  def _size(self, record: int) -> tuple[int, int]:
    video = self._videos[self._video(record)]
    return video.height, video.width

  def _video(self, record: int) -> int:
    return int(np.searchsorted(self._first_records, record, side="right")) - 1
