"""Linear resizing with the arithmetic of PyTorch's `align_corners=False`."""

import jax


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
  shape = (x.shape[0], *size, x.shape[-1])
  return jax.image.resize(x, shape, method="linear", antialias=False)


def upsample(x: jax.Array, scale: tuple[int, int, int]) -> jax.Array:
  """[b, t, h, w, c] -> [b, t*st, h*sh, w*sw, c], trilinear (`nn.Upsample` of the papers' code)."""
  return resize(x, tuple(n * s for n, s in zip(x.shape[1:4], scale)))
