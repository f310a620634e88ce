"""A recurrent network as the system that is scored: its domain, its stride, frames of a subset."""

import copy

import numpy as np
import pytest
from movement import Movement

from jaxsal import models
from jaxsal.data import sources, transforms
from jaxsal.errors import UserError
from jaxsal.evaluation.systems import ModelMaps
from jaxsal.prediction import PredictOptions


@pytest.fixture(scope="module")
def split(data_dir):
  return sources.open_split("demo/tiny", "validation", data_dir)


@pytest.fixture(scope="module")
def model():
  return models.create("unisal", "tiny")


def network_for(model, split, dataset):
  split = copy.copy(split)
  split.dataset = dataset
  return ModelMaps(model, split, PredictOptions()).signature["configuration"]


def test_the_domain_is_that_of_the_data_set(model, split):
  assert network_for(model, split, "demo/tiny/1.1.0") == str(model.config)
  scored = {
    dataset: network_for(model, split, f"{dataset}/1.0.0")
    for dataset in ("dhf1k", "hollywood2", "ucf", "salicon")
  }
  for dataset, configuration in scored.items():
    assert f"domain='{dataset}'" in configuration
    assert f"static={dataset == 'salicon'}" in configuration
  assert "size=(224, 416)" in scored["hollywood2"]


def test_strides_make_other_runs(model, split):
  strides = [
    ModelMaps(network, split, PredictOptions(stride=stride)).signature["stride"]
    for network, stride in ((model, None), (model, 2), (Movement(), None))
  ]
  assert strides == [5, 2, None]
  with pytest.raises(UserError, match=r"stride 2: Movement predicts clips"):
    ModelMaps(Movement(), split, PredictOptions(stride=2))


def test_maps_of_some_frames_are_those_among_all(model, split, monkeypatch):
  resized = []
  resize = transforms.resize
  monkeypatch.setattr(
    transforms, "resize", lambda *given: resized.append(given[2]) or resize(*given)
  )
  maps = ModelMaps(model, split, PredictOptions(stride=2))
  maps.compile()
  count = split.videos[1].frames
  whole = list(maps.of_video(1, range(count)))
  assert len(whole) == count and whole[0].shape == (32, 64)
  some = [3, 4, count - 1]
  np.testing.assert_array_equal(list(maps.of_video(1, some)), [whole[i] for i in some])
  assert set(resized) == {"lanczos"}
