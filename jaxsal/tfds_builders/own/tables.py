"""Reads the tables of your own data, `gaze.csv` and `splits.csv`, and refuses implausible ones."""

import array
import csv
import math
import pathlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxsal.data.video import VideoInfo
from jaxsal.errors import UserError
from jaxsal.tfds_builders import gaze, text

SPLITS = ("train", "validation", "test")


class Video(NamedTuple):
  """A video that can be read.

  Attributes:
    info: size, frame rate and more of the video.
    frames: number of frames.
  """

  info: VideoInfo
  frames: int


class Gaze(NamedTuple):
  """The samples of `gaze.csv`.

  Attributes:
    by_frame: whether samples name frames; otherwise they have times in seconds.
    samples: for each video with samples, float64 [n, 4], ordered by the first column: the frame or
      the time, the observer's number, x and y in pixels.
  """

  by_frame: bool
  samples: dict[str, np.ndarray]


def read_gaze(path: pathlib.Path, videos: Mapping[str, Video | None]) -> Gaze:
  """Reads `gaze.csv`.

  Observers are numbered from 1 on, in the order of their names. Samples without x and y, where the
  eye tracker lost the eyes, are left out.

  Args:
    path: the file.
    videos: the videos that the file may name; None for damaged videos, whose samples are left out.

  Raises:
    UserError: the file is missing or not as described, or its samples are implausible.
  """
  by_frame = _names_frames(path)
  columns = ("video", "observer", "frame" if by_frame else "time", "x", "y")
  found: dict[str, array.array[float]] = {}
  numbers: dict[str, int] = {}
  for where, (name, observer, *fields) in _rows(path, columns):
    _check_known(where, name, videos)
    if not observer:
      raise UserError(f"{where}: the observer is empty; write a name or a number.")
    when, x, y = (_number(where, *pair) for pair in zip(columns[2:], fields))
    video = videos[name]
    if video is None or math.isnan(x) or math.isnan(y):
      continue
    if math.isnan(when):
      raise UserError(f"{where}: the {columns[2]} is empty; write it, or remove the line.")
    if by_frame and not (when.is_integer() and 0 <= when < video.frames):
      raise UserError(
        f"{where}: frame {fields[0]} is not in video {name!r}, whose frames are 0 to"
        f" {video.frames - 1}; count frames from 0."
      )
    number = numbers.setdefault(observer, len(numbers))
    found.setdefault(name, array.array("d")).extend((when, number, x, y))
  order = np.empty(len(numbers))
  order[[numbers[observer] for observer in sorted(numbers)]] = np.arange(1, len(numbers) + 1)
  samples = {}
  for name, values in found.items():
    table, video = np.array(values).reshape(-1, 4), videos[name]
    assert video is not None
    _check_places(f"{path}: video {name!r}", table[:, 2:], video.info)
    if not by_frame:
      _check_times(f"{path}: video {name!r}", table[:, 0], video)
    table[:, 1] = order[table[:, 1].astype(int)]
    samples[name] = table[np.argsort(table[:, 0], kind="stable")]
  return Gaze(by_frame, samples)


