"""Tests of transposed convolutions: as adjoints of convolutions, and against the definition."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxsal import nn

# (kernel, stride, padding): TASED-Net's four layers, then others.
CASES = [
  ((1, 1, 1), (1, 1, 1), (0, 0, 0)),
  ((1, 3, 3), (1, 1, 1), (0, 1, 1)),
  ((1, 4, 4), (1, 2, 2), (0, 1, 1)),
  ((1, 2, 2), (1, 2, 2), (0, 0, 0)),
  ((2, 3, 3), (2, 2, 2), (0, 1, 1)),
  ((3, 5, 4), (1, 3, 2), (2, 4, 3)),
  ((1, 1, 3), (1, 1, 2), (0, 0, 2)),
]


def arrays(kernel, seed=0):
  rng = np.random.default_rng(seed)
  x = rng.standard_normal((2, 3, 4, 5, 6)).astype(np.float32)
  return x, rng.standard_normal((*kernel, 6, 7)).astype(np.float32)


@pytest.mark.parametrize("case", CASES)
def test_is_what_the_definition_says(case):
  k, stride, padding = case
  x, kernel = arrays(k)
  counts = x.shape[1:4]
  size = [(n - 1) * s - 2 * p + k for n, s, p, k in zip(counts, stride, padding, k)]
  expected = np.zeros((2, *size, 7))
  for i in itertools.product(*map(range, counts)):
    for j in itertools.product(*map(range, k)):
      at = tuple(s * a - p + b for a, b, s, p in zip(i, j, stride, padding))
      if all(0 <= a < n for a, n in zip(at, size)):
        expected[:, *at] += x[:, *i] @ kernel[j].astype(np.float64)
  y = nn.conv_transpose3d(jnp.asarray(x), jnp.asarray(kernel), stride, padding)
  np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_is_the_adjoint_of_the_convolution(case):
  k, stride, padding = case
  x, kernel = arrays(k)
  swapped = jnp.asarray(kernel.swapaxes(-1, -2))
  y, transposed = jax.vjp(
    lambda x: nn.conv_transpose3d(x, jnp.asarray(kernel), stride, padding), jnp.asarray(x)
  )
  dy = np.random.default_rng(1).standard_normal(y.shape).astype(np.float32)
  dx = nn.conv3d(jnp.asarray(dy), swapped, stride, padding)
  np.testing.assert_allclose(transposed(jnp.asarray(dy))[0], dx, rtol=1e-4, atol=1e-4)


def test_with_a_bilinear_kernel_it_is_upsampling_away_from_the_borders():
  module = nn.ConvTranspose(
    3, 3, (1, 4, 4), (1, 2, 2), (0, 1, 1), use_bias=False, rngs=nnx.Rngs(jax.random.key(0))
  )
  line = jnp.array([0.25, 0.75, 0.75, 0.25])
  module.kernel[...] = jnp.einsum("i,j,cd->ijcd", line, line, jnp.eye(3))[None]
  x = jnp.asarray(np.random.default_rng(0).standard_normal((1, 2, 5, 6, 3)).astype(np.float32))
  y, expected = module(x), nn.upsample(x, (1, 2, 2))
  assert y.shape == expected.shape
  np.testing.assert_allclose(y[:, :, 1:-1, 1:-1], expected[:, :, 1:-1, 1:-1], atol=1e-6)


def test_random_kernels_keep_the_scale_whatever_the_stride():
  x = jax.random.normal(jax.random.key(1), (1, 2, 16, 16, 64))
  for kernel, stride, padding in (CASES[1], CASES[2]):
    module = nn.ConvTranspose(64, 64, kernel, stride, padding, rngs=nnx.Rngs(jax.random.key(0)))
    assert 1.2 < float(module(x).std()) < 1.6  # He initialisation gives the square root of 2
