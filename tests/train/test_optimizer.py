"""Tests schedules and groups of parameters."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from jaxsal.errors import UserError
from jaxsal.train.optimizer import make_optimizer, make_schedule, plateau_factor


def make_config(**changes):
  return ConfigDict(
    {
      "name": "sgd",
      "learning_rate": 0.1,
      "schedule": "constant",
      "warmup": 0,
      "drops": (),
      "drop_factor": 0.1,
      "patience": 2,
      "plateau_steps": 3,
      "momentum": 0.0,
      "weight_decay": 0.0,
      "multipliers": (),
    }
    | changes
  )


def rates(steps, at, **changes):
  schedule = make_schedule(make_config(**changes), steps)
  return [round(float(schedule(step)), 6) for step in at]


def test_schedules():
  assert rates(10, [0, 9]) == [0.1, 0.1]
  assert rates(10, [0, 3, 4, 7, 8], schedule="drops", drops=(4, 8)) == [0.1, 0.1, 0.01, 0.01, 0.001]
  assert rates(12, [0, 1, 2, 7, 12], schedule="cosine", warmup=2) == [0, 0.05, 0.1, 0.05, 0]
  # A warm-up does not move the drops.
  assert rates(10, [3, 4], schedule="drops", drops=(4,), warmup=2) == [0.1, 0.01]


def test_groups_have_their_own_rates():
  config = make_config(multipliers=(("^encoder/", 0.01), ("bias$", 2.0)))
  tx = make_optimizer(config, make_schedule(config, 10))
  params = {"encoder": {"bias": jnp.ones(2)}, "head": {"bias": jnp.ones(2), "kernel": jnp.ones(2)}}
  updates, _ = tx.update(params, tx.init(params), params)
  np.testing.assert_allclose(updates["encoder"]["bias"], -0.001, rtol=1e-6)  # the first rule wins
  np.testing.assert_allclose(updates["head"]["bias"], -0.2, rtol=1e-6)
  np.testing.assert_allclose(updates["head"]["kernel"], -0.1, rtol=1e-6)


@pytest.mark.parametrize("name", ("adam", "sgd"))
def test_one_vector_or_an_array_for_each_parameter(name):
  """The updates agree, and without `flat` the state can be divided among devices."""
  rules = (("^encoder/", 0.1), ("nothing", 3.0))  # a group without parameters
  config = make_config(name=name, momentum=0.9, weight_decay=0.1, multipliers=rules)
  rng = np.random.default_rng(0)
  shapes = {"encoder": {"kernel": (3, 4, 5), "bias": (5,)}, "head": {"kernel": (5, 1), "bias": ()}}
  draw = lambda: jax.tree.map(  # noqa: E731
    lambda shape: jnp.asarray(rng.normal(size=shape), jnp.float32),
    shapes,
    is_leaf=lambda x: isinstance(x, tuple),
  )
  one, each = (make_optimizer(config, make_schedule(config, 10), flat=f) for f in (True, False))
  params = draw()
  states = one.init(params), each.init(params)
  for _ in range(3):
    gradients = draw()
    with jax.numpy_dtype_promotion("standard"):
      updates, one_state = one.update(gradients, states[0], params)
      expected, each_state = each.update(gradients, states[1], params)
    # SIMD code and the scalar code for the end of a vector round square roots differently.
    close = functools.partial(np.testing.assert_allclose, rtol=1e-6)
    jax.tree.map(close, updates, expected)
    states = one_state, each_state
  sizes = [{leaf.shape for leaf in jax.tree.leaves(state) if leaf.ndim} for state in states]
  assert sizes == [{(65,), (6,)}, {(3, 4, 5), (5,), (5, 1)}]


def test_plateau_drops_the_rate_when_the_loss_stops_falling():
  config = make_config(schedule="plateau")
  tx = make_optimizer(config, make_schedule(config, 100))
  params = {"kernel": jnp.ones(2)}
  state = tx.init(params)
  factors = []
  with jax.numpy_dtype_promotion("standard"):
    for step in range(15):
      loss = jnp.float32(max(5 - step, 2))  # falls for the first mean of three, then never again
      updates, state = tx.update({"kernel": jnp.ones(2)}, state, params, value=loss)
      factors.append(round(float(plateau_factor(state)), 6))
      np.testing.assert_allclose(updates["kernel"], -0.1 * factors[-1], rtol=1e-5)
  assert factors[0] == 1 and factors[-1] == 0.1 and sorted(factors, reverse=True) == factors


def test_weight_decay_is_added_to_the_gradient():
  config = make_config(weight_decay=0.5)
  tx = make_optimizer(config, make_schedule(config, 10))
  params = {"kernel": jnp.full(2, 4.0)}
  updates, _ = tx.update({"kernel": jnp.ones(2)}, tx.init(params), params)
  np.testing.assert_allclose(updates["kernel"], -0.1 * (1 + 0.5 * 4), rtol=1e-6)


@pytest.mark.parametrize("field", ["name", "schedule"])
def test_unknown_choices_are_named(field):
  config = make_config(**{field: "magic"})
  with pytest.raises(UserError, match=f"optimizer.{field} is 'magic'"):
    make_optimizer(config, make_schedule(config, 10))
