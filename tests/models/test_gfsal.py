"""GFSalNet: the gate's arithmetic, single streams, the ablations of table VII, and bad input."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxsal import convert, models
from jaxsal.errors import UserError
from jaxsal.models import gfsal

SHAPE = (2, 64, 64, 3)
# With XLA's older loops (tests/conftest.py), two programs of the same layers round differently.
ALIKE = {"xla_cpu_use_fusion_emitters": True}


def images(seed):
  return jnp.asarray(np.random.default_rng(seed).standard_normal(SHAPE).astype(np.float32))


@pytest.fixture(scope="module")
def model():
  model = models.create("gfsal", "tiny")
  model.eval()
  return model


@pytest.fixture(scope="module")
def maps_of(model):
  """Returns a function from the gate's kernel and bias to the maps; it is compiled once."""
  graph, state = nnx.split(model)

  @functools.partial(jax.jit, compiler_options=ALIKE)
  def run(state, kernel, bias):
    model = nnx.merge(graph, state)
    model.fusion.conv.kernel[...] = jnp.reshape(kernel, (1, 1, 2, 1))
    model.fusion.conv.bias[...] = bias
    return model.maps(images(0), images(1))

  return lambda kernel, bias: jax.device_get(run(state, jnp.array(kernel), jnp.array([bias])))


def test_gate_starts_by_trusting_the_stream_that_says_more(model):
  fusion = model.fusion.conv
  assert np.ravel(fusion.kernel).tolist() == [4, -4] and np.ravel(fusion.bias).tolist() == [0]


def test_gate_weighs_the_streams(maps_of):
  maps = maps_of([3.0, -5.0], 0.5)
  for x in maps:
    assert x.shape == SHAPE[:3] and x.dtype == np.float32
  p = maps.gate
  assert (p > 0).all() and (p < 1).all() and np.ptp(p) > 0.01
  logits = 3 * maps.appearance - 5 * maps.temporal + 0.5
  np.testing.assert_allclose(p, 1 / (1 + np.exp(-logits)), rtol=1e-5)
  # A fused multiplication and addition rounds differently.
  want = maps.appearance * p + maps.temporal * (1 - p)
  np.testing.assert_allclose(maps.saliency, want, rtol=3e-7)
  assert np.ptp(maps.appearance) > 0.01 and np.abs(maps.appearance - maps.temporal).max() > 0.01


@pytest.mark.parametrize(("variant", "bias"), [("appearance", 200.0), ("temporal", -200.0)])
def test_shut_gate_leaves_the_single_stream(model, maps_of, variant, bias):
  """If P is 1 or 0, the maps are those of the single stream with the same weights."""
  fused = maps_of([0.0, 0.0], bias)
  assert (fused.gate == (bias > 0)).all()
  single = nnx.eval_shape(lambda: models.create("gfsal", "tiny", streams=variant))
  wanted = models.variables(single)
  weights = {name: x for name, x in models.arrays(model).items() if name in wanted}
  models.set_arrays(single, weights, source="the gated model")
  single.eval()
  maps = jax.jit(single.maps, compiler_options=ALIKE)(images(0), images(1))
  assert maps.gate is None and sum(x is None for x in maps) == 2
  np.testing.assert_array_equal(maps.saliency, getattr(maps, variant))
  np.testing.assert_array_equal(fused.saliency, getattr(fused, variant))
  np.testing.assert_allclose(maps.saliency, fused.saliency, rtol=1e-6)


def test_everything_learns():
  """The gradient of a loss on the fused map alone reaches both streams."""
  model = models.create("gfsal", "tiny")
  model.eval()
  graph, params, statistics = nnx.split(model, nnx.Param, nnx.BatchStat)
  frames, flow = images(0)[:, :32, :32], images(1)[:, :32, :32]

  @jax.jit
  @jax.grad
  def gradients(params):
    maps = nnx.merge(graph, params, statistics, copy=True)(frames, flow)
    return jnp.mean(jnp.square(maps - frames[..., 0]))

  for path, gradient in nnx.to_flat_state(gradients(params)):
    # The first layer has no gradient while the second is zero.
    silent = path[-3:-1] == ("channel_attention", "fc1")
    assert np.any(gradient[...]) != silent, path


