"""TFDS builder of AVE: `jaxsal prepare ave --from=DOWNLOADED --data-dir=DATA`."""

import pathlib

from jaxsal.tfds_builders import stavis
from jaxsal.tfds_builders.annotations import Recording
from jaxsal.tfds_builders.stavis import Row
from jaxsal.tfds_builders.video_builder import Register

_CATEGORIES = ("nature", "social events", "miscellaneous")
# The databases of AVE's videos, and the fold lists that together name all videos of a database.
_FOLDS = {
  "DIEM": ("train", "test"),
  "Coutrot_db1": ("train_1", "test_1"),
  "Coutrot_db2": ("train_1", "test_1"),
}


class Builder(stavis.StavisBuilder):
  """Builds AVE (Tavakoli et al., arXiv:1905.10693) from the distribution by STAViS's authors.

  Three lists that you add to the fold lists, `AVE_list_train.txt`, `AVE_list_validation.txt` and
  `AVE_list_test.txt`, give the split and the category of each video. They have one line per video
  with its database, its name and its category:

      Coutrot_db1 clip12 social events

  This video is stored as Coutrot_db1_clip12, because both databases of Coutrot have a clip12.
  """

  MANUAL_DOWNLOAD_INSTRUCTIONS = (
    stavis.StavisBuilder.MANUAL_DOWNLOAD_INSTRUCTIONS
    + """
  Add the lists of AVE, `fold_lists/AVE_list_train.txt`, `AVE_list_validation.txt` and
  `AVE_list_test.txt`, with lines "DATABASE VIDEO CATEGORY", as in "Coutrot_db1 clip12 social
  events".
  """
  )
  HOMEPAGE = "https://arxiv.org/abs/1905.10693"
  DESCRIPTION = "150 videos of DIEM, Coutrot 1 and Coutrot 2: nature, social events, miscellaneous."
  CITATION = (
    "H. R. Tavakoli, A. Borji, E. Rahtu, J. Kannala. DAVE: A Deep Audio-Visual Embedding for"
    " Dynamic Saliency Prediction. arXiv:1905.10693, 2019."
  )
  REGISTER = {  # noqa: RUF012
    "train": Register(92, None),
    "validation": Register(29, None),
    "test": Register(29, None),
  }
  ANNOTATED = ("train", "validation", "test")
  FOLDS = ()

  def _recordings(self, folder: pathlib.Path, problems: list[str]) -> dict[str, list[Recording]]:
    rows: dict[tuple[str, str], Row] = {}
    for database, folds in _FOLDS.items():
      for fold in folds:
        listed = stavis.read_fold(folder, database, fold, problems)
        rows |= {(database, name): row for name, row in listed.items()}
    found: dict[str, list[Recording]] = {split: [] for split in self.REGISTER}
    categories = {}
    for split, recordings in found.items():
      path = folder / "fold_lists" / f"AVE_list_{split}.txt"
      for place, line in stavis.read_lines(path, problems):
        database, name, category = [*line.split(maxsplit=2), "", "", ""][:3]
        category = category.lower()
        if (database, name) not in rows or category not in _CATEGORIES:
          problems.append(
            f'{place}: {line!r} must be "DATABASE VIDEO CATEGORY", with a video in the fold lists'
            f" of {', '.join(_FOLDS)} and one of the categories {', '.join(_CATEGORIES)}"
          )
          continue
        title = f"{database}_{name}"
        row = rows[database, name]
        recording = stavis.find(folder, database, name, row, problems, title=title)
        if recording is not None:
          recordings.append(recording)
          categories[title] = category
    self.metadata["categories"] = categories
    return found
