"""Reads lists of the frames that a benchmark scores.

The format is that of the lists of DIEM-Meta and LEDOV-Meta (Tangemann et al., Measuring the
Importance of Temporal Features in Video Saliency, ECCV 2020; github.com/mtangemann/deepgazemr,
folder `meta-benchmark`), a heading and one line per frame:

    video,frame,mask
    animal_bear04,47,False
    animal_bear04,48,True

Frames are counted from 0. A frame is in the list if its mask is True.
"""

import csv
import pathlib
from collections.abc import Iterable

from jaxsal.errors import UserError
from jaxsal.tfds_builders import text
from jaxsal.tfds_builders.annotations import Recording

_HEADING = ["video", "frame", "mask"]


def read(
  path: pathlib.Path, recordings: Iterable[Recording], problems: list[str]
) -> dict[str, list[int] | None]:
  """Reads the frames of a list: for each video, their numbers in ascending order.

  Args:
    path: the list's file.
    recordings: the videos that the list may name.
    problems: receives a line if the file has another format, and for each listed video that is
      unknown or lacks a listed frame. These videos are left out.
  """
  lengths = {recording.name: recording.frames for recording in recordings}
  try:
    listed = _read_lines(path, problems)
  except UserError as error:
    problems.append(str(error))
    return {}
  selection: dict[str, list[int] | None] = {}
  for name, frames in listed.items():
    if name not in lengths:
      problems.append(f"{path} names the video {name}, which is not there")
    elif frames and not 0 <= min(frames) <= max(frames) < lengths[name]:
      outside = min(frames) if min(frames) < 0 else max(frames)
      problems.append(f"{path} names frame {outside} of {name}, which has 0 to {lengths[name] - 1}")
    elif frames:
      selection[name] = sorted(frames)
  return selection


def _read_lines(path: pathlib.Path, problems: list[str]) -> dict[str, set[int]]:
  """Returns the listed frames of each video; notes a line of another format and returns none."""
  listed: dict[str, set[int]] = {}
  with text.opened(path) as file:
    lines = csv.reader(file)
    if next(lines, None) != _HEADING:
      problems.append(f"{path}: the first line must be {','.join(_HEADING)}")
      return {}
    for line in filter(None, lines):
      try:
        name, frame, mask = line
        number, counts = int(frame), {"True": True, "False": False}[mask]
      except (ValueError, KeyError):
        problems.append(
          f"{path}, line {lines.line_num}: {','.join(line)!r} is not a video, a frame's number from"
          " 0 on, and True or False"
        )
        return {}
      frames = listed.setdefault(name, set())
      if counts:
        frames.add(number)
  return listed
