"""Tests of batch normalisation by hand and against PyTorch, with S3D's epsilon and momentum."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxsal import nn

SHAPE = (2, 3, 4, 5, 6)
PARTS = ("scale", "bias", "mean", "var")


def batches():
  rng = np.random.default_rng(0)
  spread = np.exp(rng.standard_normal(6))
  return [(rng.standard_normal(SHAPE) * spread + 3).astype(np.float32) for _ in range(3)]


def make(momentum=0.001):
  norm = nn.BatchNorm(6, momentum=momentum, epsilon=1e-3)
  rng = np.random.default_rng(1)
  for part, low in zip(PARTS, (0.5, -1, -1, 0.5)):
    getattr(norm, part)[...] = jnp.asarray(rng.uniform(low, 1.5, 6), jnp.float32)
  return norm


def with_gradients(norm, x, dy):
  """Returns the output and the gradients of input, scale and bias; updates the statistics."""
  graph, parameters, rest = nnx.split(norm, nnx.Param, ...)

  def f(parameters, x):
    norm = nnx.merge(graph, parameters, rest, copy=True)
    return norm(x), nnx.state(norm, nnx.BatchStat)

  y, pull, statistics = jax.vjp(f, parameters, jnp.asarray(x), has_aux=True)
  gradients, dx = pull(jnp.asarray(dy))
  nnx.update(norm, statistics)
  return y, dx, gradients["scale"][...], gradients["bias"][...]


@pytest.mark.parametrize("momentum", [0.001, 0.1])
def test_equals_pytorch(momentum):
  torch = pytest.importorskip("torch", reason="compares with PyTorch: pip install 'jaxsal[torch]'")
  norm, theirs = make(momentum), torch.nn.BatchNorm3d(6, eps=1e-3, momentum=momentum)
  names = ("weight", "bias", "running_mean", "running_var")
  for part, name in zip(PARTS, names):
    getattr(theirs, name).data.copy_(torch.tensor(np.array(getattr(norm, part)[...])))
  dy = np.random.default_rng(2).standard_normal(SHAPE).astype(np.float32)

  def compare(x):
    actual = with_gradients(norm, x, dy)
    tx = torch.from_numpy(x).movedim(-1, 1).requires_grad_()
    ty = theirs(tx).movedim(1, -1)
    leaves = (tx, theirs.weight, theirs.bias)
    dx, *rest = torch.autograd.grad(ty, leaves, torch.from_numpy(dy))
    for a, e in zip(actual, (ty.detach(), dx.movedim(1, -1), *rest)):
      # The tolerance is for float32 means over 120 elements.
      np.testing.assert_allclose(a, e, rtol=1e-5, atol=1e-5)

  *training, last = batches()
  for x in training:
    compare(x)
  for part, name in zip(PARTS, names):
    expected = getattr(theirs, name).detach()
    np.testing.assert_allclose(getattr(norm, part)[...], expected, rtol=2e-6, err_msg=name)
  norm.eval()
  theirs.eval()
  compare(last)
  np.testing.assert_allclose(norm.var[...], theirs.running_var, rtol=2e-6)


def test_gradients_are_those_of_autodiff():
  """Sums have 12,800 elements, and the channels' means are far from zero."""
  rng = np.random.default_rng(3)
  x, dy = (rng.standard_normal((2, 4, 40, 40, 6)).astype(np.float32) for _ in range(2))
  x += np.arange(-10, 11, 4, dtype=np.float32)
  norm = make()

  def plain(x, scale, bias):
    axes = (0, 1, 2, 3)
    centred = x - x.mean(axes)
    return centred / jnp.sqrt((centred**2).mean(axes) + 1e-3) * scale + bias

  y, pull = jax.vjp(plain, x, norm.scale[...], norm.bias[...])
  actual = with_gradients(norm, x, dy)
  for a, e in zip(actual, (y, *pull(dy))):
    # The tolerance is a few float32 roundings, 6e-8 each, of the largest value.
    np.testing.assert_allclose(a, e, rtol=0, atol=1e-6 * np.abs(e).max())


def test_running_variance_is_the_unbiased_one():
  norm = nn.BatchNorm(1, momentum=0.25, epsilon=0.0)
  y = norm(jnp.array([[1.0], [3.0]]))
  np.testing.assert_allclose(y.ravel(), [-1, 1], rtol=1e-6)  # the biased deviation, 1
  np.testing.assert_allclose(norm.mean[...], 0.25 * 2)
  np.testing.assert_allclose(norm.var[...], 0.75 * 1 + 0.25 * 2)


def test_eval_mode_uses_and_keeps_the_running_statistics():
  norm = make()
  norm.eval()
  before = {part: np.asarray(getattr(norm, part)[...]) for part in PARTS}
  x = batches()[0]
  expected = (x - before["mean"]) / np.sqrt(before["var"] + 1e-3) * before["scale"] + before["bias"]
  np.testing.assert_allclose(norm(jnp.asarray(x)), expected, rtol=1e-5, atol=1e-5)
  for part in PARTS:
    np.testing.assert_array_equal(getattr(norm, part)[...], before[part])
  norm.train()
  norm(jnp.asarray(x))
  assert (np.asarray(norm.mean[...]) != before["mean"]).all()


def test_bfloat16_keeps_float32_statistics():
  """The mean is far from zero, so that sums in bfloat16 would be off by far more than 1e-5."""
  # Integers below 256 are exact in bfloat16.
  x = np.random.default_rng(0).integers(180, 220, (4, 8, 16, 16, 6)).astype(np.float32)
  norm = nn.BatchNorm(6, momentum=1.0, epsilon=1e-3)
  y = norm(jnp.asarray(x, jnp.bfloat16))
  assert y.dtype == jnp.bfloat16
  for part in PARTS:
    assert getattr(norm, part)[...].dtype == jnp.float32
  axes = (0, 1, 2, 3)
  exact = x.astype(np.float64)
  np.testing.assert_allclose(norm.mean[...], exact.mean(axes), rtol=1e-5)
  np.testing.assert_allclose(norm.var[...], exact.var(axes, ddof=1), rtol=1e-4)
  expected = (exact - exact.mean(axes)) / np.sqrt(exact.var(axes) + 1e-3)
  np.testing.assert_allclose(np.asarray(y, np.float32), expected, rtol=2**-8, atol=1e-3)


def test_one_element_has_no_unbiased_variance():
  norm = nn.BatchNorm(2, momentum=0.5, epsilon=1e-3)
  norm(jnp.array([[3.0, 4.0]]))
  assert np.isfinite(norm.var[...]).all()


def test_a_sharded_batch_has_the_statistics_of_the_whole():
  mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
  sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))
  x = np.random.default_rng(0).standard_normal((8, 2, 3, 3, 6)).astype(np.float32)
  x += np.arange(8).reshape(8, 1, 1, 1, 1)  # every device has a mean of its own
  graph, state = nnx.split(make())

  @jax.jit
  def f(x):
    norm = nnx.merge(graph, state, copy=True)
    return norm(x), norm.mean[...], norm.var[...]

  for a, b in zip(f(jax.device_put(x, sharding)), f(jnp.asarray(x))):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)
