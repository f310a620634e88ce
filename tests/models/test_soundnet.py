"""SoundNet: comparison with the reference's features, lengths, and the unused heads."""

import jax
import numpy as np
import pytest
from flax import nnx
from golden_case import Case, check_values, forward

from jaxsal import convert, models
from jaxsal.models import soundnet

# The reference's name of a stage -> number of the layer here, which ends with its pooling.
STAGES = {"maxpool1": 1, "maxpool2": 2, "relu4": 4, "maxpool5": 5, "relu6": 6}
HEADS = {f"conv8_{head}.{leaf}" for head in ("objs", "scns") for leaf in ("weight", "bias")}


@pytest.fixture(scope="module")
def case():
  return Case("soundnet")


@pytest.fixture(scope="module")
def model(case):
  return convert.from_torch("soundnet", case.state_dict)


def test_features_and_stages_are_the_references(case):
  model = convert.from_torch("soundnet", case.state_dict)
  parts = {name: f"layer{i}" for name, i in STAGES.items()}
  features, outputs = forward(model, case.waveform(0), parts.values())
  assert features.shape == (1, soundnet.steps(70_560), 1024) == (1, 3, 1024)
  assert features.dtype == np.float32
  np.testing.assert_allclose(
    features.transpose(0, 2, 1)[..., None], case.arrays["output"], rtol=0, atol=1e-4
  )
  assert parts.keys() == case.expected["stages"].keys()
  for stage, part in parts.items():
    check_values(case, stage, outputs[part].transpose(0, 3, 1, 2))


def test_state_dict_comes_back_without_the_heads(case, model):
  back = convert.to_torch(model)
  assert list(back) == list(case.state_dict)
  for entry, value in case.state_dict.items():
    assert (back[entry].dtype, back[entry].shape) == (value.dtype, value.shape), entry
    np.testing.assert_array_equal(back[entry], 0 * value if entry in HEADS else value, entry)


def test_the_heads_are_named_and_may_be_missing(case, model):
  unused = {e.name for e in model.table(model.config) if e.path is None}
  assert {name for name in unused if not name.endswith("num_batches_tracked")} == HEADS
  headless = {k: v for k, v in case.state_dict.items() if k not in HEADS}
  a, b = (convert.to_torch(m) for m in (model, convert.from_torch("soundnet", headless)))
  for name, value in a.items():
    np.testing.assert_array_equal(b[name], value)


@pytest.mark.parametrize("samples", [17_640, 35_280, 70_560, 105_840])
def test_steps_are_those_of_the_features(samples):
  model = nnx.eval_shape(lambda: models.create("soundnet", "tiny"))
  model.eval()
  sound = jax.ShapeDtypeStruct((2, samples), np.float32)
  features = nnx.eval_shape(lambda model, x: model(x), model, sound)
  assert features.shape == (2, soundnet.steps(samples), 64)


def test_features_in_eval_mode_do_not_depend_on_the_rest_of_the_batch():
  model = models.create("soundnet", "tiny")
  model.eval()
  sound = jax.random.normal(jax.random.key(0), (2, 17_640)) * 256
  run = nnx.jit(lambda model, x: model(x))
  features, other = run(model, sound), run(model, sound.at[1].set(0))
  np.testing.assert_array_equal(features[0], other[0])
  assert np.abs(features[1] - other[1]).max() > 1


def test_gradient_reaches_every_parameter():
  model = models.create("soundnet", "tiny")
  model.eval()  # In training mode, BatchNorm removes the bias before it.
  graph, params, rest = nnx.split(model, nnx.Param, ...)
  sound = jax.random.normal(jax.random.key(0), (1, 17_640)) * 256

  def loss(params):
    return nnx.merge(graph, params, rest, copy=True)(sound).sum()

  leaves = jax.tree.leaves_with_path(jax.jit(jax.grad(loss))(params))
  assert len(leaves) == 7 * 4
  for path, g in leaves:
    assert np.isfinite(g).all() and np.asarray(g).any(), jax.tree_util.keystr(path)
