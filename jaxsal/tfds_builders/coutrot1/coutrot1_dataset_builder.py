"""TFDS builder of Coutrot 1: `jaxsal prepare coutrot1 --from=DOWNLOADED --data-dir=DATA`."""

from jaxsal.tfds_builders import stavis
from jaxsal.tfds_builders.video_builder import Register


class Builder(stavis.StavisBuilder):
  """Builds Coutrot 1 from STAViS's authors' files: splits `train_1`, `test_1`, .. `test_3`."""

  DATABASE = "Coutrot_db1"
  HOMEPAGE = "http://cvsp.cs.ntua.gr/research/stavis"
  DESCRIPTION = "60 clips of one or several moving objects, landscapes and faces."
  CITATION = (
    "A. Coutrot, N. Guyader. How Saliency, Faces, and Sound Influence Gaze in Dynamic Social"
    " Scenes. Journal of Vision 14(8), 2014."
  )
  REGISTER = {stavis.FULL: Register(60, None)}  # noqa: RUF012 (videos of the fold lists)
  LISTS = {  # noqa: RUF012 (videos of the first fold lists)
    "train_1": Register(40, None),
    "test_1": Register(20, None),
  }
