"""TFDS builder of DIEM: `jaxsal prepare diem --from=DOWNLOADED --data-dir=DATA`."""

import pathlib

from jaxsal.tfds_builders import frame_lists, records, stavis
from jaxsal.tfds_builders.annotations import Recording
from jaxsal.tfds_builders.video_builder import Register


class Builder(stavis.StavisBuilder):
  """Builds DIEM from STAViS's authors' files: splits `train` and `test`.

  `train_1`, `train_2` and `train_3` equal `train`, and `test_1`, `test_2` and `test_3` equal
  `test`, so that the folds of all six sets open by the same names.

  If the folder has fold_lists/DIEM_meta.csv, in the format of `tfds_builders.frame_lists` and with
  the names of this distribution, its frames (DIEM-Meta) open as the split `meta`.
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
