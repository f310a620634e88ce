"""Tests one training step: on one device and on eight, in parts and whole."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.sharding import AxisType, Mesh, PartitionSpec

from jaxsal import models, nn
from jaxsal.models import SaliencyConfig, SaliencyModel
from jaxsal.train import sharding
from jaxsal.train.state import new_state, split
from jaxsal.train.step import make_eval_step, make_train_step, means

LOSS = {"kl": 1.0, "cc": 0.5, "nss": 0.1}
TX = optax.with_extra_args_support(optax.adam(1e-3))


class Toy(SaliencyModel):
  """The smallest network with every kind of state that a step handles."""

  def __init__(self, config, rngs):
    self.config = config
    self.conv = nn.Conv(3, 16, (8, 1, 1), use_bias=False, dtype=config.dtype, rngs=rngs)
    self.bn = nn.BatchNorm(16, momentum=0.1, epsilon=1e-3)
    self.output = nn.Conv(16, 1, (1, 3, 3), padding=(0, 1, 1), dtype=config.dtype, rngs=rngs)

  def __call__(self, frames):
    x = self.output(jax.nn.relu(self.bn(self.conv(frames))))
    return jax.nn.sigmoid(x[:, 0, :, :, 0].astype(jnp.float32))


def make_state(model, tx=TX):
  network, params, model_state = split(model)
  return network, new_state(params, model_state, tx)


@pytest.fixture
def toy():
  return make_state(Toy(SaliencyConfig(length=8, size=(32, 32)), nnx.Rngs(0)))


def make_batch(n=16, mask=None):
  rng = np.random.default_rng(0)
  return {
    "frames": rng.integers(0, 256, (n, 8, 32, 32, 3)).astype(np.uint8),
    "density": rng.random((n, 32, 32)).astype(np.float32),
    "fixations": (rng.random((n, 32, 32)) < 0.05).astype(np.uint8),
    "mask": np.ones(n, np.float32) if mask is None else np.asarray(mask, np.float32),
  }


def step_on(devices, network, state, batch, accumulate=1, rules=()):
  """Runs one step on a mesh of this number of devices; returns the state and the scalars."""
  mesh = Mesh(jax.devices()[:devices], ("data",), axis_types=(AxisType.Auto,))
  shardings = sharding.state_shardings(mesh, state, rules)
  step = jax.jit(
    make_train_step(network, TX, lambda _: 1e-3, LOSS, accumulate), out_shardings=(shardings, None)
  )
  (batch,) = sharding.to_devices([batch], sharding.batch_sharding(mesh))
  return step(jax.device_put(state, shardings), batch)


def assert_same(one, other, rtol):
  for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
    np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_eight_devices_give_the_step_of_one(toy, accumulate):
  one, scalars_one = step_on(1, *toy, make_batch(), accumulate)
  for rules in ((), (("params|opt_state", "fsdp"),)):
    eight, scalars_eight = step_on(8, *toy, make_batch(), accumulate, rules)
    # BatchNorm's statistics are of the whole batch, so only the order of sums differs.
    assert_same(scalars_one, scalars_eight, 1e-5)
    assert_same(one.model_state, eight.model_state, 1e-6)
    assert_same(one.params, eight.params, 1e-4)  # Adam's first step divides by the gradient itself
    kernel = eight.params["conv"]["kernel"]
    assert kernel.addressable_shards[0].data.size == kernel.size // (8 if rules else 1)


def test_eight_devices_give_tsfp_nets_loss_of_one():
  network, state = make_state(models.create("tsfp", "tiny", size=(32, 32)))
  _, one = step_on(1, network, state, make_batch(8))
  _, eight = step_on(8, network, state, make_batch(8))
  # The statistics of 59 layers are summed in another order, in float32.
  np.testing.assert_allclose(one["loss"], eight["loss"], rtol=1e-4)
  np.testing.assert_allclose(one["gradient_norm"], eight["gradient_norm"], rtol=1e-2)


def test_fsdp_divides_the_largest_axis_that_can_be():
  mesh = sharding.make_mesh()
  leaf = jax.ShapeDtypeStruct((3, 24, 16), jnp.float32)
  odd = jax.ShapeDtypeStruct((3, 5), jnp.float32)
  state = {"kernel": leaf, "kernel2": odd, "step": jax.ShapeDtypeStruct((), jnp.int32)}
  placed = sharding.state_shardings(mesh, state, [("kernel", "fsdp")])
  assert placed["kernel"].spec == PartitionSpec(None, "data", None)
  assert placed["kernel2"].spec == placed["step"].spec == PartitionSpec()


def test_parts_add_up_to_their_own_gradients(toy):
  """Gradients of two parts are averaged by their numbers of maps; BatchNorm sees one at a time."""
  network, state = toy
  tx = optax.with_extra_args_support(optax.sgd(1.0))
  state = new_state(state.params, state.model_state, tx)
  batch = make_batch(8, mask=[1, 1, 1, 1, 1, 1, 1, 0])

  def step(accumulate):
    return jax.jit(make_train_step(network, tx, lambda _: 1.0, LOSS, accumulate))

  whole, scalars = step(2)(state, batch)
  # Row i belongs to part i % 2, so that the rows of each device are dealt out evenly.
  first, second = ({k: v[i::2] for k, v in batch.items()} for i in (0, 1))
  one, scalars_one = step(1)(state, first)
  two, scalars_two = step(1)(dataclasses.replace(state, model_state=one.model_state), second)
  loss = (4 * scalars_one["loss"] + 3 * scalars_two["loss"]) / 7
  np.testing.assert_allclose(scalars["loss"], loss, rtol=1e-6)
  expected = jax.tree.map(lambda a, b: (4 * a + 3 * b) / 7, one.params, two.params)
  assert_same(whole.params, expected, 1e-5)
  assert_same(whole.model_state, two.model_state, 1e-6)


def test_norms(toy):
  network, state = toy
  new, scalars = step_on(1, network, state, make_batch())
  np.testing.assert_allclose(scalars["parameter_norm"], optax.tree.norm(new.params), rtol=1e-6)
  moved = jax.tree.map(jnp.subtract, new.params, state.params)
  np.testing.assert_allclose(scalars["update_norm"], optax.tree.norm(moved), rtol=1e-3)


def test_evaluation_counts_valid_rows_only(toy):
  network, state = toy
  step = jax.jit(make_eval_step(network))
  batch = make_batch(4)
  batch["fixations"][1] = 0
  sums, maps = step(state.params, state.model_state, batch)
  assert maps.shape == (4, 32, 32) and maps.dtype == jnp.float32
  assert sums["nss/count"] == 3 and sums["cc/count"] == 4
  batch["mask"][2] = 0
  less, _ = step(state.params, state.model_state, batch)
  assert less["nss/count"] == 2 and less["cc/count"] == 3
  rest = {k: v[[0, 1, 3]] for k, v in batch.items()}
  alone, _ = step(state.params, state.model_state, rest)
  for name, score in means(jax.device_get(less)).items():
    assert score == pytest.approx(means(jax.device_get(alone))[name], rel=1e-4)


def test_bfloat16_keeps_float32_state():
  network, state = make_state(Toy(SaliencyConfig(length=8, dtype="bfloat16"), nnx.Rngs(0)))
  new, scalars = step_on(1, network, state, make_batch())
  assert {x.dtype for x in jax.tree.leaves((new.params, new.model_state))} == {jnp.dtype("float32")}
  _, exact = step_on(1, *make_state(Toy(SaliencyConfig(length=8), nnx.Rngs(0))), make_batch())
  np.testing.assert_allclose(scalars["loss"], exact["loss"], rtol=0.02)
  assert scalars["loss"] != exact["loss"]


def test_the_network_is_rebuilt_in_its_mode(toy):
  network, state = toy
  assert network.restore(state.params, state.model_state).bn.use_running_average
  training = nnx.merge(network.training, state.params, state.model_state)
  assert not training.bn.use_running_average