def read_splits(path: pathlib.Path, names: Sequence[str]) -> dict[str, list[str]]:
  """Returns the names of each split's videos, from `splits.csv` if it exists.

  Without the file, the last tenth of the videos in the order of their names, but at least one, is
  for validation, and all others are for training.

  Args:
    path: the file.
    names: the names of all videos, in order.

  Raises:
    UserError: the file does not name each video once, with one of the splits; or there are no file
      and fewer than two videos.
  """
  if not path.exists():
    if len(names) < 2:
      raise UserError(
        f"{path.parent} has only one video, but one is needed for training and another one for"
        f" validation. Add videos, or name the split of the video in {path.name}."
      )
    last = max(1, len(names) // 10)
    return {"train": [*names[:-last]], "validation": [*names[-last:]]}
  named: dict[str, str] = {}
  for where, (name, split) in _rows(path, ("video", "split")):
    _check_known(where, name, names)
    if split not in SPLITS:
      raise UserError(f"{where}: split {split!r} is unknown; use one of {', '.join(SPLITS)}.")
    if name in named:
      raise UserError(f"{where}: video {name!r} is named a second time; remove one of the lines.")
    named[name] = split
  missing = [name for name in names if name not in named]
  if missing:
    raise UserError(f"{path} does not name video {missing[0]!r}; add a line with its split.")
  splits = {split: [name for name in names if named[name] == split] for split in SPLITS}
  return {split: of_split for split, of_split in splits.items() if of_split}


def _names_frames(path: pathlib.Path) -> bool:
  """Returns whether a table of gaze has the column `frame`, instead of `time`."""
  heading = _heading(path)
  if ("time" in heading) == ("frame" in heading):
    raise UserError(
      f"{path}, line 1: the columns are {', '.join(heading)}; exactly one of them must be time (in"
      f" seconds) or frame (from 0 on).{_separator(heading)}"
    )
  return "frame" in heading


def _separator(heading: Sequence[str]) -> str:
  """Says that columns must be separated by commas, if another separator is in the heading."""
  for character, name in ((";", "semicolons"), ("\t", "tabs")):
    if len(heading) == 1 and character in heading[0]:
      return f" Separate columns by commas, not by {name}, and write decimal points."
  return ""


def _heading(path: pathlib.Path) -> list[str]:
  """Reads the titles of a table's columns."""
  if not path.is_file():
    raise UserError(f"{path} is missing; write it as a CSV file.")
  with text.opened(path) as file:
    return [title.strip().lower() for title in next(csv.reader(file), [])]


def _rows(path: pathlib.Path, columns: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
  """Yields the place of each line of a table, for errors, and the line's fields in `columns`."""
  heading = _heading(path)
  lacking = [title for title in columns if title not in heading]
  if lacking:
    raise UserError(
      f"{path}, line 1: column {lacking[0]} is missing, the columns are {', '.join(heading)}."
      f" Separate columns by commas, and name {', '.join(columns)} in the first line."
    )
  places = [heading.index(title) for title in columns]
  with text.opened(path) as file:
    lines = csv.reader(file)
    next(lines)
    for fields in lines:
      where = f"{path}, line {lines.line_num}"
      if not fields:
        continue
      if len(fields) != len(heading):
        raise UserError(
          f"{where}: there are {len(fields)} fields, but line 1 names {len(heading)} columns."
          + " Write decimal points, not commas." * (len(fields) > len(heading))
        )
      yield where, [fields[place].strip() for place in places]


def _check_known(where: str, name: str, names: Collection[str]) -> None:
  if name not in names:
    raise UserError(
      f"{where}: there is no video {name!r} in videos/; write the file's name without its suffix,"
      " or remove the line."
    )


def _number(where: str, title: str, field: str) -> float:
  """Parses a number; an empty field is NaN."""
  try:
    number = float(field or "nan")
  except ValueError:
    number = math.inf
  if math.isinf(number):
    point = "; write a decimal point, not a comma" * ("," in field)
    raise UserError(f"{where}: {title} is {field!r}, which is not a number{point}.")
  return number


def _check_places(where: str, points: np.ndarray, info: VideoInfo) -> None:
  """Raises UserError unless points [n, 2] can be pixels of the video."""
  inside = ((points >= 0) & (points < (info.width, info.height))).all(axis=1)
  if len(points) > 1 and inside.all() and points.max() <= 1:
    raise UserError(
      f"{where}: x and y are all between 0 and 1, but they must be in pixels. Multiply x by the"
      f" video's width, {info.width}, and y by its height, {info.height}."
    )
  if gaze.exchanged(points, (info.height, info.width)):
    raise UserError(
      f"{where}: x and y look exchanged, because more samples would lie in the frames of"
      f" {info.width} x {info.height} pixels then. Write x before y under these headings."
    )
  if 2 * inside.sum() < len(points):
    (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
    raise UserError(
      f"{where}: only {inside.sum()} of {len(points)} samples lie in its frames of {info.width} x"
      f" {info.height} pixels: x is from {left:g} to {right:g}, y from {top:g} to {bottom:g}. Write"
      " x and y in pixels of the video, from its upper left corner."
    )


def _check_times(where: str, times: np.ndarray, video: Video) -> None:
  """Raises UserError unless the times can be seconds from the start of the video."""
  # If the frame rate varies, the stated one may be that of the quickest part.
  seconds = max(float(video.frames / video.info.fps), video.info.duration or 0)
  during = (times >= 0) & (times < seconds)
  if 2 * during.sum() < len(times):
    raise UserError(
      f"{where}: only {during.sum()} of {len(times)} samples lie in its {seconds:.2f} seconds: the"
      f" time is from {times.min():g} to {times.max():g}. Write the time in seconds from the start"
      " of the video."
    )
