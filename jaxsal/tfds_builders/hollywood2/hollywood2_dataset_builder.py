"""TFDS builder of Hollywood-2: `jaxsal prepare hollywood2 --from=DOWNLOADED --data-dir=DATA`."""

from jaxsal.tfds_builders import video_builder
from jaxsal.tfds_builders.video_builder import Register


class Builder(video_builder.FolderBuilder):
  """Builds Hollywood-2 with eye tracking (Mathe and Sminchisescu, PAMI 2015).

  The files are those that DHF1K's authors distribute:

      training/actioncliptrain00001_1/images/actioncliptrain00001_00001.png
                                     /maps/actioncliptrain00001_00001.png
                                     /fixation/actioncliptrain00001_00001.png
                                     (or fixation/maps/actioncliptrain00001_00001.mat)
      testing/actioncliptest00001_1/...

  Each folder holds one shot, which is stored as a video. File numbers begin anywhere. Shots are
  short: 1613 of the 3558 shots for testing have fewer than 32 frames.
  """

  MANUAL_DOWNLOAD_INSTRUCTIONS = """
  Fetch Hollywood-2 from the authors of DHF1K, github.com/wenguanwang/DHF1K, and unpack it into one
  folder, with `training/` and `testing/` in it.
  """
  HOMEPAGE = "https://github.com/wenguanwang/DHF1K"
  DESCRIPTION = "Shots of films, watched by 19 observers, most of whom had an action to recognise."
  CITATION = (
    "S. Mathe, C. Sminchisescu. Actions in the Eye: Dynamic Gaze Datasets and Learnt Saliency"
    " Models for Visual Recognition. PAMI 2015."
  )
  # The videos are shots, cut from 747 and 884 longer videos.
  REGISTER = {  # noqa: RUF012
    "train": Register(2699, 192_661),
    "test": Register(3558, 244_860),
  }
  # The files do not tell the frame rate; films have 24 or 25 frames per second.
  FPS = 25.0
