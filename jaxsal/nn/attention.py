"""Dot-product attention that never holds the whole similarity matrix."""

import jax
import jax.numpy as jnp

# Query rows in a block. With STSANet's 2688 positions on 2 CPU cores, blocks take 11 MB and 26 ms
# (gradient 22 MB, 107 ms), the whole matrix 58 MB and 35 ms (87 MB, 167 ms). Blocks of half the
# rows are no faster.
BLOCK = 512


def attention(
  query: jax.Array, key: jax.Array, value: jax.Array, *, block: int = BLOCK
) -> jax.Array:
  """Computes softmax(query key^T) value, without scaling the logits.

  Blocks of query rows are computed one after the other, so that logits [b, block, m] exist and
  logits [b, n, m] never do. The gradient computes the logits of each block again.
  `jax.nn.dot_product_attention` is no alternative: it requires values as wide as keys, and on CPU
  it holds all logits.

  Args:
    query: [b, n, d].
    key: [b, m, d].
    value: [b, m, c].
    block: largest number of query rows in a block.

  Returns:
    [b, n, c] in value's dtype; logits and softmax are float32.
  """
  b, n, d = query.shape
  blocks = -(-n // block)
  if blocks == 1:
    return _rows(query, key, value)
  size = -(-n // blocks)  # equal blocks need little padding: 2688 rows are 6 x 448
  query = jnp.pad(query, [(0, 0), (0, blocks * size - n), (0, 0)])
  query = jnp.moveaxis(query.reshape(b, blocks, size, d), 1, 0)
  # The loop already rules out what prevent_cse guards against.
  rows = jax.checkpoint(_rows, prevent_cse=False)
  result = jax.lax.map(lambda q: rows(q, key, value), query)
  return jnp.moveaxis(result, 0, 1).reshape(b, blocks * size, -1)[:, :n]


def _rows(query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
  """Computes attention for query rows [b, n, d] at once; returns [b, n, c]."""
  logits = jnp.einsum("bnd,bmd->bnm", query, key, preferred_element_type=jnp.float32)
  weights = jax.nn.softmax(logits).astype(value.dtype)
  return jnp.einsum("bnm,bmc->bnc", weights, value)
