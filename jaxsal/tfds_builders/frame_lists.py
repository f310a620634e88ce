"""Lists of frames that a benchmark scores, read from a file that the user provides.

The format is that in which DIEM-Meta's and LEDOV-Meta's authors publish theirs (Tangemann et al.,
Measuring the Importance of Temporal Features in Video Saliency, ECCV 2020;
github.com/mtangemann/deepgazemr, folder `meta-benchmark`): a heading, and a line per frame,

    video,frame,mask
    animal_bear04,47,False
    animal_bear04,48,True

with frames counted from 0. Those whose mask is True are in the list.
"""

import csv
import pathlib
from collections.abc import Iterable

from jaxsal.tfds_builders.annotations import Recording

_HEADING = ["video", "frame", "mask"]


def read(
  path: pathlib.Path, recordings: Iterable[Recording], problems: list[str]
) -> dict[str, list[int]]:
  """The frames that are in the list, ascending, by the name of their video.

  Args:
    path: of the list.
    recordings: the videos that it may name.
    problems: gets a line for a file of another format, for each video that is unknown, and for each
      that has fewer frames than the list says; these videos are left out.
  """
  lengths = {recording.name: recording.frames for recording in recordings}
  listed: dict[str, set[int]] = {}
  with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
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
  selection = {}
  for name, frames in listed.items():
    if name not in lengths:
      problems.append(f"{path} names the video {name}, which is not there")
    elif frames and not 0 <= min(frames) <= max(frames) < lengths[name]:
      outside = min(frames) if min(frames) < 0 else max(frames)
      problems.append(f"{path} names frame {outside} of {name}, which has 0 to {lengths[name] - 1}")
    elif frames:
      selection[name] = sorted(frames)
  return selection
