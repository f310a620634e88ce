"""Linear resizing with the arithmetic of PyTorch's `align_corners=False`."""

from collections.abc import Iterable

import jax
import jax.numpy as jnp
from jax import lax

from jaxsal.nn.geometry import Triple

# Largest factor at which `_enlarge` is faster than products with a matrix of interpolation weights.
_LARGEST_FACTOR = 8


def resize(x: jax.Array, size: tuple[int, ...]) -> jax.Array:
  """Resizes all axes but the first and the last by linear interpolation.

  Two axes are resized bilinearly, three trilinearly. Sample positions are those of
  `torch.nn.functional.interpolate(mode='bilinear' | 'trilinear', align_corners=False)`: pixel
  centres at half-integers, borders repeated, no antialiasing.

  Args:
    x: [b, *spatial, c].
    size: new size of each spatial axis.

  Returns:
    [b, *size, c] in x's dtype.
  """
  if len(size) != x.ndim - 2:
    raise ValueError(f"size has {len(size)} entries, but x of shape {x.shape} needs {x.ndim - 2}.")
  for axis in reversed(range(1, x.ndim - 1)):
    factor, rest = divmod(size[axis - 1], x.shape[axis])
    if rest == 0 and 1 < factor <= _LARGEST_FACTOR:
      x = _enlarge(x, axis, factor)
  shape = (x.shape[0], *size, x.shape[-1])
  return jax.image.resize(x, shape, method="linear", antialias=False)


def upsample(x: jax.Array, scale: Triple) -> jax.Array:
  """Upsamples a clip trilinearly by integer factors (`nn.Upsample` in the papers' code).

  Args:
    x: [b, t, h, w, c].
    scale: factors st, sh, sw.

  Returns:
    [b, t * st, h * sh, w * sw, c].
  """
  return resize(x, tuple(n * s for n, s in zip(x.shape[1:4], scale)))


def _enlarge_by_shares(x: jax.Array, axis: int, factor: int) -> jax.Array:
  """Interpolates linearly to `factor` times the elements along an axis.

  Every new element is a weighted sum of an old one and the neighbour before or after it. Products
  with a matrix of weights took 3 to 5 times as long on CPU (benchmarks/EXPERIMENTS.md). The
  gradient is written out, because autodiff adds padded arrays at two to eight times the cost.
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


def _enlarge_forward(x: jax.Array, axis: int, factor: int) -> tuple[jax.Array, None]:
  return _enlarge(x, axis, factor), None


def _enlarge_backward(axis: int, factor: int, _: None, dy: jax.Array) -> tuple[jax.Array]:
  """Returns the gradient of x: the adjoint of the interpolation, applied to dy."""
  n = dy.shape[axis] // factor
  gradients = dy.astype(_precise(dy.dtype))
  gradients = gradients.reshape(*dy.shape[:axis], n, factor, *dy.shape[axis + 1 :])
  new = [lax.index_in_dim(gradients, i, axis + 1, keepdims=False) for i in range(factor)]
  pairs = list(zip(_shares(factor), new))
  here = _sum((1 - abs(share)) * dy for share, dy in pairs)
  before = _sum(-share * dy for share, dy in pairs if share < 0)
  after = _sum(share * dy for share, dy in pairs if share > 0)
  # Element i is the neighbour before element i + 1 and the neighbour after element i - 1. The first
  # and the last element are their own neighbours.
  here += jnp.concatenate([_part(before, 1, n, axis), _part(after, n - 1, n, axis)], axis)
  here += jnp.concatenate([_part(before, 0, 1, axis), _part(after, 0, n - 1, axis)], axis)
  return (here.astype(dy.dtype),)


_enlarge = jax.custom_vjp(_enlarge_by_shares, nondiff_argnums=(1, 2))
_enlarge.defvjp(_enlarge_forward, _enlarge_backward)


def _shares(factor: int) -> list[float]:
  """Lists the neighbours' shares in the new elements of an old one; negative if it comes before."""
  return [(i + 0.5) / factor - 0.5 for i in range(factor)]


def _sum(arrays: Iterable[jax.Array]) -> jax.Array:
  """Adds up arrays of one shape; there is at least one, because factors are 2 or more."""
  return jnp.asarray(sum(arrays))


def _part(x: jax.Array, start: int, end: int, axis: int) -> jax.Array:
  return lax.slice_in_dim(x, start, end, axis=axis)


def _precise(dtype: jnp.dtype) -> jnp.dtype:
  """Returns the dtype of sums: float32, so that bfloat16 is rounded once, or float64."""
  return dtype if dtype == jnp.float64 else jnp.dtype(jnp.float32)
