"""Max pooling that remembers where the maxima were, and unpooling that puts values back there.

Both are written with slices and selections, without a scatter: the result is the same on CPU, GPU
and TPU also where two windows picked the same element.
"""

import functools
import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

Triple = tuple[int, int, int]


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
  best, *others = window_elements(x, window, stride, padding)
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
  cells = tuple(-(-n // s) for n, s in zip(size, stride))
  phases = []
  for phase in windows_of_phases(window, stride, padding):
    y = jnp.zeros((x.shape[0], *cells, x.shape[-1]), x.dtype)
    # A later window holds the element under a smaller number: the last to be written wins.
    for number, shift in reversed(phase):
      edges = [(-d, m + d - n, 0) for d, m, n in zip(shift, cells, x.shape[1:4])]
      edges = [(0, 0, 0), *edges, (0, 0, 0)]
      here = lax.pad(switches, jnp.int32(-1), edges) == number
      y = jnp.where(here, lax.pad(x, jnp.zeros((), x.dtype), edges), y)
    phases.append(y)
  y = interleave(jnp.stack(phases, axis=4), stride)
  return y[:, : size[0], : size[1], : size[2]]


def _max_unpool3d_forward(x, switches, *geometry):
  return max_unpool3d(x, switches, *geometry), switches


def _max_unpool3d_backward(size, window, stride, padding, switches, dy):
  counts = switches.shape[1:4]
  # All windows whole: what lies outside is never picked.
  ends = [(m - 1) * s + k for m, s, k in zip(counts, stride, window)]
  edges = [(p, end - p - n, 0) for p, end, n in zip(padding, ends, size)]
  dy = lax.pad(dy, jnp.zeros((), dy.dtype), [(0, 0, 0), *edges, (0, 0, 0)])
  dx = jnp.zeros(switches.shape, dy.dtype)
  for number, element in _elements(window):
    dx = jnp.where(switches == number, _of_windows(dy, element, counts, stride), dx)
  return dx, None


max_unpool3d.defvjp(_max_unpool3d_forward, _max_unpool3d_backward)


def window_elements(
  x: jax.Array, window: Triple, stride: Triple, padding: Triple
) -> list[jax.Array]:
  """Of each window the first element, the second, ... in scan order, each [b, t', h', w', c]."""
  x = pad(x, [(p, p) for p in padding], -jnp.inf)
  counts = [(n - k) // s + 1 for n, k, s in zip(x.shape[1:4], window, stride)]
  return [_of_windows(x, element, counts, stride) for _, element in _elements(window)]


def pad(x: jax.Array, edges: Sequence[tuple[int, int]], value: float) -> jax.Array:
  """With a value before and after t, h and w of x [b, t, h, w, c].

  In an array of its own on CPU, where a loop over shifted slices that pads runs element by element.
  """
  if not any(map(any, edges)):
    return x
  edges = [(0, 0, 0), *((*e, 0) for e in edges), (0, 0, 0)]
  x = lax.pad(x, jnp.array(value, x.dtype), edges)
  return lax.platform_dependent(x, cpu=lax.optimization_barrier, default=lambda x: x)


def windows_of_phases(
  window: Triple, stride: Triple, padding: Triple
) -> list[list[tuple[int, Triple]]]:
  """Which windows hold an element, and under which number, for each phase of the stride.

  Element s * m + r of what is pooled, r the phase, is number k = r + p - s * d of the window m + d:
  pairs of k, counted in scan order, and d.
  """
  phases = []
  for phase in itertools.product(*map(range, stride)):
    windows = []
    for number, element in _elements(window):
      shift = [r + p - k for r, p, k in zip(phase, padding, element)]
      if not any(d % s for d, s in zip(shift, stride)):
        windows.append((number, tuple(d // s for d, s in zip(shift, stride))))
    phases.append(windows)
  return phases


def _elements(window: Triple) -> list[tuple[int, Triple]]:
  """Number and position of a window's elements, in scan order."""
  return list(enumerate(itertools.product(*map(range, window))))


def _of_windows(x: jax.Array, element: Triple, counts: Sequence[int], stride: Triple) -> jax.Array:
  """That element of each of the windows of x [b, t, h, w, c]: [b, *counts, c]."""
  t, h, w = (slice(k, k + (m - 1) * s + 1, s) for k, m, s in zip(element, counts, stride))
  return x[:, t, h, w]


def interleave(x: jax.Array, stride: Triple) -> jax.Array:
  """Phases of a stride, as the last but one axis in (t, h, w) order, become elements in between.

  [b, t, h, w, st*sh*sw, c] -> [b, t*st, h*sh, w*sw, c].
  """
  b, t, h, w, _, c = x.shape
  (st, sh, sw) = stride
  x = x.reshape(b, t, h, w, st, sh, sw, c).transpose(0, 1, 4, 2, 5, 3, 6, 7)
  return x.reshape(b, t * st, h * sh, w * sw, c)
