"""TFDS builder of DHF1K: `jaxsal prepare dhf1k --from=DOWNLOADED --data-dir=DATA`."""

import pathlib

from jaxsal.data import video
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
    videos = {path.stem: path for path in annotations.files(folder / "video", ".avi")}
    gaze: dict[str, list[pathlib.Path]] = {}
    for path in sorted(folder.glob("exportdata_train/P*/P[0-9]*_Trail*.txt")):
      gaze.setdefault(path.stem.rpartition("Trail")[-1], []).append(path)
    found: dict[str, list[Recording]] = {}
    for split, (first, last) in _SPLITS.items():
      absent = []
      for number in range(first, last + 1):
        name = f"{number:04}"
        annotation = folder / "annotation" / name
        extracted = (annotation / "images", folder / "video" / name)
        images = videos.get(f"{number:03}") or next(filter(pathlib.Path.is_dir, extracted), None)
        if images is None:
          absent.append(number)
          continue
        if split in self.ANNOTATED:
          paths = tuple(gaze.get(name, ()))
          recording = annotations.find(name, annotation, images, _FPS, problems, paths)
        else:
          recording = _unannotated(name, images, problems)
        if recording is not None:
          found.setdefault(split, []).append(recording)
      if absent:
        problems.append(f"{split}: no frames of {video_builder.missing(absent)}")
    return found


def _unannotated(name: str, images: pathlib.Path, problems: list[str]) -> Recording | None:
  """Finds a video without annotation; returns None if its frames cannot be counted."""
  try:
    if images.is_dir():
      frames = len(annotations.files(images, ".png", ".jpg"))
    else:
      frames = video.count_frames(images)
  except UserError as error:
    problems.append(f"{name}: {error}")
    return None
  return Recording(name=name, frames=frames, images=images, maps=None, fixations=None, fps=_FPS)
