"""TFDS builder of UCF-Sports: `jaxsal prepare ucf --from=DOWNLOADED --data-dir=DATA`."""

from jaxsal.tfds_builders import video_builder
from jaxsal.tfds_builders.video_builder import Register


class Builder(video_builder.FolderBuilder):
  """UCF-Sports with eye tracking (Mathe and Sminchisescu, PAMI 2015), in DHF1K's authors' copy.

      training/Diving-Side-001/images/Diving-Side_001_001.png
                              /maps/Diving-Side_001_001.png
                              /fixation/Diving-Side_001_001.png, or fixation/maps/*.mat
      testing/...

  Sizes vary, from 404 x 720 to 360 x 480.
  """

  MANUAL_DOWNLOAD_INSTRUCTIONS = """
  Fetch UCF-Sports as the authors of DHF1K distribute it, github.com/wenguanwang/DHF1K, and
  unpack it into one folder, with `training/` and `testing/` in it.
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
  FPS = 10.0  # as the set's own page says
