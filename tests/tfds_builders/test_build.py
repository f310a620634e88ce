"""The builders' names and registers, and their use of TFDS."""

import pathlib
import re

import pytest

from jaxsal import tfds_builders
from jaxsal.data.catalogue import DATASETS
from jaxsal.errors import UserError
from jaxsal.tfds_builders.build import count_frames, count_videos, known_datasets

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


def test_every_builder_is_in_the_catalogue():
  assert list(DATASETS) == known_datasets()


# Modules of TFDS that are not public, and attributes that begin with an underscore, except for the
# methods that TFDS's documentation asks builders to implement.
PRIVATE = re.compile(
  r"(from|import) tensorflow_datasets\.core"
  r"|(builder|info|tfds(\.\w+)*)\._\w+"
  r"|_log_download|_original_state|_data_dir\b|_generate_splits"
)


def test_one_module_touches_private_parts_of_tfds():
  package = pathlib.Path(tfds_builders.__file__).parents[1]
  files = [*(package / "data").rglob("*.py"), *(package / "tfds_builders").rglob("*.py")]
  touching = {path.name for path in files if PRIVATE.search(path.read_text())}
  assert len(files) > 40 and touching == {"shards.py"}
