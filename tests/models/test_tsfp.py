"""TSFP-Net: size, cost and shapes of the paper's network, and the behaviour of a tiny one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxsal import convert, models
from jaxsal.errors import UserError
from jaxsal.models import operations, s3d

ARCHITECTURES = ("pyramid", "only_multi_level", "only_final_level")


def abstract(**config):
  """Returns graph and state of a network without weights, in eval mode."""
  model = nnx.eval_shape(lambda: models.create("tsfp", **config))
  model.eval()
  return nnx.split(model)


def shape_of(frames, **config):
  graph, state = abstract(**config)
  frames = jax.ShapeDtypeStruct(frames, jnp.float32)
  return jax.eval_shape(lambda s, x: nnx.merge(graph, s, copy=True)(x), state, frames)


GEOMETRY = {"length": 16, "size": (64, 96)}


@functools.cache
def tiny(**config):
  model = models.create("tsfp", "tiny", **GEOMETRY, **config)
  model.eval()
  return model


@nnx.jit
def forward(model, x):
  return model(x)


def run(x, **config):
  """Returns maps of the tiny network in eval mode, from one compiled program."""
  return np.asarray(forward(tiny(**config), x))


@functools.cache
def clips(n=2, seed=0):
  rng = np.random.default_rng(seed)
  shape = (n, GEOMETRY["length"], *GEOMETRY["size"], 3)
  return jnp.asarray(rng.standard_normal(shape), jnp.float32)


def flops(part):
  """Counts the operations of a forward pass of one clip of the paper's size."""
  graph, state = abstract()
  frames = jax.ShapeDtypeStruct((1, 32, 192, 352, 3), jnp.float32)
  counted, _ = operations(lambda s, x: part(nnx.merge(graph, s, copy=True))(x), state, frames)
  return counted


def test_size_is_the_papers():
  parameters = jax.tree.leaves(nnx.state(nnx.merge(*abstract()), nnx.Param))
  assert {x.dtype for x in parameters} == {jnp.dtype(jnp.float32)}
  megabytes = sum(4 * x.size for x in parameters) / 1e6
  assert megabytes == pytest.approx(58.4, rel=0.03)  # table 3


def test_pyramid_and_decoders_cost_less_than_the_encoder():
  encoder, whole = flops(lambda model: model.encoder), flops(lambda model: model)
  assert encoder > 5e10  # It counted something.
  assert 0 < whole - encoder < encoder


@pytest.mark.parametrize(
  ("architecture", "length", "size"),
  [
    ("pyramid", 16, (224, 384)),
    ("pyramid", 32, (192, 352)),
    ("pyramid", 48, (64, 320)),
    ("only_multi_level", 32, (192, 352)),
    ("only_multi_level", 48, (32, 32)),
    ("only_final_level", 16, (64, 320)),
    ("only_final_level", 32, (192, 352)),
  ],
)
def test_output_shape(architecture, length, size):
  y = shape_of((3, length, *size, 3), architecture=architecture, length=length, size=size)
  assert y.shape == (3, *size) and y.dtype == jnp.float32


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_ablations_are_the_same_as_the_named_variants(architecture):
  variant = "base" if architecture == "pyramid" else architecture
  named = nnx.eval_shape(lambda: models.create("tsfp", variant))
  assert named.config.architecture == architecture
  names = {entry.name for entry in named.table(named.config)}
  assert any(name.startswith("decoder1.") for name in names) == (architecture != "only_final_level")
  assert any(name.startswith("decoder4.") for name in names)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_maps_are_between_0_and_1_and_differ(architecture):
  maps = run(clips(), architecture=architecture)
  assert maps.shape == (2, *GEOMETRY["size"]) and maps.dtype == np.float32
  assert maps.min() >= 0 and maps.max() <= 1
  assert maps.std(axis=(1, 2)).min() > 1e-4  # neither constant nor saturated
  assert np.abs(maps[0] - maps[1]).max() > 1e-4


@pytest.mark.parametrize(
  ("size", "way_out"),
  [
    ((100, 352), "96 x 352"),
    ((192, 350), "192 x 352"),
    ((0, 64), "32 x 64"),
    ((31, 64), "32 x 64"),
  ],
)
def test_a_wrong_size_is_named(size, way_out):
  with pytest.raises(UserError, match=f"size is {size[0]} x {size[1]}.*32.*{way_out}"):
    models.create("tsfp", "tiny", size=size)


