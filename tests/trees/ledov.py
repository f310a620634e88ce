"""LEDOV's folder: one sub-folder per video, and the lists of the splits."""

import clips
import numpy as np
import scipy.io

from trees import annotated

SPLITS = {"trainlist": {"animal_bat01": 6, "human_drum01": 4}, "vaildlist": {"animal_bird04": 5}}
SPLITS["testlist"] = {"animal_bear04": 7}
FPS = 25


def write(folder, splits=SPLITS, size=(120, 160), *, meta=None):
  """Writes videos with the fixations of two subjects.

  Args:
    folder: to make.
    splits: namelist.mat's name of a split -> name of the video -> number of its frames.
    size: height and width.
    meta: name of a file of listed frames -> its rows (video, frame, whether it is in the list).
  """
  names = sorted(name for videos in splits.values() for name in videos)
  for videos in splits.values():
    for name, frames in videos.items():
      (folder / name).mkdir(parents=True)
      images = annotated.images(frames, size, seed=1)
      clips.write_clip(folder / name / f"{name}.mp4", images, fps=FPS)
      write_data(folder / name / "Data.mat", frames, size, fixations(frames, size))
  scipy.io.savemat(
    folder / "VideoNameList.mat", {"VideoNameList": np.array(names, object)[:, None]}
  )
  numbers = {
    title: np.array([[names.index(name) + 1] for name in videos])
    for title, videos in splits.items()
  }
  scipy.io.savemat(folder / "namelist.mat", numbers)
  for file, rows in (meta or {}).items():
    lines = ["video,frame,mask", *(f"{name},{frame},{mask}" for name, frame, mask in rows)]
    (folder / file).write_text("\n".join(lines) + "\n")
  return folder


def write_data(path, frames, size, fixdata):
  data = {
    "VideoName": path.parent.name,
    "VideoFrameRate": float(FPS),
    "VideoFrames": frames,
    "VideoSize": [size[1], size[0]],
    "fixdata": fixdata,
  }
  scipy.io.savemat(path, {"Data": data})


def fixations(frames, size):
  """Returns fixdata of two subjects, who begin at the mark in the centre; the second stays there.

  The first looks at (21, 31), counted from 1, from the middle of frame 1 to the end of frame 2, and
  then outside the video.
  """
  height, width = size
  middle = [width / 2, height / 2]
  seconds = 1000 * frames / FPS
  return np.array(
    [
      [1, 0, 60, *middle],
      [1, 60, 60, 21, 31],
      [1, 130, 40, width + 30, 40],
      [2, 0, seconds, *middle],
    ]
  )
