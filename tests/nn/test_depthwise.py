"""Depthwise convolution: both formulations give one result, forward and backward."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsal.nn import depthwise


def normal(*shape, seed=0):
  return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(8, 12), (7, 5)])
def test_sums_of_shifts_are_grouped_convolutions(size, stride):
  x, kernel = normal(2, *size, 6), normal(3, 3, 1, 6, seed=1)
  one, other = depthwise._sum_of_shifts(x, kernel, stride), depthwise._grouped(x, kernel, stride)
  assert one.shape == (2, -(-size[0] // stride), -(-size[1] // stride), 6)
  np.testing.assert_allclose(one, other, atol=1e-5)

  def loss(formulation):
    return lambda *args: jnp.square(formulation(*args, stride)).sum()

  gradients = (
    jax.grad(loss(f), argnums=(0, 1))(x, kernel)
    for f in (depthwise._sum_of_shifts, depthwise._grouped)
  )
  for a, b in zip(*gradients):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_each_channel_has_its_own_kernel():
  x, kernel = normal(1, 6, 6, 3), normal(3, 3, 1, 3, seed=1)
  whole = depthwise.depthwise_conv2d(x, kernel)
  for c in range(3):
    alone = depthwise.depthwise_conv2d(x[..., c : c + 1], kernel[..., c : c + 1])
    np.testing.assert_allclose(whole[..., c : c + 1], alone, atol=1e-6)
