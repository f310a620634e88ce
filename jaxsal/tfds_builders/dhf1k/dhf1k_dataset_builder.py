"""TFDS builder of DHF1K: `jaxsal prepare dhf1k --from=DOWNLOADED --data-dir=DATA`."""

import pathlib
from collections.abc import Iterable

from jaxsal.data import naming, video
from jaxsal.errors import UserError
from jaxsal.tfds_builders import annotations, video_builder
from jaxsal.tfds_builders.annotations import Recording
from jaxsal.tfds_builders.video_builder import Register

_FPS = 30.0
# The numbers of the first and the last video of each split.
_SPLITS = {"train": (1, 600), "validation": (601, 700), "test": (701, 1000)}


class Builder(video_builder.VideoBuilder):
  """Builds Dynamic Human Fixation 1K (Wang et al., CVPR 2018) from its authors' files.

      video/001.AVI                      1000 videos of 640 x 360 pixels, 30 frames a second
      annotation/0001/maps/0001.png      density
      annotation/0001/fixation/0001.png  fixations, binary; or fixation/maps/0001.mat, variable I
      exportdata_train/P001/P001_Trail0001.txt   raw gaze of observer 1 in video 1 (optional)

  Extracted frames may replace the videos, as annotation/0001/images/0001.png or
  video/0001/0001.png.
  """

  MANUAL_DOWNLOAD_INSTRUCTIONS = """
  Fetch DHF1K (CC BY 4.0) from its authors, github.com/wenguanwang/DHF1K, and unpack it into one
  folder, with `video/` and `annotation/` in it.
  """
  HOMEPAGE = "https://github.com/wenguanwang/DHF1K"
  DESCRIPTION = "1000 videos of everyday scenes, each watched freely by 17 observers."
  CITATION = (
    "W. Wang, J. Shen, F. Guo, M.-M. Cheng, A. Borji. Revisiting Video Saliency: A Large-scale"
    " Benchmark and a New Model. CVPR 2018."
  )
  REGISTER = {  # noqa: RUF012
    "train": Register(600, 346_140),
    "validation": Register(100, 60_273),
    "test": Register(300, 176_192),
  }
  ANNOTATED = ("train", "validation")
  GAZE = True

  def _recordings(self, folder: pathlib.Path, problems: list[str]) -> dict[str, list[Recording]]:
    videos, extracted, annotated = (
      _numbered(paths, problems)
      for paths in (
        naming.files(folder / "video", ".avi"),
        filter(pathlib.Path.is_dir, folder.glob("video/*")),
        filter(pathlib.Path.is_dir, folder.glob("annotation/*")),
      )
    )
    gaze: dict[str, list[pathlib.Path]] = {}
    for path in naming.in_order(folder.glob("exportdata_train/P*/P[0-9]*_Trail*.txt")):
      gaze.setdefault(path.stem.rpartition("Trail")[-1].lstrip("0"), []).append(path)
    found: dict[str, list[Recording]] = {}
    for split, (first, last) in _SPLITS.items():
      absent = []
      for number in range(first, last + 1):
        name = f"{number:04}"
        annotation = annotated.get(number, folder / "annotation" / name)
        images = videos.get(number)
        if images is None:
          own = annotation / "images"
          images = own if own.is_dir() else extracted.get(number)
        if images is None:
          absent.append(number)
          continue
        if split in self.ANNOTATED:
          paths = tuple(gaze.get(str(number), ()))
          recording = annotations.find(name, annotation, images, _FPS, problems, paths)
        else:
          recording = _unannotated(name, images, problems)
        if recording is not None:
          found.setdefault(split, []).append(recording)
      if absent:
        problems.append(f"{split}: no frames of {video_builder.missing(absent)}")
    return found


def _numbered(paths: Iterable[pathlib.Path], problems: list[str]) -> dict[int, pathlib.Path]:
  """Returns the paths that are named by a number, by that number; notes a number that is double."""
  paths = naming.in_order(paths)
  if doubled := naming.doubled(paths):
    problems.append(doubled)
  return naming.by_number(paths)


def _unannotated(name: str, images: pathlib.Path, problems: list[str]) -> Recording | None:
  """Finds a video without annotation; returns None if its frames cannot be counted."""
  try:
    if images.is_dir():
      frames = len(naming.files(images, *annotations.IMAGES))
    else:
      frames = video.count_frames(images)
  except UserError as error:
    problems.append(f"{name}: {error}")
    return None
  return Recording(name=name, frames=frames, images=images, maps=None, fixations=None, fps=_FPS)