def test_channel_attention_weighs_channels():
  block = gfsal.ChannelAttention(gfsal.GFSalConfig(width=1 / 24), nnx.Rngs(0))  # 4 channels
  x = images(2)[..., :1] + jnp.arange(4, dtype=jnp.float32)
  np.testing.assert_array_equal(block(x), x)
  weights = jnp.array([0.5, -1.0, 2.0, 0.0])
  block.fc2.bias[...] = weights
  np.testing.assert_array_equal(block(x), x * jnp.maximum(weights, 0))


def parts(model):
  """Returns the names of the parts with weights, of the network and of its streams."""
  return {name for path in models.variables(model) for name in path.split(".")[:2]}


ABLATIONS = {
  "spatial": {"temporal", "fusion"},
  "temporal": {"appearance", "fusion"},
  "no_spatial_attention": {"spatial_attention"},
  "no_channel_attention": {"channel_attention"},
  "no_attention": {"spatial_attention", "channel_attention"},
  "no_multi_level": {"multi_level"},
  "no_gated_fusion": set(),
}


@pytest.mark.parametrize("variant", ABLATIONS)
def test_variants_lack_what_they_are_named_after(model, variant):
  fields = ("streams", "fusion", "multi_level", "spatial_attention", "channel_attention")
  config = gfsal.VARIANTS[variant]
  config = models.configure(
    "gfsal", "tiny", dtype="bfloat16", **{name: getattr(config, name) for name in fields}
  )
  ablated = nnx.eval_shape(lambda: models.build("gfsal", config))
  assert parts(model) - parts(ablated) - {"conv"} == ABLATIONS[variant]
  assert all(v.dtype == jnp.float32 for v in models.variables(ablated).values())
  entries = [".".join(e.path) for e in ablated.table(config) if e.path is not None]
  assert sorted(entries) == sorted(models.variables(ablated))

  graph, state = nnx.split(ablated)
  x = jax.ShapeDtypeStruct((2, 50, 70, 3), jnp.float32)  # not a multiple of 32
  maps = jax.eval_shape(lambda s, x: nnx.merge(graph, s, copy=True).maps(x, x), state, x)
  assert all(x is None or (x.shape == (2, 50, 70) and x.dtype == jnp.float32) for x in maps)
  assert (maps.gate is None) == (variant in ("spatial", "temporal", "no_gated_fusion"))


def test_weights_come_back_from_a_folder_and_from_pytorch(model, tmp_path):
  loaded = models.load(models.save(model, tmp_path / "model", {}))
  assert loaded.config == model.config
  converted = convert.from_torch("gfsal", convert.to_torch(model), variant="tiny")
  wanted = models.arrays(model)
  for other in (loaded, converted):
    arrays = models.arrays(other)
    assert arrays.keys() == wanted.keys()
    for name, value in wanted.items():
      np.testing.assert_array_equal(arrays[name], value, err_msg=name)


def test_base_is_the_papers():
  model = nnx.eval_shape(lambda: models.create("gfsal"))
  settings = (model.length, model.size, model.target, model.appearance.encoder.blocks)
  assert settings == (1, (480, 640), "last", (3, 4, 6, 3))
  shapes = {name: v.shape for name, v in models.variables(model.appearance).items()}
  assert shapes["spatial_attention.conv.kernel"] == (1, 1, 2048, 1)
  assert shapes["channel_attention.fc1.kernel"] == (96, 24)
  assert shapes["prediction.kernel"] == (1, 1, 96, 1)
  parameters, flops = models.cost("gfsal", model.config)
  assert parameters == 2 * (23_508_032 + 779_866) + 3  # encoder and blocks of a stream; the gate
  assert flops > 1e11


def abstract(seed, **changes):
  """Returns a network without arrays, and arrays for it."""
  network = nnx.eval_shape(lambda: models.create("gfsal", "tiny", **changes))
  rng = np.random.default_rng(seed)
  shapes = {name: v.shape for name, v in models.variables(network).items()}
  weights = {name: rng.random(shape, np.float32) for name, shape in shapes.items()}
  return network, weights


