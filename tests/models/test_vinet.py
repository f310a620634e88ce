"""ViNet: comparison with the reference, its variants, and input that does not fit."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from golden_case import Case, check_stage, check_training, forward

from jaxsal import convert, models
from jaxsal.errors import UserError
from jaxsal.metrics import cc
from jaxsal.models import s3d, vinet

CASES = {
  "vinet": {},
  "vinet_t8": {"length": 8},
  "vinet_t16": {"length": 16},
  "vinet_t48": {"length": 48},
  "vinet_hier0": {"variant": "no_hierarchy"},
  "vinet_hier1": {"variant": "one_level"},
  "vinet_hier2": {"variant": "two_levels"},
}
UPSAMPLING = ("trilinear", "transposed")
CONCATENATION = ("time", "channels")


@pytest.fixture(scope="module")
def case():
  return Case("vinet")


@pytest.mark.parametrize("name", CASES)
def test_maps_and_stages_are_the_references(name):
  case, options = Case(name), CASES[name]
  model = convert.from_torch("vinet", case.state_dict, **options)
  maps, outputs = forward(model, case.frames, ["encoder", "decoder.d1", "decoder.d2", "decoder.d3"])
  assert np.abs(maps - case.arrays["output"]).max() < 1e-4
  stages = {f"backbone.{k}": v for k, v in outputs["encoder"]._asdict().items()}
  stages |= {f"decoder.convtsp{i}": outputs[f"decoder.d{i}"] for i in (1, 2, 3)}
  assert stages.keys() == case.expected["stages"].keys()
  for stage, x in stages.items():
    check_stage(case, stage, x)


@pytest.mark.parametrize("name", CASES)
def test_state_dict_comes_back(name):
  state_dict = Case(name).state_dict
  back = convert.to_torch(convert.from_torch("vinet", state_dict, **CASES[name]))
  assert list(back) == list(state_dict)
  for entry, value in state_dict.items():
    assert back[entry].dtype == value.dtype, entry
    np.testing.assert_array_equal(back[entry], value, err_msg=entry)


def test_bfloat16_gives_nearly_the_same_maps(case):
  model = convert.from_torch("vinet", case.state_dict, dtype="bfloat16")
  maps, _ = forward(model, case.frames)
  assert cc(maps, case.arrays["output"].astype(np.float32)).min() >= 0.999


@pytest.mark.slow
def test_training_is_the_references(monkeypatch):
  check_training("vinet", optax.adam(1e-4), monkeypatch)


def test_base_is_the_papers():
  model = nnx.eval_shape(lambda: models.create("vinet"))
  parameters = sum(v.size for v in jax.tree.leaves(nnx.state(model, nnx.Param)))
  assert parameters / 1e6 == pytest.approx(31.1, abs=0.05)
  settings = (model.length, model.size, model.target, model.padding)
  assert settings == (32, (224, 384), "last", "repeat")
  mean = model.normalise(255 * jnp.array([0.485, 0.456, 0.406]))
  np.testing.assert_allclose(mean, 0, atol=1e-6)


@pytest.mark.parametrize("length", [8, 16, 32, 48])
def test_time_is_taken_away_at_every_length(length):
  sizes = [(2, 16, 24), (2, 8, 12), (4, 4, 6), (8, 2, 3)]  # time as a divisor
  stages = s3d.Stages(
    *(
      jax.ShapeDtypeStruct((2, length // t, *size, c), jnp.float32)
      for (t, *size), c in zip(sizes, s3d.stage_channels(0.0625))
    )
  )
  for upsampling, over, levels in itertools.product(UPSAMPLING, CONCATENATION, (0, 1, 3)):
    options = {"upsampling": upsampling, "concatenation": over, "levels": levels}
    config = vinet.ViNetConfig(width=0.0625, length=length, **options)
    logits = jax.eval_shape(
      lambda stages, config=config: vinet.Decoder(config, nnx.Rngs(0))(stages), stages
    )
    assert logits.shape == (2, 1, 64, 96, 1)


@pytest.mark.parametrize("options", [{"upsampling": "transposed"}, {"concatenation": "channels"}])
def test_variants_have_whole_tables(options):
  model = models.create("vinet", "tiny", length=32, **options)
  state_dict = convert.to_torch(model)
  assert len(state_dict) == len(list(model.table(model.config)))  # Each name is unique.
  back = convert.from_torch("vinet", state_dict, variant="tiny", length=32, **options)
  arrays = models.arrays(back)
  for name, value in models.arrays(model).items():
    np.testing.assert_array_equal(arrays[name], value)


def test_concatenation_over_time_has_fewer_parameters():
  """The paper chose it for this reason (section 4.4)."""
  sizes = {}
  for over in CONCATENATION:
    model = nnx.eval_shape(lambda over=over: models.create("vinet", concatenation=over))
    sizes[over] = sum(v.size for v in jax.tree.leaves(nnx.state(model, nnx.Param)))
  assert sizes["time"] < sizes["channels"]


@pytest.mark.parametrize("over", CONCATENATION)
@pytest.mark.parametrize("levels", [0, 1, 2, 3])
def test_only_the_levels_asked_for_matter(levels, over):
  config = {"length": 16, "levels": levels, "concatenation": over}
  decoder = models.create("vinet", "tiny", **config).decoder
  channels = s3d.stage_channels(0.0625)
  sizes = [(8, 8, 16), (8, 4, 8), (4, 2, 4), (2, 1, 2)]
  stages = s3d.Stages(
    *(
      jax.random.uniform(jax.random.key(i), (1, *size, c))
      for i, (size, c) in enumerate(zip(sizes, channels))
    )
  )
  run = nnx.jit(lambda decoder, stages: decoder(stages))
  whole = run(decoder, stages)
  for level, name in enumerate(("base3", "base2", "base1"), start=1):
    without = run(decoder, stages._replace(**{name: 0 * getattr(stages, name)}))
    assert (np.abs(whole - without).max() > 1e-3) == (level <= levels)


def test_without_levels_the_way_of_concatenation_is_nothing():
  frames = jax.random.normal(jax.random.key(1), (1, 8, 32, 64, 3))
  maps = []
  for over in CONCATENATION:
    model = models.create("vinet", "tiny", levels=0, concatenation=over)
    model.eval()
    maps.append(forward(model, frames)[0])
  np.testing.assert_array_equal(*maps)


@pytest.mark.parametrize("upsampling", UPSAMPLING)
def test_maps_do_not_depend_on_the_rest_of_the_batch(upsampling):
  model = models.create("vinet", "tiny", upsampling=upsampling)
  model.eval()
  graph, state = nnx.split(model)
  run = jax.jit(lambda frames: nnx.merge(graph, state)(frames))
  x = jax.random.normal(jax.random.key(1), (3, 8, 96, 32, 3))
  one, other = run(x[:2]), run(x[::2])
  np.testing.assert_allclose(one[0], other[0], atol=1e-6)
  assert np.abs(one[1] - other[1]).max() > 1e-3
  assert 0 <= one.min() < one.max() <= 1


@pytest.mark.parametrize("length", [0, 4, 12, 24])
def test_lengths_that_cannot_be_taken_to_one_are_refused(length):
  with pytest.raises(UserError, match=f"length is {length}.*multiple of 16"):
    models.create("vinet", "tiny", length=length)


def test_unfit_sizes_levels_and_clips_are_refused():
  with pytest.raises(UserError, match="multiples of 32, such as 96 x 64"):
    models.create("vinet", "tiny", size=(100, 64))
  with pytest.raises(UserError, match="levels is 4"):
    models.create("vinet", "tiny", levels=4)
  model = models.create("vinet", "tiny")
  with pytest.raises(UserError, match="16 frames does not fit a network of length 8"):
    model(jnp.zeros((1, 16, 32, 32, 3)))
  with pytest.raises(UserError, match="multiples of 32"):
    model(jnp.zeros((1, 8, 32, 40, 3)))
