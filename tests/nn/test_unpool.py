"""Tests of pooling with switches and of unpooling, against their definitions in NumPy."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsal import nn

# (size of the input, pooling window, stride, padding): TASED-Net's, STSANet's, odd sizes, windows
# over time.
CASES = [
  ((2, 6, 8), (1, 3, 3), (1, 2, 2), (0, 1, 1)),
  ((2, 6, 8), (1, 2, 2), (1, 2, 2), (0, 0, 0)),
  ((1, 5, 7), (1, 3, 3), (1, 2, 2), (0, 1, 1)),
  ((1, 7, 7), (1, 3, 2), (1, 3, 2), (0, 0, 0)),
  ((5, 4, 6), (2, 3, 3), (1, 2, 1), (1, 1, 0)),
  ((4, 4, 4), (3, 3, 3), (2, 2, 2), (1, 1, 1)),
]


def clip(size, levels=4, seed=0):
  """Makes a clip with few different values and many zeros, so that almost all maxima are ties."""
  rng = np.random.default_rng(seed)
  return np.maximum(rng.integers(-levels, levels, (2, *size, 3)), 0).astype(np.float32)


def windows(size, window, stride, padding):
  """Yields each pooling window's index and its elements, (number, index), in scan order."""
  counts = [(n + 2 * p - k) // s + 1 for n, k, s, p in zip(size, window, stride, padding)]
  for o in itertools.product(*map(range, counts)):
    elements = []
    for number, k in enumerate(itertools.product(*map(range, window))):
      at = tuple(i * s - p + j for i, s, p, j in zip(o, stride, padding, k))
      if all(0 <= i < n for i, n in zip(at, size)):
        elements.append((number, at))
    yield o, elements


def reference_pool(x, window, stride, padding):
  size = x.shape[1:4]
  counts = [(n + 2 * p - k) // s + 1 for n, k, s, p in zip(size, window, stride, padding)]
  pooled = np.empty((x.shape[0], *counts, x.shape[-1]), np.float32)
  switches = np.empty(pooled.shape, np.int32)
  for o, elements in windows(size, window, stride, padding):
    values = np.stack([x[:, *at] for _, at in elements])
    first = values.argmax(0)  # NumPy's argmax is the first of equal maxima, too
    pooled[:, *o] = values.max(0)
    switches[:, *o] = np.array([number for number, _ in elements])[first]
  return pooled, switches


def reference_unpool(x, switches, size, window, stride, padding):
  y = np.zeros((x.shape[0], *size, x.shape[-1]), np.float32)
  for o, elements in windows(size, window, stride, padding):
    for number, at in elements:  # a later pooling window overwrites an earlier one
      y[:, *at] = np.where(switches[:, *o] == number, x[:, *o], y[:, *at])
  return y


@pytest.mark.parametrize("case", CASES)
def test_pooling_takes_the_first_maximum(case):
  size, geometry = case[0], case[1:]
  x = clip(size)
  expected, numbers = reference_pool(x, *geometry)
  pooled, switches = nn.max_pool3d_with_switches(jnp.asarray(x), *geometry)
  np.testing.assert_array_equal(pooled, expected)
  np.testing.assert_array_equal(switches, numbers)
  np.testing.assert_array_equal(nn.max_pool3d(jnp.asarray(x), *geometry), expected)


@pytest.mark.parametrize("case", CASES)
def test_unpooling_lets_the_last_window_win(case):
  size, geometry = case[0], case[1:]
  _, switches = reference_pool(clip(size), *geometry)
  x = np.random.default_rng(1).standard_normal(switches.shape).astype(np.float32)
  y = nn.max_unpool3d(jnp.asarray(x), jnp.asarray(switches), size, *geometry)
  np.testing.assert_array_equal(y, reference_unpool(x, switches, size, *geometry))


@pytest.mark.parametrize("case", CASES)
def test_gradients_are_pytorchs(case):
  """Pooling passes gradients to maxima alone, unpooling to all windows that had the maximum."""
  size, geometry = case[0], case[1:]
  x = clip(size)
  _, switches = reference_pool(x, *geometry)
  rng = np.random.default_rng(1)
  z = rng.standard_normal(switches.shape).astype(np.float32)
  dy = rng.standard_normal(x.shape).astype(np.float32)
  dx, dz = np.zeros_like(x), np.zeros_like(z)
  for o, elements in windows(size, *geometry):
    for number, at in elements:
      picked = switches[:, *o] == number
      dx[:, *at] += np.where(picked, z[:, *o], 0)
      dz[:, *o] += np.where(picked, dy[:, *at], 0)

  pooling = jax.vjp(lambda x: nn.max_pool3d_with_switches(x, *geometry)[0], jnp.asarray(x))[1]
  np.testing.assert_allclose(pooling(jnp.asarray(z))[0], dx, atol=1e-6)
  unpooling = jax.vjp(
    lambda z: nn.max_unpool3d(z, jnp.asarray(switches), size, *geometry), jnp.asarray(z)
  )[1]
  np.testing.assert_array_equal(unpooling(jnp.asarray(dy))[0], dz)


def test_unpooling_what_was_pooled_keeps_the_maxima():
  x = jnp.asarray(np.random.default_rng(0).standard_normal((1, 2, 8, 6, 4)).astype(np.float32))
  geometry = ((1, 3, 3), (1, 2, 2), (0, 1, 1))
  pooled, switches = nn.max_pool3d_with_switches(x, *geometry)
  y = nn.max_unpool3d(pooled, switches, (2, 8, 6), *geometry)
  np.testing.assert_array_equal(y, jnp.where(y != 0, x, 0))
  np.testing.assert_array_equal(nn.max_pool3d(jnp.where(y != 0, y, -9), *geometry), pooled)
