"""What a score stands for: which frames count, what their mean is, and whose fixations the shuffled
AUC takes as its negatives.

Numbers of different protocols cannot be compared. With one and the same set of maps, the shuffled
AUC is .84 as the DHF1K benchmark draws its negatives and .56 as STAViS does. So a score is written
down with the protocol's own words.

All that is random here is a function of `SEED` and of the number of a frame's record alone: in
whatever order, and in however many runs, a split is worked off, its scores are the same.
"""

import dataclasses
from typing import Literal

import numpy as np

from jaxsal.console import track
from jaxsal.data import transforms
from jaxsal.data.sources import Split, Video, target_records
from jaxsal.errors import UserError

SEED = 0
# Frames whose fixations make the other map of a frame, where they are drawn.
_OTHER_FRAMES = 10


@dataclasses.dataclass(frozen=True, kw_only=True)
class Protocol:
  """How a benchmark evaluates.

  Attributes:
    name: what `--protocol` calls it.
    most_frames: of a larger split, so many frames are drawn and scored.
    others: where the fixations of the other map come from: frames of the whole list, frames of the
      list other than the one that is scored, or the rest of the same video.
    mean_of: whether the mean runs over all frames, or over the frames of each video and then over
      the videos.
    frames, mean, other_map: the same in words, for reports.
  """

  name: str
  most_frames: int | None = None
  others: Literal["list", "other frames", "video"]
  mean_of: Literal["frames", "videos"]
  frames: str
  mean: str
  other_map: str

  def scored(self, num_frames: int) -> np.ndarray:
    """The frames that count, of so many of a split: their positions, int64, ascending."""
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
      frames="every frame; of more than 50,000, so many at random",
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
      other_map="fixations of all frames of the same video, less those of the frame itself",
    ),
  )
}

_NAN_POLICY = (
  "a frame without fixations has no NSS, AUC and IG, one without a density no CC, SIM and KL: it is"
  " left out of the mean and counted as dropped"
)


_RESIZE = "predictions to the size of the ground truth, bicubic; fixations stay points"


def describe(protocol: Protocol, post_processing: str) -> dict[str, str]:
  """What a score has to be printed with, in words."""
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
  """The protocol of that name.

  Raises:
    UserError: there is none.
  """
  if name not in PROTOCOLS:
    raise UserError(f"protocol {name!r} is unknown: use one of {', '.join(PROTOCOLS)}.")
  return PROTOCOLS[name]


class Fixations:
  """The fixations of all frames of a split, held in memory: 8 bytes each.

  Other maps need those of frames from anywhere in the split, and reading these from the files again
  for every frame would read the whole split ten times.
  """

  def __init__(self, split: Split, protocol: Protocol) -> None:
    """Reads them, under a progress bar.

    Args:
      split: the frames.
      protocol: which frames are scored, and how other maps are made.
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
    """The frames of a video that count, numbered within it."""
    first, last = np.searchsorted(self.scored, [video.first, video.first + video.frames])
    return (self.scored[first:last] - video.first).tolist()

  def points(self, record: int) -> np.ndarray:
    """Fixations of a frame: float32 [n, 2], (x, y) in pixels."""
    return self._points[self._starts[record] : self._starts[record + 1]]

  def map(self, record: int) -> np.ndarray:
    """The pixels of a frame that were fixated: uint8 [h, w], 0 or 1."""
    size = self._size(record)
    return transforms.fixation_map(self.points(record), size, size)

  def other_map(self, record: int) -> np.ndarray:
    """Where the negatives of a frame's shuffled AUC lie: uint8 [h, w], 0 or 1."""
    if self._protocol.others == "video":
      return self._union_of_video(record) & (1 - self.map(record))
    height, width = size = self._size(record)
    points = [np.empty((0, 2), np.float32)]
    for other in self._draw(record):
      other_height, other_width = self._size(other)
      scale = np.float32([width / other_width, height / other_height])
      points.append(self.points(other) * scale)
    return transforms.fixation_map(np.concatenate(points), size, size)

  def _draw(self, record: int) -> np.ndarray:
    """At most `_OTHER_FRAMES` records of the list, no two alike."""
    records = self.scored
    if self._protocol.others == "other frames":
      records = np.delete(records, np.searchsorted(records, record))
    rng = np.random.default_rng([SEED, record])
    return rng.choice(records, min(_OTHER_FRAMES, len(records)), replace=False)

  def _union_of_video(self, record: int) -> np.ndarray:
    """The pixels that were fixated in any frame of the record's video; the last one is kept."""
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
