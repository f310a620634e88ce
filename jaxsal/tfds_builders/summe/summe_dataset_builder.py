"""TFDS builder of SumMe: `jaxsal prepare summe --from=DOWNLOADED --data-dir=DATA`."""

from jaxsal.tfds_builders import stavis
from jaxsal.tfds_builders.video_builder import Register


class Builder(stavis.StavisBuilder):
  """Builds SumMe from STAViS's authors' files: splits `train_1`, `test_1`, .. `test_3`."""

  DATABASE = "SumMe"
  HOMEPAGE = "http://cvsp.cs.ntua.gr/research/stavis"
  DESCRIPTION = "25 videos, mostly made by amateurs: holidays, events, sports."
  CITATION = (
    "M. Gygli, H. Grabner, H. Riemenschneider, L. Van Gool. Creating Summaries from User Videos."
    " ECCV 2014. Eye tracking: A. Tsiami, P. Koutras, P. Maragos. STAViS. CVPR 2020."
  )
  REGISTER = {stavis.FULL: Register(25, None)}  # noqa: RUF012 (videos of the fold lists)
  LISTS = {  # noqa: RUF012 (videos of the first fold lists)
    "train_1": Register(17, None),
    "test_1": Register(8, None),
  }
