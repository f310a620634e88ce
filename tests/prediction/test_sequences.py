"""Prediction with a recurrent network: interleaved sequences, each with a state of its own."""

import contextlib
import dataclasses
import itertools

import clips
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from movement import Movement

from jaxsal import models
from jaxsal.errors import UserError
from jaxsal.models import SaliencyConfig, SaliencyModel
from jaxsal.prediction import Predictor, predict, predict_file

SIZE = (32, 64)


@pytest.fixture(scope="module")
def model():
  """A tiny UNISAL."""
  return models.create("unisal", "tiny")


class Memory(SaliencyModel):
  """Map = mean over the frames of a sequence so far; the state is their sum and their number.

  It has no convolution, so that its maps are exact and compiling them takes no time.
  """

  recurrent = True
  stride = 3

  def __init__(self):
    self.config = SaliencyConfig(size=SIZE, mean=(0, 0, 0), std=(1, 1, 1))
    self.factor = nnx.Param(jnp.ones(()))

  def initial_state(self, sequences, size):
    return jnp.zeros((sequences, 2, *size))

  def densities(self, frames, state=None):
    sums = state[:, :1] + jnp.cumsum(frames.mean(-1), axis=1)
    counts = state[:, 1:] + jnp.arange(1, frames.shape[1] + 1, dtype=jnp.float32)[:, None, None]
    state = jnp.stack([sums[:, -1], counts[:, -1]], axis=1)
    return jnp.log(self.factor[...] * sums / counts), state


def video(count, seed=0):
  return np.random.default_rng(seed).integers(1, 256, (count, *SIZE, 3), np.uint8)


def remembered(frames, stride):
  """Returns the maps of `Memory` for a video, computed with NumPy."""
  means = [np.mean(frames[i % stride : i + 1 : stride], axis=(0, -1)) for i in range(len(frames))]
  return [mean / mean.max() for mean in means]


@pytest.mark.parametrize("stride", [1, 3])
def test_every_sequence_is_as_if_it_were_alone(model, stride):
  frames = video(11)
  maps = np.stack(list(Predictor(model, stride=stride).maps(frames)))
  model.eval()
  densities = nnx.jit(lambda model, frames: model.densities(model.normalise(frames))[0])
  for first in range(stride):
    alone = np.asarray(densities(model, frames[None, first::stride])[0])
    expected = np.exp(alone - alone.max((1, 2), keepdims=True))
    np.testing.assert_allclose(maps[first::stride], expected, atol=1e-4)


def test_maps_are_those_of_the_sequence_so_far():
  frames = video(30)
  for stride in (None, 1, 2, 4):
    maps = list(Predictor(Memory(), stride=stride).maps(frames))
    np.testing.assert_allclose(maps, remembered(frames, stride or Memory.stride), atol=1e-6)


@pytest.mark.parametrize("batch_size", [1, 8, 9, 40])
def test_the_size_of_a_batch_changes_nothing(batch_size):
  predictor = Predictor(Memory(), batch_size=batch_size)
  assert predictor.batch_size >= batch_size and predictor.batch_size % 3 == 0
  frames = video(30)
  np.testing.assert_allclose(list(predictor.maps(frames)), remembered(frames, 3), atol=1e-6)


def test_videos_of_any_length():
  predictor, frames = Predictor(Memory(), batch_size=8), video(25)
  expected = remembered(frames, 3)
  for count in range(26):
    maps = list(predictor.maps(iter(frames[:count])))
    assert len(maps) == count
    if count:
      np.testing.assert_allclose(maps, expected[:count], atol=1e-6)


def test_frames_without_a_map_are_seen():
  predictor, frames = Predictor(Memory(), batch_size=8), video(25)
  expected = remembered(frames, 3)
  for targets in ({0}, {24}, {3, 9, 10, 23}, set()):
    maps = list(predictor.maps(frames, targets))
    assert len(maps) == len(targets)
    for number, found in zip(sorted(targets), maps):
      np.testing.assert_allclose(found, expected[number], atol=1e-6)


def test_every_video_begins_without_a_past():
  predictor = Predictor(Memory(), batch_size=8)
  first, second = video(20), video(20, seed=1)
  for frames in (first, second, first):
    np.testing.assert_allclose(list(predictor.maps(frames)), remembered(frames, 3), atol=1e-6)
  with contextlib.closing(predictor.maps(first)) as stopped:
    assert len(list(itertools.islice(stopped, 5))) == 5
  # Two videos at a time do not share a state either.
  pairs = list(zip(predictor.maps(first), predictor.maps(second), strict=True))
  for found, frames in zip(zip(*pairs), (first, second)):
    np.testing.assert_allclose(found, remembered(frames, 3), atol=1e-6)


def test_networks_of_clips_have_no_stride():
  with pytest.raises(UserError, match=r"stride 2: Movement predicts clips of frames in a row"):
    Predictor(Movement(), stride=2)


@pytest.mark.parametrize("stride", [0, -3])
def test_strides_are_positive(stride):
  with pytest.raises(UserError, match=rf"stride {stride}: must be at least 1"):
    Predictor(Memory(), stride=stride)


class Half(Memory):
  """A network that computes at half the size of the video."""

  def __init__(self, size=SIZE):
    super().__init__()
    self.config = dataclasses.replace(self.config, size=size)

  def for_size(self, height, width):
    return Half((height // 2, width // 2))


def test_the_network_takes_the_size_of_the_video(tmp_path):
  source = clips.write_clip(tmp_path / "clip.mp4", clips.moving_square(6, 36, 64))
  predictor = Predictor(Half(), batch_size=8)
  assert predictor.size == SIZE and predictor.for_size(64, 128) is predictor
  assert predictor.for_size(36, 64).size == (18, 32)
  assert predictor.for_size(36, 64).options == predictor.options
  report = predict_file(predictor, source, tmp_path / "out", maps="npz")
  maps = np.load(tmp_path / "out" / "maps.npz")["maps"]
  assert report.frames == 6 and maps.shape == (6, 18, 32)
  assert predict(Half(), source).shape == (6, 36, 64)
