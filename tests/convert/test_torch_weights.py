"""Conversion from PyTorch's names and layouts and back, and its errors."""

import json
import pathlib

import jax
import numpy as np
import pytest
from flax import nnx
from golden import weights

from jaxsal import convert, models
from jaxsal.errors import UserError
from jaxsal.models import s3d

MANIFEST = pathlib.Path(__file__).parents[1] / "golden" / "s3d" / "manifest.json"


@pytest.fixture(scope="module")
def published():
  """Makes a state dict with the published names and sizes."""
  return weights.state_dict(MANIFEST, 0)


@pytest.fixture(scope="module")
def tiny():
  """Makes the state dict of a small network."""
  model = models.create("s3d", "tiny")
  for i, variable in enumerate(models.variables(model).values()):
    values = np.random.default_rng(i).standard_normal(variable.shape, np.float32)
    variable.set_value(jax.numpy.asarray(values))
  return convert.to_torch(model)


def read(state_dict):
  return convert.from_torch("s3d", state_dict, variant="tiny")


def assert_same(a, b):
  assert list(a) == list(b)
  for name, value in a.items():
    assert value.dtype == b[name].dtype
    np.testing.assert_array_equal(value, b[name], err_msg=name)


def test_there_and_back_is_exact(published):
  model = convert.from_torch("s3d", published)
  back = convert.to_torch(model)
  assert_same(back, published)
  assert list(back) == [entry["name"] for entry in json.loads(MANIFEST.read_text())]


def test_weights_go_where_the_name_says(published):
  model = convert.from_torch("s3d", published)
  kernel = model.encoder.mixed_4c.branch2.conv_t.kernel[...]
  expected = published["base.9.branch2.1.conv_t.weight"]
  np.testing.assert_array_equal(kernel[2, 0, 0, 5, 7], expected[7, 5, 2, 0, 0])
  norm = model.encoder.conv_2b.bn
  for part, name in zip(
    ("scale", "bias", "mean", "var"), ("weight", "bias", "running_mean", "running_var")
  ):
    np.testing.assert_array_equal(getattr(norm, part)[...], published[f"base.2.bn.{name}"])
  assert norm.use_running_average  # eval mode


def test_an_encoder_takes_the_classifiers_weights(published):
  encoder = nnx.eval_shape(lambda: s3d.Encoder(s3d.S3DConfig(), nnx.Rngs(0)))
  convert.encoder_from_torch(encoder, published)
  expected = models.arrays(convert.from_torch("s3d", published).encoder)
  actual = models.arrays(encoder)
  assert actual.keys() == expected.keys()
  for name, value in actual.items():
    np.testing.assert_array_equal(value, expected[name], err_msg=name)


def test_an_encoder_needs_no_head_but_all_of_the_rest(published):
  encoder = nnx.eval_shape(lambda: s3d.Encoder(s3d.S3DConfig(), nnx.Rngs(0)))
  headless = {k: v for k, v in published.items() if not k.startswith("fc.")}
  convert.encoder_from_torch(encoder, headless)
  del headless["base.3.bn_t.running_var"]
  with pytest.raises(UserError, match=r"in the checkpoint: base\.3\.bn_t\.running_var \(192,\)"):
    convert.encoder_from_torch(encoder, headless)


def test_module_prefix_is_dropped(tiny):
  assert_same(convert.to_torch(read({f"module.{k}": v for k, v in tiny.items()})), tiny)


def test_tensors_are_taken_as_well_as_arrays(tiny):
  torch = pytest.importorskip("torch", reason="tensors are PyTorch's: pip install 'jaxsal[torch]'")
  tensors = {k: torch.nn.Parameter(torch.tensor(v), v.dtype.kind == "f") for k, v in tiny.items()}
  assert_same(convert.to_torch(read(tensors)), tiny)


def test_counts_of_batches_may_be_left_out(tiny):
  """Checkpoints from before PyTorch 0.4.1 do not have them."""
  without = {k: v for k, v in tiny.items() if not k.endswith("num_batches_tracked")}
  assert len(without) < len(tiny)
  assert_same(convert.to_torch(read(without)), tiny)


def test_all_problems_are_listed_in_one_error(tiny):
  wrong = dict(tiny)
  del wrong["base.0.conv_s.weight"]
  wrong["base.99.conv.weight"] = np.zeros((1, 2), np.float32)
  wrong["fc.0.bias"] = np.zeros((400,), np.float32)
  wrong["base.2.conv.weight"] = wrong["base.2.conv.weight"][..., 0]
  with pytest.raises(UserError) as error:
    read(wrong)
  lines = [line.strip() for line in str(error.value).splitlines()]
  assert lines[0] == "the state dict does not fit S3D:"
  assert lines[1:] == [
    "not in the checkpoint: base.0.conv_s.weight (8, 3, 1, 7, 7)",
    "not in the network: base.99.conv.weight (1, 2)",
    "shape: base.2.conv.weight is (8, 8, 1, 1), the network has (8, 8, 1, 1, 1)",
    "shape: fc.0.bias is (400,), the network has (10,)",
  ]


def test_a_refused_state_dict_changes_nothing(published):
  encoder = s3d.Encoder(s3d.S3DConfig(width=0.0625), nnx.Rngs(0))
  before = models.arrays(encoder)
  wrong = {f"base.{k}": v for k, v in published.items()}
  with pytest.raises(UserError):
    convert.encoder_from_torch(encoder, wrong)
  for name, value in models.arrays(encoder).items():
    np.testing.assert_array_equal(value, before[name])


@pytest.mark.parametrize("wrong", [{}, {"a": 3}, {"epoch": 1, "state_dict": {}}])
def test_what_is_no_state_dict_is_said(wrong):
  with pytest.raises(UserError, match="holds no state dict"):
    read(wrong)


def test_names_of_another_network_are_refused(tiny):
  with pytest.raises(UserError, match=r"not in the network: base\.0\.conv_s\.weight"):
    convert.from_torch("tsfp", tiny, variant="tiny")
  with pytest.raises(UserError, match="'s3f' is not a model; did you mean 's3d'"):
    convert.from_torch("s3f", tiny)


def test_only_what_float32_holds_exactly_is_taken(tiny):
  name = "base.0.conv_s.weight"
  halved = tiny | {name: tiny[name].astype(np.float16)}
  np.testing.assert_array_equal(convert.to_torch(read(halved))[name], halved[name])
  for dtype in (np.float64, np.int64):
    with pytest.raises(UserError, match=f"dtype: {name} is {np.dtype(dtype)}, .* float32"):
      read(tiny | {name: tiny[name].astype(dtype)})