@pytest.mark.parametrize(("length", "way_out"), [(12, "16"), (1, "8"), (0, "8"), (-8, "8")])
def test_a_wrong_length_is_named(length, way_out):
  with pytest.raises(UserError, match=f"length is {length}: .*multiple of 8.* {way_out}"):
    models.create("tsfp", "tiny", length=length)


@pytest.mark.parametrize(
  ("field", "value"), [("architecture", "piramid"), ("dtype", "float99"), ("target", "first")]
)
def test_a_value_that_does_not_exist_is_named(field, value):
  with pytest.raises(UserError, match=value):
    models.create("tsfp", "tiny", **{field: value})


def test_in_eval_mode_a_clips_map_does_not_depend_on_its_batch():
  x = clips()
  y = run(x)
  np.testing.assert_array_equal(run(x.at[1].set(-x[1]))[0], y[0])
  # Another batch size is another program, whose float32 sums round differently.
  np.testing.assert_allclose(run(x[:1])[0], y[0], rtol=1e-5, atol=1e-6)


def test_every_frame_counts():
  x = clips()
  y = run(x)
  for frame in range(0, GEOMETRY["length"], 2):
    # An even frame changes in the first clip, an odd frame in the second.
    changed = run(x.at[0, frame].set(0).at[1, frame + 1].set(0))
    assert (np.abs(changed - y).max(axis=(1, 2)) > 0).all(), frame


def gradient(model):
  """Returns the gradients of a random projection of the maps, with their paths."""
  graph, parameters, rest = nnx.split(model, nnx.Param, ...)
  weight = jax.random.normal(jax.random.key(1), (2, *GEOMETRY["size"]))

  def loss(parameters):
    return (nnx.merge(graph, parameters, rest, copy=True)(clips()) * weight).sum()

  return jax.tree.leaves_with_path(jax.jit(jax.grad(loss))(parameters))


def assert_reached(leaves):
  for path, g in leaves:
    assert np.isfinite(g).all() and np.asarray(g).any(), jax.tree_util.keystr(path)


def test_gradient_reaches_every_parameter():
  leaves = gradient(models.create("tsfp", "tiny", **GEOMETRY))
  # There are 77 convolutions with two parameters of BatchNorm each; laterals, decoders, output.
  assert len(leaves) == 77 * 3 + 2 * (4 + 7 + 1)
  assert_reached(leaves)


@pytest.mark.parametrize(
  ("architecture", "convs"), [("only_multi_level", 4 + 7 + 1), ("only_final_level", 1 + 3 + 1)]
)
def test_gradient_reaches_every_parameter_of_an_ablation(architecture, convs):
  """The encoder, which is the same and slow to compile, is replaced by fixed stages."""
  model = models.create("tsfp", "tiny", architecture=architecture, **GEOMETRY)
  rng = np.random.default_rng(0)
  stages = s3d.Stages(
    *(
      jnp.asarray(rng.standard_normal((2, 16 // i, 64 // j, 96 // j, c)), jnp.float32)
      for i, j, c in zip((2, 2, 4, 8), (4, 8, 16, 32), s3d.stage_channels(model.config.width))
    )
  )
  del model.encoder
  model.encoder = lambda frames: stages
  leaves = gradient(model)
  assert len(leaves) == 2 * convs
  assert_reached(leaves)


def test_bfloat16_gives_nearly_the_same_map_in_float32():
  exact, rounded = run(clips()), run(clips(), dtype="bfloat16")
  assert rounded.dtype == np.float32
  for a, b in zip(exact, rounded):
    assert np.corrcoef(a.ravel(), b.ravel())[0, 1] >= 0.999
  assert np.abs(exact - rounded).max() > 0  # The precision did differ.


def test_normalise():
  frames = jnp.asarray([[0, 128, 255]], jnp.uint8)
  expected = (np.array([0, 128, 255]) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
  y = tiny().normalise(frames)
  assert y.dtype == jnp.float32
  np.testing.assert_allclose(y, expected[None], rtol=1e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_pytorch_and_back(architecture):
  model = tiny(architecture=architecture)
  state_dict = convert.to_torch(model)
  back = convert.from_torch(
    "tsfp", state_dict, variant="tiny", architecture=architecture, **GEOMETRY
  )
  again = convert.to_torch(back)
  assert list(again) == list(state_dict)
  for name, value in state_dict.items():
    np.testing.assert_array_equal(again[name], value, err_msg=name)
  assert any(x.any() for name, x in state_dict.items() if name.startswith("backbone.base1.0"))
  np.testing.assert_array_equal(forward(back, clips()), run(clips(), architecture=architecture))
