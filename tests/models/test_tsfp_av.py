"""TSFP-Net with audio: it starts as the visual network, and sound changes its maps."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from stub_encoder import StubEncoder

import jaxsal
from jaxsal import convert, models
from jaxsal.errors import UserError

# Shapes of the tiny network's frames and sound, and of base3 and the sound's features.
SHAPES = ((2, 8, 32, 64, 3), (2, 17_640))
FEATURES = ((2, 2, 2, 4, 52), (2, 2, 64))


@functools.cache
def inputs():
  frames, sound = (jax.random.normal(jax.random.key(i), s) for i, s in enumerate(SHAPES))
  return frames, 256 * sound


def behind_stub(model):
  """Returns the network in eval mode, with an encoder that is cheap to compile."""
  model = nnx.clone(model)
  model.visual.encoder = StubEncoder()
  model.eval()
  return model


@pytest.fixture(scope="module")
def model():
  """Makes a network whose attention is not zero, as after training."""
  model = models.create("tsfp_av", "tiny")
  kernel = model.attention.kernel
  kernel.set_value(jax.random.normal(jax.random.key(2), kernel.shape))
  model.eval()
  return model


@nnx.jit
def both(model, frames, sound):
  """Returns the maps of the network, and those of its visual network."""
  return model(frames, sound), model.visual(frames)


def test_starts_as_the_visual_network(tmp_path):
  visual = models.create("tsfp", "tiny", size=(64, 64), rngs=nnx.Rngs(1))
  models.save(visual, tmp_path / "tsfp", {})
  fresh = models.create("tsfp_av", "tiny")
  models.copy_weights(tmp_path / "tsfp", fresh)
  arrays = models.arrays(fresh.visual)
  for name, value in models.arrays(visual).items():
    np.testing.assert_array_equal(arrays[name], value, err_msg=name)
  with_sound, visual_alone = both(behind_stub(fresh), *inputs())
  np.testing.assert_array_equal(with_sound, visual_alone)


def test_sound_matters_and_maps_stand_alone(model):
  model = behind_stub(model)
  frames, sound = inputs()
  maps, visual_alone = both(model, frames, sound)
  assert maps.shape == (2, 32, 64) and maps.dtype == jnp.float32
  assert 0 <= maps.min() < maps.max() <= 1
  assert np.abs(maps - visual_alone).max() > 1e-3
  muted, _ = both(model, frames, sound.at[1].set(0))
  np.testing.assert_array_equal(muted[0], maps[0])
  assert np.abs(muted[1] - maps[1]).max() > 1e-3


def test_attention_is_the_bilinear_form(model):
  """The attention at one position and step is the form, computed by NumPy."""
  rng = np.random.default_rng(0)
  video, audio = (rng.random(shape, np.float32) for shape in FEATURES)
  kernel = np.asarray(model.attention.kernel[...])[..., 0]
  attention = model.attention(jnp.asarray(video), jnp.asarray(audio))
  assert attention.shape == (2, 2, 2, 4, 1)
  score = video[1, 0, 1, 3] @ kernel @ audio[1].mean(axis=0) / np.sqrt(kernel.size)
  np.testing.assert_allclose(attention[1, 0, 1, 3, 0], np.tanh(score), rtol=1e-5)


def test_attention_sees_what_tells_features_apart(model):
  """In training mode, a scale and an offset of all features do not matter."""
  attention = nnx.clone(model.attention)
  attention.train()
  # The samples are many and far apart, so that the epsilon of the variances does not matter.
  video, audio = (
    100 * jax.random.uniform(jax.random.key(i), (16, *s[1:])) for i, s in enumerate(FEATURES)
  )
  before = attention(video, audio)
  assert before.std() > 0
  np.testing.assert_allclose(attention(4 * video + 3, audio), before, atol=1e-4)
  np.testing.assert_allclose(attention(video, 4 * audio + 3), before, atol=1e-4)


def test_gradient_reaches_attention_and_sound(model):
  graph, params, rest = nnx.split(model.attention, nnx.Param, ...)
  features = [jax.random.uniform(jax.random.key(i), s) for i, s in enumerate(FEATURES)]

  def loss(params, audio):
    attention = nnx.merge(graph, params, rest, copy=True)(features[0], audio)
    return (attention * features[0][..., :1]).sum()

  for g in jax.tree.leaves(jax.jit(jax.grad(loss, argnums=(0, 1)))(params, features[1])):
    assert np.isfinite(g).all() and (np.asarray(g) != 0).all()


@pytest.mark.parametrize("architecture", ["pyramid", "only_multi_level", "only_final_level"])
def test_shapes(architecture):
  config = {"architecture": architecture, "length": 32, "size": (192, 352)}
  model = nnx.eval_shape(lambda: models.create("tsfp_av", "tiny", dtype="bfloat16", **config))
  model.eval()
  assert (model.samples, model.sample_rate) == (70_560, 22_050)
  frames, sound = (
    jax.ShapeDtypeStruct(shape, jnp.float32) for shape in ((2, 32, 192, 352, 3), (2, 70_560))
  )
  maps = nnx.eval_shape(lambda model, *x: model(*x), model, frames, sound)
  assert maps.shape == (2, 192, 352) and maps.dtype == jnp.float32


def test_pytorch_and_back(model):
  state_dict = convert.to_torch(model)
  assert len(state_dict) == len(list(model.table(model.config)))
  back = convert.from_torch("tsfp_av", state_dict, variant="tiny")
  expected = models.arrays(model)
  for name, value in models.arrays(back).items():
    np.testing.assert_array_equal(value, expected[name], err_msg=name)
  again = convert.to_torch(back)
  assert list(again) == list(state_dict)


def test_saved_and_loaded_it_is_the_same(model, tmp_path):
  models.save(model, tmp_path / "model", {})
  loaded = jaxsal.load(tmp_path / "model")
  assert loaded.config == model.config
  expected = models.arrays(model)
  for name, value in models.arrays(loaded).items():
    np.testing.assert_array_equal(value, expected[name], err_msg=name)


def test_unfit_sound_is_refused(model):
  frames, sound = inputs()
  for wrong in (sound[:, 1:], sound[..., None]):
    with pytest.raises(UserError, match=r"waveform has shape .*\[b, 17640\]"):
      model(frames, wrong)
