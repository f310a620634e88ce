"""Tests of max pooling and its gradient against the definition and against PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsal import nn

# (pooling window, stride, padding) for t, h, w = 7, 9, 10: S3D's four pools, TASED-Net's, others.
CASES = [
  ((1, 3, 3), (1, 2, 2), (0, 1, 1)),
  ((3, 3, 3), (1, 1, 1), (1, 1, 1)),
  ((3, 3, 3), (2, 2, 2), (1, 1, 1)),
  ((2, 2, 2), (2, 2, 2), (0, 0, 0)),
  ((4, 1, 1), (4, 1, 1), (0, 0, 0)),
  ((2, 1, 1), (2, 1, 1), (0, 0, 0)),
  ((1, 1, 1), (2, 3, 1), (0, 0, 0)),
  ((4, 2, 3), (2, 1, 3), (2, 1, 0)),
  ((1, 12, 12), (1, 4, 3), (0, 6, 6)),  # more elements than a byte can number
]


def clip():
  # All values are negative, so that padding with 0 instead of -inf would show.
  x = np.random.default_rng(0).standard_normal((2, 7, 9, 10, 3)).astype(np.float32)
  return x - 5


def with_gradient(x, dy_of, case):
  y, pull = jax.vjp(lambda x: nn.max_pool3d(x, *case), jnp.asarray(x))
  dy = dy_of(y.shape)
  return y, pull(jnp.asarray(dy))[0], dy


def normal(shape):
  return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("case", CASES)
def test_is_what_the_definition_says(case):
  x = clip()
  y = nn.max_pool3d(jnp.asarray(x), *case)
  padded = np.pad(x, [(0, 0), *((p, p) for p in case[2]), (0, 0)], constant_values=-np.inf)
  windows = np.lib.stride_tricks.sliding_window_view(padded, case[0], (1, 2, 3))
  st, sh, sw = case[1]
  expected = windows[:, ::st, ::sh, ::sw].max((-3, -2, -1))
  np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("case", CASES)
def test_equals_pytorch(case):
  torch = pytest.importorskip("torch", reason="compares with PyTorch: pip install 'jaxsal[torch]'")
  y, dx, dy = with_gradient(clip(), normal, case)
  tx = torch.from_numpy(clip()).movedim(-1, 1).requires_grad_()
  ty = torch.nn.functional.max_pool3d(tx, *case).movedim(1, -1)
  np.testing.assert_array_equal(y, ty.detach())
  (tdx,) = torch.autograd.grad(ty, tx, torch.from_numpy(dy))
  # Up to 27 overlapping pooling windows are added up, in another order than PyTorch's.
  np.testing.assert_allclose(dx, tdx.movedim(1, -1), rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("case", CASES)
def test_the_first_of_equal_elements_has_the_gradient(case):
  x = np.round(clip())  # many ties, and the two poolings have the same first elements
  y, dx, dy = with_gradient(x, normal, case)
  _, switches = nn.max_pool3d_with_switches(jnp.asarray(x), *case)
  number = np.asarray(switches)
  expected = np.zeros_like(x)
  for place in np.ndindex(y.shape):
    b, *window, c = place
    element = np.unravel_index(number[place], case[0])
    at = [w * s - p + i for w, s, p, i in zip(window, case[1], case[2], element)]
    expected[b, *at, c] += dy[place]
  np.testing.assert_allclose(dx, expected, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("case", CASES)
def test_gradient_is_autodiffs(case):
  def plain(x):
    padding = [(0, 0), *((p, p) for p in case[2]), (0, 0)]
    window, stride = ((1, *n, 1) for n in case[:2])
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, stride, padding)

  _, dx, dy = with_gradient(clip(), normal, case)
  expected = jax.vjp(plain, jnp.asarray(clip()))[1](jnp.asarray(dy))[0]
  np.testing.assert_allclose(dx, expected, rtol=1e-5, atol=2e-6)


def test_dtype_is_kept():
  x = jnp.asarray(clip(), jnp.bfloat16)
  y = nn.max_pool3d(x, (3, 3, 3), (2, 2, 2), (1, 1, 1))
  assert y.dtype == jnp.bfloat16
  expected = nn.max_pool3d(x.astype(jnp.float32), (3, 3, 3), (2, 2, 2), (1, 1, 1))
  np.testing.assert_array_equal(y.astype(jnp.float32), expected)
