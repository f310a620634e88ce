"""TASED-Net: comparison with the reference, its variants, and input that does not fit."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from golden_case import AS_USERS, Case, check_stage, check_training, forward
from ml_collections import ConfigDict

from jaxsal import convert, models
from jaxsal.errors import UserError
from jaxsal.metrics import cc
from jaxsal.models import s3d, tased
from jaxsal.train.optimizer import make_optimizer

LENGTHS = {4: (1, 1), 8: (1, 1), 16: (2, 1), 32: (2, 2), 48: (2, 3), 64: (2, 4)}
UPSAMPLING = ("unpool", "trilinear", "transposed")
AGGREGATION = ("late", "early_two_step", "late_two_step")
PARTS = {"convtsp1": "decode1", "convtsp2": "decode2", "convtsp3": "decode3"}


@pytest.fixture(scope="module")
def case():
  return Case("tased")


@pytest.fixture(scope="module")
def result(case):
  parts = ["encoder", *(f"prediction.{part}" for part in PARTS.values())]
  # In one pooling window of a hundred thousand, the two greatest values are 20 units in the last
  # place apart, and the compiler's choice of instructions decides which of them wins.
  model = convert.from_torch("tased", case.state_dict)
  return forward(model, case.frames, parts, compiler_options=AS_USERS)


def test_maps_are_the_references(case, result):
  # If a near-tie in a pooling window is decided differently in float64, single values move.
  error = np.abs(result[0] - case.arrays["output"])
  assert np.percentile(error, 99) < 1e-4
  assert np.median(error) < 1e-5


def test_stages_are_the_references(case, result):
  stages = dict(result[1]["encoder"]._asdict())
  stages |= {name: result[1][f"prediction.{part}"] for name, part in PARTS.items()}
  assert stages.keys() == case.expected["stages"].keys()
  for name, x in stages.items():
    check_stage(case, name, x)


def test_state_dict_comes_back(case):
  back = convert.to_torch(convert.from_torch("tased", case.state_dict))
  assert list(back) == list(case.state_dict)
  for name, value in case.state_dict.items():
    assert back[name].dtype == value.dtype, name
    np.testing.assert_array_equal(back[name], value, err_msg=name)


def test_bfloat16_gives_nearly_the_same_maps(case, result):
  model = convert.from_torch("tased", case.state_dict, dtype="bfloat16")
  maps, _ = forward(model, case.frames)
  assert cc(maps, result[0]).min() >= 0.999


@pytest.mark.slow
def test_training_is_the_references(monkeypatch):
  config = {"name": "sgd", "momentum": 0.9, "weight_decay": 2e-7, "schedule": "constant"}
  config |= {"multipliers": [("^encoder/", 0.01)]}
  tx = make_optimizer(ConfigDict(config), optax.constant_schedule(0.1))
  check_training("tased", tx, monkeypatch)


def test_base_is_the_papers():
  model = nnx.eval_shape(lambda: models.create("tased"))
  parameters = sum(v.size for v in jax.tree.leaves(nnx.state(model, nnx.Param)))
  assert parameters / 1e6 == pytest.approx(21.26, abs=0.005)  # "21.2M Params", section 4.2
  assert (model.length, model.size, model.target, model.padding) == (32, (224, 384), "last", "loop")
  ends = model.normalise(jnp.array([0, 255], jnp.uint8)[:, None].repeat(3, axis=1))
  np.testing.assert_allclose(ends, [[-1] * 3, [1] * 3], atol=1e-6)


@pytest.mark.parametrize("length", LENGTHS)
def test_time_is_taken_away_at_every_length(length):
  steps = {4: (2, 2, 1, 1), 8: (4, 4, 2, 1)}.get(length, tuple(length // n for n in (2, 2, 4, 8)))
  sizes = [(16, 24), (8, 12), (4, 6), (2, 3)]
  stages = s3d.Stages(
    *(
      jax.ShapeDtypeStruct((2, t, *size, c), jnp.float32)
      for t, size, c in zip(steps, sizes, s3d.stage_channels(0.0625))
    )
  )
  for upsampling, aggregation in itertools.product(UPSAMPLING, AGGREGATION):
    config = tased.TASEDConfig(
      width=0.0625, length=length, upsampling=upsampling, aggregation=aggregation
    )
    assert config.temporal_kernels == LENGTHS[length]
    logits = jax.eval_shape(
      lambda stages, config=config: tased.PredictionNetwork(config, nnx.Rngs(0))(stages), stages
    )
    assert logits.shape == (2, 1, 64, 96, 1)


@pytest.mark.parametrize("length", [4, 48])
def test_shortest_and_longer_clips(length):
  model = models.create("tased", "tiny", length=length)
  maps, _ = forward(model, jax.random.normal(jax.random.key(0), (2, length, 32, 64, 3)))
  assert maps.shape == (2, 32, 64)
  assert 0 <= maps.min() < maps.max() <= 1


@pytest.mark.parametrize(
  "options",
  [{"upsampling": "trilinear"}, {"upsampling": "transposed"}]
  + [{"aggregation": aggregation} for aggregation in AGGREGATION[:2]],
)
def test_variants_have_whole_tables(options):
  model = models.create("tased", "tiny", **options)
  state_dict = convert.to_torch(model)
  assert len(state_dict) == len(list(model.table(model.config)))  # Each name is unique.
  back = convert.from_torch("tased", state_dict, variant="tiny", **options)
  arrays = models.arrays(back)
  for name, value in models.arrays(model).items():
    np.testing.assert_array_equal(arrays[name], value)


@pytest.mark.parametrize("upsampling", UPSAMPLING)
def test_maps_do_not_depend_on_the_rest_of_the_batch(upsampling):
  model = models.create("tased", "tiny", upsampling=upsampling)
  model.eval()
  graph, state = nnx.split(model)
  run = jax.jit(lambda frames: nnx.merge(graph, state)(frames))
  x = jax.random.normal(jax.random.key(1), (3, 8, 96, 32, 3))
  one, other = run(x[:2]), run(x[::2])
  np.testing.assert_allclose(one[0], other[0], atol=1e-6)
  assert np.abs(one[1] - other[1]).max() > 1e-3
  assert 0 <= one.min() < one.max() <= 1


@pytest.mark.parametrize("length", [0, 2, 12, 24, 40])
def test_lengths_that_cannot_be_halved_are_refused(length):
  with pytest.raises(UserError, match=f"length is {length}.*multiple of 16"):
    models.create("tased", "tiny", length=length)


def test_unfit_sizes_and_clips_are_refused():
  with pytest.raises(UserError, match="multiples of 32, such as 96 x 64"):
    models.create("tased", "tiny", size=(100, 64))
  model = models.create("tased", "tiny")
  for shape, message in [
    ((1, 16, 32, 32, 3), "16 frames does not fit a network of length 8"),
    ((1, 8, 32, 40, 3), "multiples of 32"),
    ((8, 32, 32, 3), "[b, t, h, w, 3]"),
  ]:
    with pytest.raises(UserError) as error:
      model(jnp.zeros(shape))
    assert message in str(error.value)
