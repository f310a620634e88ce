"""TFDS builder of DIEM: `jaxsal prepare diem --from=DOWNLOADED --data-dir=DATA`."""

import pathlib

from jaxsal.tfds_builders import frame_lists, records, stavis
from jaxsal.tfds_builders.annotations import Recording
from jaxsal.tfds_builders.video_builder import Register


class Builder(stavis.StavisBuilder):
  """DIEM in the distribution of STAViS: splits `train` and `test`.

  `train_1`, `test_1`, .. `test_3` are the same, for the folds of all six sets together.

  And `meta`, the frames of DIEM-Meta, if the folder has fold_lists/DIEM_meta.csv, in the format of
  `tfds_builders.frame_lists`, with the names of the videos and the frames of this distribution.
  """

  DATABASE = "DIEM"
  FOLDS = ("train", "test")
  HOMEPAGE = "http://cvsp.cs.ntua.gr/research/stavis"
  DESCRIPTION = (
    "81 clips of advertisements, documentaries, trailers, music videos, news and sports."
  )
  CITATION = (
    "P. K. Mital, T. J. Smith, R. L. Hill, J. M. Henderson. Clustering of Gaze During Dynamic Scene"
    " Viewing is Predicted by Motion. Cognitive Computation 3(1), 2011."
  )
  REGISTER = {stavis.FULL: Register(81, None)}  # noqa: RUF012 (videos of the fold lists)
  LISTS = {  # noqa: RUF012 (AViNet's paper, section 4.1)
    fold: Register(64 if fold.startswith("train") else 17, None) for fold in (*FOLDS, *stavis.FOLDS)
  }

  def _lists(
    self, folder: pathlib.Path, found: dict[str, list[Recording]], problems: list[str]
  ) -> dict[str, records.Lists]:
    lists = super()._lists(folder, found, problems)
    folds = lists[stavis.FULL]
    folds |= {fold: folds[fold.partition("_")[0]] for fold in stavis.FOLDS}
    path = folder / "fold_lists" / "DIEM_meta.csv"
    if path.exists():
      folds["meta"] = frame_lists.read(path, found[stavis.FULL], problems)
    return lists
