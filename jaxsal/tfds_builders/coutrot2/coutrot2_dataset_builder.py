"""TFDS builder of Coutrot 2: `jaxsal prepare coutrot2 --from=DOWNLOADED --data-dir=DATA`."""

from jaxsal.tfds_builders import stavis
from jaxsal.tfds_builders.video_builder import Register


class Builder(stavis.StavisBuilder):
  """Builds Coutrot 2 from STAViS's authors' files: splits `train_1`, `test_1`, .. `test_3`."""

  DATABASE = "Coutrot_db2"
  HOMEPAGE = "http://cvsp.cs.ntua.gr/research/stavis"
  DESCRIPTION = "15 clips of four persons in a meeting, watched by 40 persons."
  CITATION = (
    "A. Coutrot, N. Guyader. Multimodal Saliency Models for Videos. From Human Attention to"
    " Computational Attention, Springer, 2016."
  )
  REGISTER = {stavis.FULL: Register(15, None)}  # noqa: RUF012 (videos of the fold lists)
  LISTS = {  # noqa: RUF012 (videos of the first fold lists)
    "train_1": Register(10, None),
    "test_1": Register(5, None),
  }
