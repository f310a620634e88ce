"""Max pooling on channels-last clips."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxsal.nn.windows import Triple, elements_of_windows, windows_to_elements


def max_pool3d(
  x: jax.Array, window: Triple, stride: Triple, padding: Triple = (0, 0, 0)
) -> jax.Array:
  """Maximum of x [b, t, h, w, c] over windows in t, h, w; padded with -inf, sizes round down.

  Over height and width, then over time, each as the maximum of shifted slices; on CPU this beats
  `reduce_window` in both directions, and one axis after the other. Of equal elements the first in
  (t, h, w) scan order has the gradient alone, as in PyTorch.
  """
  space = (1, *window[1:]), (1, *stride[1:]), (0, *padding[1:])
  time = (window[0], 1, 1), (stride[0], 1, 1), (padding[0], 0, 0)
  for k, s, p in (space, time):  # the scan's inner axes first: time then compares first maxima
    if max(k + s) > 1:
      x = _max_pool(x, x.shape[1:4], k, s, p)
  return x


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3, 4))
def _max_pool(
  x: jax.Array, size: Triple, window: Triple, stride: Triple, padding: Triple
) -> jax.Array:
  """`max_pool3d` of x of this size, all axes at once.

  The gradient is written out: autodiff of `maximum` compares all elements once more, in float32.
  """
  return functools.reduce(jnp.maximum, elements_of_windows(x, window, stride, padding))


def _max_pool_forward(x, size, window, stride, padding):
  best, *others = elements_of_windows(x, window, stride, padding)
  number = np.min_scalar_type(-math.prod(window))  # int8, but for the largest windows
  where = jnp.zeros(best.shape, number)
  for i, value in enumerate(others, start=1):
    where = jnp.where(value > best, number.type(i), where)
    best = jnp.maximum(best, value)
  return best, where


def _max_pool_backward(size, window, stride, padding, where, dy):
  def add(y, here, dy):
    return y + jnp.where(here, dy, 0)

  return (windows_to_elements(dy, where, size, window, stride, padding, add),)


_max_pool.defvjp(_max_pool_forward, _max_pool_backward)
