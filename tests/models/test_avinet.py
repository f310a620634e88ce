"""AViNet: comparison with the reference, its parts, and input that does not fit."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from golden_case import Case, check_stage, check_values, forward
from stub_encoder import StubEncoder

import jaxsal
from jaxsal import convert, models
from jaxsal.errors import UserError

FUSIONS = ("bilinear", "transformer", "concat")
# The reference's name of a stage -> path of the part here.
STAGES = {
  "visual_model.decoder.convtsp1": "visual.decoder.d1",
  "visual_model.decoder.convtsp3": "visual.decoder.d3",
}
HEADS = {
  f"audionet.conv8_{head}.{leaf}" for head in ("objs", "scns") for leaf in ("weight", "bias")
}
UNUSED = {"bilinear": HEADS, "transformer": HEADS | {"bilinear.weight", "bilinear.bias"}}
# Shapes of the tiny network's frames and sound, and of their features.
SHAPES = ((2, 8, 32, 64, 3), (2, 17_640))
FEATURES = ((2, 1, 1, 2, 64), (2, 2, 64))


@functools.cache
def case(fusion):
  return Case(f"avinet_{fusion}")


@functools.cache
def tiny(fusion):
  model = models.create("avinet", "tiny", fusion=fusion)
  model.eval()
  return model


@pytest.mark.slow
@pytest.mark.parametrize("fusion", ["bilinear", "transformer"])
def test_maps_and_stages_are_the_references(fusion):
  expected = case(fusion)
  model = convert.from_torch("avinet", expected.state_dict, fusion=fusion)
  fused = "fusion" if fusion == "bilinear" else "fusion.transformer"
  parts = ["visual.encoder", "audio", fused, *STAGES.values()]
  maps, outputs = forward(model, expected.frames, parts, expected.waveform(1))
  assert np.abs(maps - expected.arrays["output"]).max() < 1e-4
  for name, part in STAGES.items():
    check_stage(expected, name, outputs[part])
  stages = outputs["visual.encoder"]
  for name in ("base1", "base4"):
    check_stage(expected, f"visual_model.backbone.{name}", getattr(stages, name))
  check_values(expected, "audionet", outputs["audio"].transpose(0, 2, 1)[..., None])
  if fusion == "bilinear":
    x = outputs[fused].reshape(1, 336, 1024).transpose(0, 2, 1)
  else:
    x = outputs[fused].transpose(1, 0, 2)
  check_values(expected, fusion, x)


@pytest.mark.parametrize("fusion", ["bilinear", "transformer"])
def test_state_dict_comes_back_without_what_is_not_used(fusion):
  state_dict = case(fusion).state_dict
  model = convert.from_torch("avinet", state_dict, fusion=fusion)
  unused = {e.name for e in model.table(model.config) if e.path is None}
  counts = {name for name in unused if name.endswith(".num_batches_tracked")}
  assert unused - counts == UNUSED[fusion]
  back = convert.to_torch(model)
  assert list(back) == list(state_dict)
  for entry, value in state_dict.items():
    assert (back[entry].dtype, back[entry].shape) == (value.dtype, value.shape), entry
    np.testing.assert_array_equal(back[entry], 0 * value if entry in unused else value, entry)


def test_a_checkpoint_of_another_fusion_is_recognised():
  state_dict = {k: v for k, v in case("transformer").state_dict.items() if "conv8" not in k}
  with pytest.raises(UserError, match="it looks like avinet, variant transformer"):
    convert.from_torch("avinet", state_dict)


def test_sound_and_frames_matter_and_maps_stand_alone():
  frames, sound = (jax.random.normal(jax.random.key(i), s) for i, s in enumerate(SHAPES))
  model = nnx.clone(tiny("bilinear"))
  model.visual.encoder = StubEncoder()
  run = nnx.jit(lambda model, *inputs: model(*inputs))
  maps = run(model, frames, 256 * sound)
  assert maps.shape == (2, 32, 64) and maps.dtype == jnp.float32
  assert 0 <= maps.min() < maps.max() <= 1
  for changed in ((frames, sound.at[1].set(0)), (frames.at[1].set(0), sound)):
    other = run(model, changed[0], 256 * changed[1])
    np.testing.assert_array_equal(other[0], maps[0])
    assert np.abs(other[1] - maps[1]).max() > 1e-3


@pytest.mark.parametrize("fusion", FUSIONS)
def test_the_fusion_uses_all_of_sound_and_frames(fusion):
  video, audio = (jax.random.uniform(jax.random.key(i), s) for i, s in enumerate(FEATURES))
  graph, params, rest = nnx.split(tiny(fusion).fusion, nnx.Param, ...)
  weight = jax.random.normal(jax.random.key(2), video.shape)

  @jax.jit
  def gradient(params, video, audio):
    def loss(*x):
      fused = nnx.merge(graph, x[0], rest, copy=True)(*x[1:])
      assert fused.shape == video.shape
      return (fused * weight)[0].sum()

    return jax.grad(loss, argnums=(0, 1, 2))(params, video, audio)

  of_params, of_video, of_audio = gradient(params, video, audio)
  for path, g in jax.tree.leaves_with_path(of_params):
    assert np.isfinite(g).all() and np.asarray(g).any(), jax.tree_util.keystr(path)
  # The bilinear fusion skips every second column.
  columns = slice(None, None, 2 if fusion == "bilinear" else 1)
  assert (np.abs(of_video[0, :, :, columns]).sum(axis=-1) > 0).all()
  assert (np.abs(of_audio[0]).sum(axis=-1) > 0).all()
  assert not np.asarray(of_video[1]).any() and not np.asarray(of_audio[1]).any()


@pytest.mark.parametrize("fusion", FUSIONS)
def test_other_lengths_and_sizes_and_bfloat16(fusion):
  config = {"fusion": fusion, "length": 48, "size": (192, 352), "dtype": "bfloat16"}
  model = nnx.eval_shape(lambda: models.create("avinet", "tiny", **config))
  model.eval()
  assert (model.samples, model.sample_rate) == (105_840, 22_050)
  shapes = ((2, 48, 192, 352, 3), (2, 105_840))
  frames, sound = (jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes)
  maps = nnx.eval_shape(lambda model, *x: model(*x), model, frames, sound)
  assert maps.shape == (2, 192, 352) and maps.dtype == jnp.float32


def test_base_is_the_papers():
  model = nnx.eval_shape(lambda: models.create("avinet"))
  assert model.fusion.kernel.shape == (42, 3, 336)
  settings = (model.length, model.size, model.target, model.padding, model.samples)
  assert settings == (32, (224, 384), "last", "repeat", 70_560)


def test_saved_and_loaded_it_is_the_same(tmp_path):
  model = nnx.clone(tiny("transformer"))
  positions = model.fusion.transformer.positions
  positions.set_value(positions[...] + 1)  # A checkpoint may have other positions.
  models.save(model, tmp_path / "model", {})
  loaded = jaxsal.load(tmp_path / "model")
  assert loaded.config == model.config
  expected = models.arrays(model)
  for name, value in models.arrays(loaded).items():
    np.testing.assert_array_equal(value, expected[name], err_msg=name)


def test_starts_from_the_folders_of_its_parts(tmp_path):
  vinet = models.create("vinet", "tiny", size=(64, 64), rngs=nnx.Rngs(1))
  audio = models.create("soundnet", "tiny", rngs=nnx.Rngs(2))
  model = nnx.clone(tiny("bilinear"))
  before = models.arrays(model.fusion)
  for name, part in (("vinet", vinet), ("soundnet", audio)):
    models.copy_weights(models.save(part, tmp_path / name, {}), model)
  for part, source in ((model.visual, vinet), (model.audio, audio)):
    arrays = models.arrays(part)
    for name, value in models.arrays(source).items():
      np.testing.assert_array_equal(arrays[name], value, err_msg=name)
  for name, value in models.arrays(model.fusion).items():
    np.testing.assert_array_equal(value, before[name])
  other = nnx.clone(tiny("bilinear"))
  models.copy_weights(models.save(model, tmp_path / "avinet", {}), other)  # the whole network
  expected = models.arrays(model)
  for name, value in models.arrays(other).items():
    np.testing.assert_array_equal(value, expected[name], err_msg=name)


def test_a_folder_of_another_network_is_refused(tmp_path):
  models.save(models.create("soundnet", "tiny", width=0.125), tmp_path / "wide", {})
  with pytest.raises(UserError, match="does not fit SoundNet:\n  different: layer2"):
    models.copy_weights(tmp_path / "wide", nnx.clone(tiny("bilinear")))


def test_the_visual_part_is_a_network_of_its_own(tmp_path):
  models.save(tiny("bilinear").visual, tmp_path / "vinet", {})
  loaded = jaxsal.load(tmp_path / "vinet")
  assert type(loaded) is jaxsal.models.MODELS["vinet"].network
  assert loaded.config == tiny("bilinear").config.visual


def test_unfit_inputs_are_refused():
  frames, sound = (jnp.zeros(shape) for shape in SHAPES)
  with pytest.raises(UserError, match=r"waveform has shape \(2, 100\).*\[b, 17640\]"):
    tiny("bilinear")(frames, sound[:, :100])
  with pytest.raises(UserError, match="16 frames does not fit a network of length 8"):
    tiny("bilinear")(jnp.zeros((1, 16, 32, 64, 3)), sound)
  for fusion in ("bilinear", "transformer"):
    with pytest.raises(UserError, match=f"64 x 64: the {fusion} fusion's weights fit 32 x 64 only"):
      tiny(fusion)(jnp.zeros((2, 8, 64, 64, 3)), sound)
  with pytest.raises(UserError, match=r"width is 0\.3.*306 features.*multiple of 8"):
    nnx.eval_shape(lambda: models.create("avinet", fusion="transformer", width=0.3))
  with pytest.raises(UserError, match="fusion is 'sum'"):
    models.create("avinet", fusion="sum")
