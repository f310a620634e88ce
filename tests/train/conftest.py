"""The demo set for tests, made once."""

import pytest

from jaxsal.data import sources


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
  folder = tmp_path_factory.mktemp("data")
  sources.prepare("demo/tiny", folder)
  return folder
