"""Sizes, strides and paddings, as convolutions and pooling share them."""

import jax

Pair = tuple[int, int]  # in the order h, w
Triple = tuple[int, int, int]  # in the order t, h, w
# Numbers of elements that are added before and after each axis. Negative numbers cut elements off.
Padding2d = tuple[Pair, Pair]
Padding3d = tuple[Pair, Pair, Pair]


def is_temporal(kernel_shape: tuple[int, ...], stride: Pair, padding: Padding2d) -> bool:
  """Returns whether a 2-D convolution runs over the first of its two axes alone.

  Kernels (k, 1, 1) over time become such convolutions of [b, t, h * w, c].
  """
  return (kernel_shape[1], stride[1], padding[1]) == (1, 1, (0, 0))


def interleave(x: jax.Array, stride: Triple) -> jax.Array:
  """Moves the phases of a stride to their positions in t, h and w ("depth to space").

  Args:
    x: [b, t, h, w, st * sh * sw, c]; the last axis but one holds the phases in (t, h, w) order.
    stride: st, sh, sw.

  Returns:
    [b, t * st, h * sh, w * sw, c].
  """
  b, t, h, w, _, c = x.shape
  st, sh, sw = stride
  x = x.reshape(b, t, h, w, st, sh, sw, c).transpose(0, 1, 4, 2, 5, 3, 6, 7)
  return x.reshape(b, t * st, h * sh, w * sw, c)
