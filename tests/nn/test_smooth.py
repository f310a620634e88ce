"""Smoothing with a large kernel: by Fourier transforms and by convolution, one result."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

# The package exports a function of the module's name.
smoothing = importlib.import_module("jaxsal.nn.smooth")


def normal(*shape, seed=0):
  return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


@pytest.mark.parametrize("size", [(16, 24), (9, 31)])
@pytest.mark.parametrize("k", [1, 5, 41])
def test_is_a_cross_correlation_with_repeated_borders(size, k):
  x, kernel = normal(2, *size), normal(k, k, seed=1)
  wanted = [scipy.ndimage.correlate(np.float64(m), np.float64(kernel), mode="nearest") for m in x]
  # Sums of up to 1681 products of unit deviation: 40 in size, in float32.
  np.testing.assert_allclose(smoothing.smooth(x, kernel), wanted, atol=2e-4)


def test_formulations_agree_with_their_gradients():
  x, kernel = normal(2, 20, 30), normal(7, 7, seed=1)
  padded = jnp.pad(x, [(0, 0), (3, 3), (3, 3)], mode="edge")
  one, other = smoothing._by_fft(padded, kernel), smoothing._by_convolution(padded, kernel)
  np.testing.assert_allclose(one, other, atol=1e-4)

  def gradients(formulation):
    return jax.grad(lambda *args: jnp.square(formulation(*args)).sum(), argnums=(0, 1))

  pairs = zip(
    gradients(smoothing._by_fft)(padded, kernel),
    gradients(smoothing._by_convolution)(padded, kernel),
  )
  for a, b in pairs:
    np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-2)