def saved(path, seed, **changes):
  network, weights = abstract(seed, **changes)
  models.set_arrays(network, weights, source="random")
  return models.save(network, path, {})


def of_stream(weights, stream):
  return {name: x for name, x in weights.items() if name.startswith(f"{stream}.")}


def renamed(weights, old, new):
  return {name.replace(old, new, 1): x for name, x in of_stream(weights, old).items()}


def test_streams_start_from_single_streams(tmp_path):
  spatial = saved(tmp_path / "spatial", 1, streams="appearance")
  temporal = saved(tmp_path / "temporal", 2, streams="temporal")
  both, weights = abstract(3)
  models.set_arrays(both, weights, source="random")
  static = abstract(1, streams="appearance")[1]
  motion = abstract(2, streams="temporal")[1]

  models.copy_weights(spatial, both)
  expected = weights | static | renamed(static, "appearance", "temporal")
  check = lambda: np.testing.assert_equal(models.arrays(both), expected)  # noqa: E731
  check()
  models.copy_weights(temporal, both.temporal)
  expected |= motion
  check()
  single, _ = abstract(4, streams="temporal")
  models.copy_weights(spatial, single)
  np.testing.assert_equal(models.arrays(single), renamed(static, "appearance", "temporal"))
  # The weights of both streams fit another network of both streams, but no single stream.
  gated = saved(tmp_path / "both", 5)
  models.copy_weights(gated, both)
  expected = abstract(5)[1]
  check()
  with pytest.raises(UserError, match="both holds a gfsal: a stream starts from a GFSalNet of one"):
    models.copy_weights(gated, both.temporal)
  other = saved(tmp_path / "other", 6, streams="appearance", channel_attention=False)
  with pytest.raises(UserError, match="missing: channel_attention"):
    models.copy_weights(other, both)
  check()


def test_both_encoders_take_torchvisions_weights():
  both, weights = abstract(1)
  models.set_arrays(both, weights, source="random")
  config = both.config.encoder
  resnet = nnx.eval_shape(lambda: models.build("resnet50", config))
  shapes = {name: v.shape for name, v in models.variables(resnet).items()}
  published = {name: np.full(shape, 0.5, np.float32) for name, shape in shapes.items()}
  models.set_arrays(resnet, published, source="halves")
  for encoder in both.encoders:
    convert.encoder_from_torch(encoder, convert.to_torch(resnet))
  for name, x in models.arrays(both).items():
    if ".encoder." in name:
      np.testing.assert_array_equal(x, 0.5, err_msg=name)
    else:
      np.testing.assert_array_equal(x, weights[name], err_msg=name)


@pytest.mark.parametrize(
  ("frames", "flow", "message"),
  [
    (SHAPE, None, r"the temporal stream takes images \[b, h, w, 3\], and was given nothing"),
    ((1, 4, *SHAPE[1:]), SHAPE, r"the appearance stream takes images .* shape \(1, 4, 64"),
    (SHAPE, (2, 32, 64, 3), "every frame needs its flow image"),
  ],
)
def test_unfit_images_are_refused(model, frames, flow, message):
  with pytest.raises(UserError, match=message):
    model(*(None if shape is None else jnp.zeros(shape) for shape in (frames, flow)))


def test_clips_are_refused():
  with pytest.raises(UserError, match="length is 16: GFSalNet takes one frame"):
    models.create("gfsal", "tiny", length=16)


def test_clips_without_flow():
  batch = {"frames": np.zeros((1, 1, 64, 64, 3), np.uint8)}
  with pytest.raises(UserError, match=r"the temporal stream takes images .* was given nothing"):
    nnx.eval_shape(lambda: models.create("gfsal", "tiny").from_batch(batch))
  maps = nnx.eval_shape(
    lambda: models.create("gfsal", "tiny", streams="appearance").from_batch(batch)
  )
  assert maps.shape == (1, 64, 64)
