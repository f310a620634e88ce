"""XLA's own 2-D convolution and its gradients, for platforms that have no better formulation."""

import functools

import jax
from jax import lax

from jaxsal.nn.geometry import Padding2d, Pair

_LAYOUT = ("NHWC", "HWIO", "NHWC")


def conv2d(x: jax.Array, kernel: jax.Array, stride: Pair, padding: Padding2d) -> jax.Array:
  """Cross-correlates x [n, h, w, c] with a kernel [kh, kw, c, d]; returns [n, h', w', d]."""
  return lax.conv_general_dilated(x, kernel, stride, padding, dimension_numbers=_LAYOUT)


def gradients(
  x: jax.Array, kernel: jax.Array, dy: jax.Array, stride: Pair, padding: Padding2d
) -> tuple[jax.Array, jax.Array]:
  """Returns the gradients of `conv2d`'s x and kernel for the gradient dy [n, h', w', d]."""
  _, pull = jax.vjp(functools.partial(conv2d, stride=stride, padding=padding), x, kernel)
  return pull(dy)
