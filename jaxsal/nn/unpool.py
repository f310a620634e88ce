"""Max pooling that remembers where the maxima were, and unpooling that puts values back there.

Both are written with slices and selections, without a scatter: the result is the same on CPU, GPU
and TPU also where two windows picked the same element.
"""

import functools

import jax
import jax.numpy as jnp

from jaxsal.nn.windows import Triple, elements_of_windows, windows_to_elements


def max_pool3d_with_switches(
  x: jax.Array, window: Triple, stride: Triple, padding: Triple = (0, 0, 0)
) -> tuple[jax.Array, jax.Array]:
  """Maxima over windows in t, h, w as of `max_pool3d`, and where in its window each one is.

  Among equal elements, common after a ReLU, the first in (t, h, w) scan order is the maximum, and
  has the gradient alone, as in PyTorch.

  Args:
    x: [b, t, h, w, c].
    window, stride, padding: in the order t, h, w; padded with -inf, sizes round down.

  Returns:
    Pooled values [b, t', h', w', c]; switches of the same shape, int32: the element's number
    within its window, (i * kh + j) * kw + l for the i-th, j-th and l-th along t, h and w.
  """
  best, *others = elements_of_windows(x, window, stride, padding)
  switches = jnp.zeros(best.shape, jnp.int32)
  for number, value in enumerate(others, start=1):
    better = value > best
    best = jnp.where(better, value, best)
    switches = jnp.where(better, number, switches)
  return best, switches


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4, 5))
def max_unpool3d(
  x: jax.Array,
  switches: jax.Array,
  size: Triple,
  window: Triple,
  stride: Triple,
  padding: Triple = (0, 0, 0),
) -> jax.Array:
  """Puts each value where its window had the maximum; zeros elsewhere.

  Where overlapping windows picked the same element, the window last in (t, h, w) scan order wins
  (what PyTorch does on CPU). As in PyTorch, every window has the gradient of the element that it
  picked, whether its value arrived there or not.

  Args:
    x: [b, t', h', w', c].
    switches: of the same shape, from `max_pool3d_with_switches`.
    size: t, h, w of the result, the size that was pooled.
    window, stride, padding: of the pooling.

  Returns:
    [b, *size, c].
  """

  def put(y, here, x):
    return jnp.where(here, x, y)

  return windows_to_elements(x, switches, size, window, stride, padding, put)


def _max_unpool3d_forward(x, switches, *geometry):
  return max_unpool3d(x, switches, *geometry), switches


def _max_unpool3d_backward(size, window, stride, padding, switches, dy):
  dx = jnp.zeros(switches.shape, dy.dtype)
  for number, value in enumerate(elements_of_windows(dy, window, stride, padding)):
    dx = jnp.where(switches == number, value, dx)  # the padding is never picked
  return dx, None


max_unpool3d.defvjp(_max_unpool3d_forward, _max_unpool3d_backward)
