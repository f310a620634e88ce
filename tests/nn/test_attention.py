"""Tests of attention in blocks against the formula."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsal.nn.attention import attention


def plain(query, key, value):
  return jax.nn.softmax(query @ key.swapaxes(1, 2)) @ value


def inputs(n=50, m=37, d=6, c=5):
  rng = np.random.default_rng(0)
  shapes = (2, n, d), (2, m, d), (2, m, c)
  return [jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in shapes]


@pytest.mark.parametrize("block", [1, 7, 25, 49, 50, 512])
def test_blocks_change_nothing(block):
  args = inputs()
  expected, expected_vjp = jax.vjp(plain, *args)
  result, vjp = jax.vjp(lambda *args: attention(*args, block=block), *args)
  np.testing.assert_allclose(result, expected, atol=1e-6)
  cotangent = jnp.cos(expected)
  for gradient, wanted in zip(vjp(cotangent), expected_vjp(cotangent)):
    np.testing.assert_allclose(gradient, wanted, rtol=1e-5, atol=2e-6)


def test_large_logits():
  query, key, value = inputs()
  result = attention(query * 1e4, key, value, block=16)
  best = jnp.argmax(query @ key.swapaxes(1, 2), axis=-1)
  np.testing.assert_allclose(result, jnp.take_along_axis(value, best[..., None], axis=1), atol=1e-3)


def test_bfloat16_has_float32_logits():
  query, key, value = (x.astype(jnp.bfloat16) for x in inputs())
  result = attention(query, key, value, block=16)
  assert result.dtype == jnp.bfloat16
  expected = plain(*(x.astype(jnp.float32) for x in (query, key, value)))
  np.testing.assert_allclose(result.astype(jnp.float32), expected, atol=0.02)


@pytest.mark.parametrize("gradient", [False, True])
def test_memory_is_that_of_a_block(gradient):
  """The 2688 x 2688 logits of STSANet's largest attention, 28.9 MB, must never exist."""
  function = attention
  if gradient:
    function = jax.grad(lambda *args: jnp.sin(attention(*args)).sum(), argnums=(0, 1, 2))
  shapes = (1, 2688, 128), (1, 2688, 128), (1, 2688, 240)
  args = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
  memory = jax.jit(function).lower(*args).compile().memory_analysis()
  assert memory.temp_size_in_bytes < 4 * 2688 * 2688
