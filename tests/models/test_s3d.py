"""S3D: comparison with the reference's logits and stages (float64), shapes and namings."""

import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from golden import weights
from golden_case import AS_USERS

from jaxsal import convert, models
from jaxsal.models import s3d

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "s3d"
# The reference's name of a unit -> the name of its output here.
STAGES = {"base.0": "conv_1a", "base.3": "base1", "base.6": "base2", "base.12": "base3"}
STAGES["base.15"] = "base4"


def size(tree):
  return sum(x.size for x in jax.tree.leaves(nnx.state(tree, nnx.Param)))


@pytest.fixture(scope="module")
def case():
  return json.loads((GOLDEN / "a.json").read_text()), dict(np.load(GOLDEN / "a.npz"))


@pytest.fixture(scope="module")
def state_dict(case):
  return weights.state_dict(GOLDEN / "manifest.json", case[0]["seed"])


@pytest.fixture(scope="module")
def outputs(case, state_dict):
  """Returns the logits, and the stages in PyTorch's layout."""
  description, _ = case
  (shape,) = description["inputs"]
  clip = weights.clip(tuple(shape), description["seed"], "input0")
  model = convert.from_torch("s3d", state_dict)

  @jax.jit
  def run(frames):
    return model(frames), model.encoder.conv_1a(frames), model.encoder(frames)

  logits, conv_1a, stages = run(jnp.asarray(np.moveaxis(clip, 1, -1)))
  stages = {"conv_1a": conv_1a, **stages._asdict()}
  return logits, {name: np.moveaxis(np.asarray(x), -1, 1) for name, x in stages.items()}


def assert_close(actual, expected):
  """Compares to 1e-4 of the deviation; PyTorch's float32 logits differ from float64's by 8e-6."""
  np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-4 * np.asarray(expected).std())


def test_logits(case, outputs):
  assert outputs[0].dtype == jnp.float32
  assert_close(outputs[0], case[1]["output"])


@pytest.mark.parametrize("name", STAGES)
def test_stage(case, outputs, name):
  description, arrays = case
  stage, wanted = outputs[1][STAGES[name]], description["stages"][name]
  assert list(stage.shape) == wanted["shape"]
  assert_close(stage.ravel()[weights.sample_indices(stage.size)], arrays[f"stage/{name}"])
  scale = {"rtol": 0, "atol": 1e-4 * wanted["std"]}
  np.testing.assert_allclose(stage.mean(dtype=np.float64), wanted["mean"], **scale)
  np.testing.assert_allclose(stage.std(dtype=np.float64), wanted["std"], **scale)


def test_every_stage_was_compared(case):
  assert set(case[0]["stages"]) == set(STAGES)


def test_parameters_are_counted_as_in_the_manifest():
  manifest = json.loads((GOLDEN / "manifest.json").read_text())
  trained = [e for e in manifest if e["kind"] in ("kernel", "scale", "bias")]
  count = sum(int(np.prod(e["shape"])) for e in trained)
  assert size(nnx.eval_shape(lambda: models.create("s3d"))) == count == 8_320_048


@pytest.mark.parametrize(
  ("width", "t", "h", "w"), [(1.0, 32, 192, 352), (0.25, 16, 96, 160), (0.0625, 8, 32, 64)]
)
def test_stages_have_the_documented_shapes(width, t, h, w):
  encoder = nnx.eval_shape(lambda: s3d.Encoder(s3d.S3DConfig(width=width), nnx.Rngs(0)))
  encoder.eval()
  graph, state = nnx.split(encoder)
  frames = jax.ShapeDtypeStruct((2, t, h, w, 3), jnp.float32)
  stages = jax.eval_shape(lambda s, x: nnx.merge(graph, s, copy=True)(x), state, frames)
  steps, strides = (2, 2, 4, 8), (4, 8, 16, 32)
  for x, c, i, j in zip(stages, s3d.stage_channels(width), steps, strides):
    assert x.shape == (2, t // i, h // j, w // j, c)
  if width == 1:
    assert s3d.stage_channels(width) == (192, 480, 832, 1024)


@pytest.mark.parametrize(("batch", "length", "dtype"), [(2, 4, "float32"), (1, 16, "bfloat16")])
def test_the_stem_by_rows_is_the_stem(batch, length, dtype):
  model = models.create("s3d", variant="tiny", dtype=dtype)
  model.eval()
  encoder = model.encoder
  # With these biases, padding with zeros differs from padding with black frames.
  for norm in (encoder.conv_1a.bn_s, encoder.conv_1a.bn_t):
    norm.bias[...] = jnp.ones_like(norm.bias[...])
  shape = (batch, length, 32, 64, 3)
  frames = np.random.default_rng(0).standard_normal(shape, np.float32)
  whole, by_rows = (
    jax.jit(stem, compiler_options=AS_USERS)(frames)
    for stem in (encoder._stem, encoder._stem_by_rows)
  )
  assert by_rows.dtype == dtype
  np.testing.assert_array_equal(by_rows, whole)


def test_torchvisions_naming():
  """Conversion recognises torchvision's names, and writes them again."""
  folder = GOLDEN.with_name("s3d_torchvision")
  description, expected = json.loads((folder / "a.json").read_text()), np.load(folder / "a.npz")
  state_dict = weights.state_dict(folder / "manifest.json", description["seed"])
  model = convert.from_torch("s3d", state_dict)
  assert model.config.naming == "torchvision"
  clip = weights.clip(tuple(description["inputs"][0]), description["seed"], "input0")
  frames = jnp.asarray(np.moveaxis(clip, 1, -1))
  logits, mixed_5c = jax.jit(lambda x: (model(x), model.encoder(x).base4))(frames)
  assert_close(logits, expected["output"])
  stage = np.moveaxis(np.asarray(mixed_5c), -1, 1).ravel()
  sampled = stage[weights.sample_indices(stage.size)]
  scale = description["stages"]["features.15"]["std"]
  np.testing.assert_allclose(sampled, expected["stage/features.15"], rtol=0, atol=1e-4 * scale)

  back = convert.to_torch(model)
  assert list(back) == list(state_dict)
  for name, value in state_dict.items():
    np.testing.assert_array_equal(back[name], value)
  tsfp = models.create("tsfp", size=(32, 32))
  convert.encoder_from_torch(tsfp.encoder, state_dict)
  kernel = tsfp.encoder.mixed_5c.branch3.conv.kernel[...]
  np.testing.assert_array_equal(kernel, model.encoder.mixed_5c.branch3.conv.kernel[...])
