"""What the builders know of complete data sets."""

import pytest

from jaxsal.errors import UserError
from jaxsal.tfds_builders.build import count_frames, count_videos

TRAINING = {
  "dhf1k": (600, 346_140),
  "hollywood2": (2699, 192_661),
  "ucf": (103, 6501),
  "salicon": (10_000, 10_000),
}
FIRST_FOLDS = {"avad": 30, "coutrot1": 40, "coutrot2": 10, "diem": 64, "etmd": 8, "summe": 17}


def test_sizes_of_training_sets():
  for name, size in TRAINING.items():
    assert (count_videos(name), count_frames(f"{name}/224x384")) == size
  assert (count_videos("ave"), count_videos("ledov")) == (92, 461)


@pytest.mark.parametrize("name", FIRST_FOLDS)
def test_first_folds_are_the_whole_set(name):
  assert count_videos(name, "train_1") == FIRST_FOLDS[name]
  folds = count_videos(name, "train_1") + count_videos(name, "test_1")
  assert folds == count_videos(name, "full")


def test_unknown_sizes():
  with pytest.raises(UserError, match=r"split 'train_2' of avad is not known.*: full, train_1"):
    count_videos("avad", "train_2")
  with pytest.raises(UserError, match=r"split 'train' of demo is not known.*: none"):
    count_videos("demo")
  with pytest.raises(UserError, match="'nothing' is unknown"):
    count_videos("nothing")
  with pytest.raises(UserError, match="frames in split 'train' of ave is not known"):
    count_frames("ave")
