"""Max pooling on channels-last clips."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxsal.nn.geometry import Triple
from jaxsal.nn.pooling_windows import elements_of_windows, windows_to_elements


def max_pool3d(
  x: jax.Array, window: Triple, stride: Triple, padding: Triple = (0, 0, 0)
) -> jax.Array:
  """Takes the maximum over each pooling window.

  Height and width are pooled first, then time, each as the maximum of shifted slices. On CPU this
  is faster than `reduce_window` and than one axis after the other, forward and backward. If several
  elements of a window are equal, the first in (t, h, w) scan order has the gradient alone, as in
  PyTorch.

  Args:
    x: [b, t, h, w, c].
    window, stride, padding: sizes in the order t, h, w. Padding is -inf; the numbers of pooling
      windows are rounded down.

  Returns:
    [b, t', h', w', c].
  """
  (kt, kh, kw), (st, sh, sw), (pt, ph, pw) = window, stride, padding
  space = (1, kh, kw), (1, sh, sw), (0, ph, pw)
  time = (kt, 1, 1), (st, 1, 1), (pt, 0, 0)
  # The inner axes of the scan come first, so that the pass over time compares first maxima.
  for window, stride, padding in (space, time):
    if max(window + stride) > 1:
      size = x.shape[1:4]
      x = _max_pool(x, size, window, stride, padding)
  return x


def _max_pool_inference(
  x: jax.Array, size: Triple, window: Triple, stride: Triple, padding: Triple
) -> jax.Array:
  """Pools x, whose t, h, w are `size`, over all axes at once.

  It has its own gradient, because autodiff of `maximum` compares all elements again, in float32.
  """
  return functools.reduce(jnp.maximum, elements_of_windows(x, window, stride, padding))


def _max_pool_forward(
  x: jax.Array, size: Triple, window: Triple, stride: Triple, padding: Triple
) -> tuple[jax.Array, jax.Array]:
  """Returns the maxima and, for the backward pass, their numbers within the pooling windows."""
  best, *others = elements_of_windows(x, window, stride, padding)
  number = np.min_scalar_type(-math.prod(window))  # int8, except for the largest windows
  where = jnp.zeros(best.shape, number)
  for i, value in enumerate(others, start=1):
    where = jnp.where(value > best, number.type(i), where)
    best = jnp.maximum(best, value)
  return best, where


def _max_pool_backward(
  size: Triple, window: Triple, stride: Triple, padding: Triple, where: jax.Array, dy: jax.Array
) -> tuple[jax.Array]:
  def add(y: jax.Array, here: jax.Array, dy: jax.Array) -> jax.Array:
    return y + jnp.where(here, dy, 0)

  return (windows_to_elements(dy, where, size, window, stride, padding, add),)


_max_pool = jax.custom_vjp(_max_pool_inference, nondiff_argnums=(1, 2, 3, 4))
_max_pool.defvjp(_max_pool_forward, _max_pool_backward)
