"""Max pooling that returns where the maxima were, and unpooling that puts values back there.

Both consist of slices and selections, without a scatter. The result is therefore the same on CPU,
GPU and TPU, even if two pooling windows have their maximum in one element.
"""

import jax
import jax.numpy as jnp

from jaxsal.nn.geometry import Triple
from jaxsal.nn.pooling_windows import elements_of_windows, windows_to_elements


def max_pool3d_with_switches(
  x: jax.Array, window: Triple, stride: Triple, padding: Triple = (0, 0, 0)
) -> tuple[jax.Array, jax.Array]:
  """Takes the maximum over each pooling window and says which element it is.

  Equal elements are common after a ReLU. The first of them in (t, h, w) scan order is the maximum,
  and has the gradient alone, as in PyTorch.

  Args:
    x: [b, t, h, w, c].
    window, stride, padding: sizes in the order t, h, w. Padding is -inf; the numbers of pooling
      windows are rounded down.

  Returns:
    Pooled values [b, t', h', w', c], and switches of the same shape, int32. A switch is the number
    of the maximum within its pooling window: (i * kh + j) * kw + l for the i-th, j-th and l-th
    element along t, h and w.
  """
  best, *others = elements_of_windows(x, window, stride, padding)
  switches = jnp.zeros(best.shape, jnp.int32)
  for number, value in enumerate(others, start=1):
    better = value > best
    best = jnp.where(better, value, best)
    switches = jnp.where(better, number, switches)
  return best, switches


def max_unpool3d(
  x: jax.Array,
  switches: jax.Array,
  size: Triple,
  window: Triple,
  stride: Triple,
  padding: Triple = (0, 0, 0),
) -> jax.Array:
  """Puts each value where its pooling window had the maximum, and zeros elsewhere.

  If overlapping pooling windows had the same maximum, the value of the window that is last in
  (t, h, w) scan order wins, as in PyTorch on CPU. Every value has the gradient of the element that
  its switch names, even if another value won there, as in PyTorch.

  Args:
    x: [b, t', h', w', c].
    switches: result of `max_pool3d_with_switches`, of x's shape.
    size: t, h, w of the result, which is the size that was pooled.
    window, stride, padding: sizes of the pooling.

  Returns:
    [b, *size, c].
  """
  return _max_unpool(x, switches, size, window, stride, padding)


def _max_unpool_inference(
  x: jax.Array,
  switches: jax.Array,
  size: Triple,
  window: Triple,
  stride: Triple,
  padding: Triple,
) -> jax.Array:
  def put(y: jax.Array, here: jax.Array, x: jax.Array) -> jax.Array:
    return jnp.where(here, x, y)

  return windows_to_elements(x, switches, size, window, stride, padding, put)


def _max_unpool_forward(
  x: jax.Array,
  switches: jax.Array,
  size: Triple,
  window: Triple,
  stride: Triple,
  padding: Triple,
) -> tuple[jax.Array, jax.Array]:
  return _max_unpool(x, switches, size, window, stride, padding), switches


def _max_unpool_backward(
  size: Triple,
  window: Triple,
  stride: Triple,
  padding: Triple,
  switches: jax.Array,
  dy: jax.Array,
) -> tuple[jax.Array, None]:
  dx = jnp.zeros(switches.shape, dy.dtype)
  for number, value in enumerate(elements_of_windows(dy, window, stride, padding)):
    dx = jnp.where(switches == number, value, dx)  # no switch names an element of the padding
  return dx, None


_max_unpool = jax.custom_vjp(_max_unpool_inference, nondiff_argnums=(2, 3, 4, 5))
_max_unpool.defvjp(_max_unpool_forward, _max_unpool_backward)
