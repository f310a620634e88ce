"""TFDS builder of UCF-Sports: `jaxsal prepare ucf --from=DOWNLOADED --data-dir=DATA`."""

from jaxsal.tfds_builders import video_builder
from jaxsal.tfds_builders.video_builder import Register


class Builder(video_builder.FolderBuilder):
  """Builds UCF-Sports with eye tracking (Mathe and Sminchisescu, PAMI 2015).

  The files are those that DHF1K's authors distribute:

      training/Diving-Side-001/images/Diving-Side_001_001.png
                              /maps/Diving-Side_001_001.png
                              /fixation/Diving-Side_001_001.png, or fixation/maps/*.mat
      testing/...

  Frames have several sizes, from 404 x 720 to 360 x 480 (height x width).
  """

  MANUAL_DOWNLOAD_INSTRUCTIONS = """
  Fetch UCF-Sports from the authors of DHF1K, github.com/wenguanwang/DHF1K, and unpack it into one
  folder, with `training/` and `testing/` in it.
  """
  HOMEPAGE = "https://github.com/wenguanwang/DHF1K"
  DESCRIPTION = "150 videos of nine kinds of sport, watched by 19 observers."
  CITATION = (
    "S. Mathe, C. Sminchisescu. Actions in the Eye: Dynamic Gaze Datasets and Learnt Saliency"
    " Models for Visual Recognition. PAMI 2015."
  )
  REGISTER = {  # noqa: RUF012
    "train": Register(103, 6501),
    "test": Register(47, 2929),
  }
  FPS = 10.0  # according to the set's page
