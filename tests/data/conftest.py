"""The small prepared data set, built once."""

import pytest
from clip_set import build


@pytest.fixture(scope="session")
def clips_dir(tmp_path_factory):
  directory = tmp_path_factory.mktemp("prepared")
  build(directory)
  return directory
