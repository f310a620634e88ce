"""The registry: networks and configurations by name."""

import jax
import numpy as np
import pytest
from flax import nnx

from jaxsal import models
from jaxsal.errors import UserError


@pytest.mark.parametrize("name", models.MODELS)
def test_every_model_has_a_base_and_a_tiny_variant(name):
  row = models.MODELS[name]
  variants = row.variants
  assert variants["base"] == row.config()
  sizes = {}
  for variant in ("base", "tiny"):
    model = nnx.eval_shape(lambda variant=variant: models.create(name, variant))
    assert models.name_of(model) == name
    assert model.config == models.configure(name, variant) == variants[variant]
    sizes[variant] = sum(v.size for v in models.variables(model).values())
  assert sizes["tiny"] < 0.1 * sizes["base"]


@pytest.mark.parametrize("name", models.MODELS)
def test_every_variable_is_in_the_table_once(name):
  model = nnx.eval_shape(lambda: models.create(name, "tiny"))
  entries = list(model.table(model.config))
  paths = [".".join(entry.path) for entry in entries if entry.path is not None]
  assert sorted(paths) == sorted(models.variables(model))
  assert len({entry.name for entry in entries}) == len(entries)


@pytest.mark.parametrize(
  ("call", "message"),
  [
    (lambda: models.create("tspf"), r"'tspf' is not a model; did you mean 'tsfp'\?.*s3d, "),
    (lambda: models.create("tsfp", "tinny"), r"'tinny' is not a variant of tsfp; .*'tiny'"),
    (
      lambda: models.create("tsfp", lenght=16),
      r"'lenght' is not a field of tsfp's configuration; did you mean 'length'\?.*size",
    ),
    (lambda: models.build("x", None), r"'x' is not a model \(there is "),
  ],
)
def test_unknown_names_come_with_the_known_ones(call, message):
  with pytest.raises(UserError, match=message):
    call()


def test_overrides_leave_the_variant_as_it_was():
  config = models.configure("tsfp", "tiny", size=[64, 96], length=16)
  assert config.size == (64, 96) and config.length == 16
  assert hash(config) == hash(models.configure("tsfp", "tiny", size=(64, 96), length=16))
  assert models.configure("tsfp", "tiny").size == (32, 64)


def test_weights_follow_the_seed():
  seeds = (None, nnx.Rngs(jax.random.key(0)), nnx.Rngs(1))
  networks = [models.create("s3d", "tiny", rngs=rngs) for rngs in seeds]
  first, same, other = map(models.arrays, networks)
  kernels = [name for name in first if name.endswith("kernel")]
  assert len(kernels) == 78
  for name in kernels:
    np.testing.assert_array_equal(first[name], same[name])
    assert (first[name] != other[name]).all(), name
  # No two layers start alike.
  assert len({first[name].ravel()[0].item() for name in kernels}) == len(kernels)
