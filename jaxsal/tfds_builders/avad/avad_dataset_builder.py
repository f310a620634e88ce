"""TFDS builder of AVAD: `jaxsal prepare avad --from=DOWNLOADED --data-dir=DATA`."""

from jaxsal.tfds_builders import stavis
from jaxsal.tfds_builders.video_builder import Register


class Builder(stavis.StavisBuilder):
  """Builds AVAD from STAViS's authors' files: splits `train_1`, `test_1`, .. `test_3`."""

  DATABASE = "AVAD"
  HOMEPAGE = "http://cvsp.cs.ntua.gr/research/stavis"
  DESCRIPTION = (
    "45 clips of 5 to 10 seconds with sounds and their sources: speech, music, sports, animals."
  )
  CITATION = (
    "X. Min, G. Zhai, K. Gu, X. Yang. Fixation Prediction through Multimodal Analysis. ACM TOMM"
    " 13(1), 2017."
  )
  REGISTER = {stavis.FULL: Register(45, None)}  # noqa: RUF012 (videos of the fold lists)
  LISTS = {  # noqa: RUF012 (videos of the first fold lists)
    "train_1": Register(30, None),
    "test_1": Register(15, None),
  }
