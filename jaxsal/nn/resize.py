"""Linear resizing with the arithmetic of PyTorch's `align_corners=False`."""

import functools

import jax
import jax.numpy as jnp
from jax import lax

# Up to this factor `_enlarge` beats matrix products with the interpolation's weights.
_LARGEST_FACTOR = 8


def resize(x: jax.Array, size: tuple[int, ...]) -> jax.Array:
  """Resizes the axes between the first and the last: bilinear for two of them, trilinear for three.

  Sample positions are those of `torch.nn.functional.interpolate(mode='bilinear' | 'trilinear',
  align_corners=False)`: pixel centres at half-integers, borders repeated, no antialiasing.

  Args:
    x: [b, *spatial, c].
    size: the new spatial sizes, as many as x has.

  Returns:
    [b, *size, c] in x's dtype.
  """
  if len(size) != x.ndim - 2:
    raise ValueError(f"size has {len(size)} entries, x of shape {x.shape} needs {x.ndim - 2}")
  for axis in reversed(range(1, x.ndim - 1)):
    factor, rest = divmod(size[axis - 1], x.shape[axis])
    if rest == 0 and 1 < factor <= _LARGEST_FACTOR:
      x = _enlarge(x, axis, factor)
  shape = (x.shape[0], *size, x.shape[-1])
  return jax.image.resize(x, shape, method="linear", antialias=False)


def upsample(x: jax.Array, scale: tuple[int, int, int]) -> jax.Array:
  """[b, t, h, w, c] -> [b, t*st, h*sh, w*sw, c], trilinear (`nn.Upsample` of the papers' code)."""
  return resize(x, tuple(n * s for n, s in zip(x.shape[1:4], scale)))


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _enlarge(x: jax.Array, axis: int, factor: int) -> jax.Array:
  """Linear interpolation to `factor` times as many elements along an axis.

  Every new element is an old one and a share of the neighbour before or after it: no products of
  matrices, which on CPU took 3 to 5 times as long (benchmarks/EXPERIMENTS.md). The gradient is
  written out: autodiff's adds padded arrays, at two to eight times the cost.
  """
  n = x.shape[axis]
  here = x.astype(_precise(x.dtype))
  padded = jnp.concatenate([_part(here, 0, 1, axis), here, _part(here, n - 1, n, axis)], axis)
  before, after = _part(padded, 0, n, axis), _part(padded, 2, n + 2, axis)
  new = [
    (1 - abs(share)) * here + abs(share) * (before if share < 0 else after)
    for share in _shares(factor)
  ]
  y = jnp.stack(new, axis + 1).reshape(*x.shape[:axis], factor * n, *x.shape[axis + 1 :])
  return y.astype(x.dtype)


def _enlarge_forward(x, axis, factor):
  return _enlarge(x, axis, factor), None


def _enlarge_backward(axis, factor, _, dy):
  n = dy.shape[axis] // factor
  gradients = dy.astype(_precise(dy.dtype))
  gradients = gradients.reshape(*dy.shape[:axis], n, factor, *dy.shape[axis + 1 :])
  new = [lax.index_in_dim(gradients, i, axis + 1, keepdims=False) for i in range(factor)]
  pairs = list(zip(_shares(factor), new))
  here = sum((1 - abs(share)) * dy for share, dy in pairs)
  before = sum(-share * dy for share, dy in pairs if share < 0)
  after = sum(share * dy for share, dy in pairs if share > 0)
  # Element i is the one before i + 1 and the one after i - 1; at the ends it is its own neighbour.
  here += jnp.concatenate([_part(before, 1, n, axis), _part(after, n - 1, n, axis)], axis)
  here += jnp.concatenate([_part(before, 0, 1, axis), _part(after, 0, n - 1, axis)], axis)
  return (here.astype(dy.dtype),)


_enlarge.defvjp(_enlarge_forward, _enlarge_backward)


def _shares(factor: int) -> list[float]:
  """Of the new elements in an old one: the neighbour's share, negative for the one before."""
  return [(i + 0.5) / factor - 0.5 for i in range(factor)]


def _part(x: jax.Array, start: int, end: int, axis: int) -> jax.Array:
  return lax.slice_in_dim(x, start, end, axis=axis)


def _precise(dtype: jnp.dtype) -> jnp.dtype:
  """What sums are computed in: float32, so that bfloat16 is rounded once."""
  return dtype if dtype == jnp.float64 else jnp.dtype(jnp.float32)
