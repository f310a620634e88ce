"""TFDS builder of ETMD: `jaxsal prepare etmd --from=DOWNLOADED --data-dir=DATA`."""

from jaxsal.tfds_builders import stavis
from jaxsal.tfds_builders.video_builder import Register


class Builder(stavis.StavisBuilder):
  """Builds ETMD from STAViS's authors' files: splits `train_1`, `test_1`, .. `test_3`."""

  DATABASE = "ETMD_av"
  HOMEPAGE = "http://cvsp.cs.ntua.gr/research/stavis"
  DESCRIPTION = "12 clips of six Hollywood films."
  CITATION = (
    "P. Koutras, P. Maragos. A Perceptually Based Spatio-Temporal Computational Framework for"
    " Visual Saliency Estimation. Signal Processing: Image Communication 38, 2015."
  )
  REGISTER = {stavis.FULL: Register(12, None)}  # noqa: RUF012 (videos of the fold lists)
  LISTS = {  # noqa: RUF012 (videos of the first fold lists)
    "train_1": Register(8, None),
    "test_1": Register(4, None),
  }
