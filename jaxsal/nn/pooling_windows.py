"""Windows over t, h and w: what pooling, unpooling and transposed convolutions share."""

import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

Triple = tuple[int, int, int]


def elements_of_windows(
  x: jax.Array, window: Triple, stride: Triple, padding: Triple
) -> list[jax.Array]:
  """Of each window of x the first element, the second, ... in (t, h, w) scan order.

  Args:
    x: [b, t, h, w, c].
    window, stride, padding: in the order t, h, w; padded with -inf, sizes round down.

  Returns:
    As many arrays [b, t', h', w', c] as a window has elements.
  """
  x = _pad(x, [(p, p) for p in padding], -jnp.inf)
  counts = [(n - k) // s + 1 for n, k, s in zip(x.shape[1:4], window, stride)]

  def of_all(element: Triple) -> jax.Array:
    t, h, w = (slice(k, k + (m - 1) * s + 1, s) for k, m, s in zip(element, counts, stride))
    return x[:, t, h, w]

  return list(map(of_all, _positions(window)))


def windows_to_elements(
  x: jax.Array,
  numbers: jax.Array,
  size: Triple,
  window: Triple,
  stride: Triple,
  padding: Triple,
  put: Callable[[jax.Array, jax.Array, jax.Array], jax.Array],
) -> jax.Array:
  """The reverse: x[i] goes to the element of window i that has number numbers[i].

  Args:
    x, numbers: [b, t', h', w', c].
    size: t, h, w of the result.
    window, stride, padding: of the windows.
    put: (y, here, value) -> y with the values where `here`; called for one window of each element
      after the other, the later windows first.

  Returns:
    [b, *size, c].
  """
  # Element s * m + r of the result, r a phase of the stride, is number k = r + p - s * d of the
  # window m + d: a shift of x for each k.
  phases = []
  for phase in _positions(stride):
    windows = []
    for number, element in enumerate(_positions(window)):
      shift = [r + p - k for r, p, k in zip(phase, padding, element)]
      if not any(d % s for d, s in zip(shift, stride)):
        windows.append((number, [d // s for d, s in zip(shift, stride)]))
    phases.append(windows[::-1])
  shifts = list(zip(*(shift for windows in phases for _, shift in windows)))
  cells = [-(-n // s) for n, s in zip(size, stride)]  # elements in each phase
  before = [max(0, -min(d)) for d in shifts]
  after = [max(0, m + max(d) - n) for d, m, n in zip(shifts, cells, x.shape[1:4])]
  edges = list(zip(before, after))
  x, numbers = _pad(x, edges, 0), _pad(numbers, edges, -1)

  def of_phase(windows: list[tuple[int, list[int]]]) -> jax.Array:
    y = jnp.zeros((len(x), *cells, x.shape[-1]), x.dtype)
    for number, shift in windows:
      t, h, w = (slice(p + d, p + d + m) for p, d, m in zip(before, shift, cells))
      y = put(y, numbers[:, t, h, w] == number, x[:, t, h, w])
    return y

  y = interleave(jnp.stack(list(map(of_phase, phases)), axis=4), stride)
  return y[:, : size[0], : size[1], : size[2]]


def interleave(x: jax.Array, stride: Triple) -> jax.Array:
  """Phases of a stride, as the last but one axis in (t, h, w) order, become elements in between.

  [b, t, h, w, st*sh*sw, c] -> [b, t*st, h*sh, w*sw, c].
  """
  b, t, h, w, _, c = x.shape
  (st, sh, sw) = stride
  x = x.reshape(b, t, h, w, st, sh, sw, c).transpose(0, 1, 4, 2, 5, 3, 6, 7)
  return x.reshape(b, t * st, h * sh, w * sw, c)


def _positions(window: Triple) -> list[Triple]:
  """Of a window's elements, in scan order."""
  return list(itertools.product(*map(range, window)))


def _pad(x: jax.Array, edges: list[tuple[int, int]], value: float) -> jax.Array:
  """With a value before and after t, h and w of x [b, t, h, w, c].

  In an array of its own on CPU, where a loop over shifted slices that pads runs element by element.
  """
  if not any(map(any, edges)):
    return x
  edges = [(0, 0, 0), *((*e, 0) for e in edges), (0, 0, 0)]
  x = lax.pad(x, jnp.array(value, x.dtype), edges)
  return lax.platform_dependent(x, cpu=lax.optimization_barrier, default=lambda x: x)
