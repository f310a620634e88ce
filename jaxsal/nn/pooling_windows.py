"""Windows of max pooling over t, h and w: reading their elements and writing to them."""

import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax

from jaxsal.nn.geometry import Pair, Triple, interleave


def elements_of_windows(
  x: jax.Array, window: Triple, stride: Triple, padding: Triple
) -> list[jax.Array]:
  """Lists the first elements of all pooling windows, then their second elements, and so on.

  Args:
    x: [b, t, h, w, c].
    window, stride, padding: sizes in the order t, h, w. Padding is -inf; the numbers of pooling
      windows are rounded down.

  Returns:
    One array [b, t', h', w', c] for each element of a pooling window, in (t, h, w) scan order.
  """
  x = _pad(x, [(p, p) for p in padding], -jnp.inf)
  counts = [(n - k) // s + 1 for n, k, s in zip(x.shape[1:4], window, stride)]

  def of_all_windows(element: Triple) -> jax.Array:
    t, h, w = (slice(k, k + (m - 1) * s + 1, s) for k, m, s in zip(element, counts, stride))
    return x[:, t, h, w]

  return list(map(of_all_windows, _scan(window)))


def windows_to_elements(
  x: jax.Array,
  numbers: jax.Array,
  size: Triple,
  window: Triple,
  stride: Triple,
  padding: Triple,
  put: Callable[[jax.Array, jax.Array, jax.Array], jax.Array],
) -> jax.Array:
  """Writes the value of each pooling window to one of the window's elements.

  Args:
    x: value of each pooling window, [b, t', h', w', c].
    numbers: number of the element, in its pooling window, that takes the value; shape of x.
    size: t, h, w of the result.
    window, stride, padding: sizes in the order t, h, w.
    put: function (y, here, value) that returns y with the values where `here` is true. It is called
      for all pooling windows that an element is in, one after the other, the later windows first.

  Returns:
    [b, *size, c].
  """
  # An element of the result at s * m + r, where r is a phase of the stride, is in the pooling
  # windows m + d for which r + p - s * d is within the window: a shift d of x for each such number.
  phases = []
  for phase in _scan(stride):
    shifts_of_phase = []
    for number, element in enumerate(_scan(window)):
      distance = [r + p - k for r, p, k in zip(phase, padding, element)]
      if not any(d % s for d, s in zip(distance, stride)):
        shifts_of_phase.append((number, [d // s for d, s in zip(distance, stride)]))
    phases.append(shifts_of_phase[::-1])
  shifts = list(zip(*(shift for phase in phases for _, shift in phase)))  # by axis
  cells = [-(-n // s) for n, s in zip(size, stride)]  # elements in each phase
  before = [max(0, -min(d)) for d in shifts]
  after = [max(0, m + max(d) - n) for d, m, n in zip(shifts, cells, x.shape[1:4])]
  edges = list(zip(before, after))
  x, numbers = _pad(x, edges, 0), _pad(numbers, edges, -1)

  def elements_of_phase(shifts: list[tuple[int, list[int]]]) -> jax.Array:
    y = jnp.zeros((len(x), *cells, x.shape[-1]), x.dtype)
    for number, shift in shifts:
      t, h, w = (slice(p + d, p + d + m) for p, d, m in zip(before, shift, cells))
      y = put(y, numbers[:, t, h, w] == number, x[:, t, h, w])
    return y

  y = interleave(jnp.stack(list(map(elements_of_phase, phases)), axis=4), stride)
  return y[:, : size[0], : size[1], : size[2]]


def _scan(size: Triple) -> list[Triple]:
  """Lists the indices of a block of this size in (t, h, w) scan order."""
  t, h, w = size
  return list(itertools.product(range(t), range(h), range(w)))


def _pad(x: jax.Array, edges: list[Pair], value: float) -> jax.Array:
  """Pads t, h and w of x [b, t, h, w, c] with a value.

  On CPU a barrier keeps the padded array as an array of its own. Without it, XLA pads within the
  loop over shifted slices, which then runs element by element.
  """
  if not any(map(any, edges)):
    return x
  x = lax.pad(x, jnp.array(value, x.dtype), [(0, 0, 0), *((*e, 0) for e in edges), (0, 0, 0)])
  return lax.platform_dependent(x, cpu=lax.optimization_barrier, default=lambda x: x)
