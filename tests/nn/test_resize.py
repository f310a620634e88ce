"""Tests of resizing and its gradient by hand and against PyTorch's align_corners=False."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsal import nn

# (old size, new size): larger by 2, by odd and by fractional factors; smaller; both at once.
CASES = [
  ((6, 11), (12, 22)),
  ((6, 11), (18, 55)),
  ((6, 11), (7, 29)),
  ((12, 22), (5, 9)),
  ((6, 11), (13, 4)),
  ((1, 1), (3, 4)),
  ((1, 2), (8, 16)),
  ((6, 5), (24, 45)),
  ((4, 6, 5), (4, 12, 10)),
  ((4, 6, 5), (12, 7, 15)),
  ((3, 6, 5), (7, 4, 5)),
]


def array(shape, seed=0):
  return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_by_hand():
  def line(*values):
    return jnp.array(values).reshape(1, 1, -1, 1)

  np.testing.assert_allclose(nn.resize(line(0.0, 4.0), (1, 4)).ravel(), [0, 1, 3, 4])
  np.testing.assert_allclose(
    nn.resize(line(0.0, 3.0, 9.0), (1, 9)).ravel(), [0, 0, 1, 2, 3, 5, 7, 9, 9], atol=1e-6
  )
  # A quarter of the size without antialiasing: the sample is halfway between the middle pixels.
  down = nn.resize(line(7.0, 1.0, 2.0, 7.0), (1, 1))
  np.testing.assert_allclose(down.ravel(), [1.5])


@pytest.mark.parametrize(("size", "new"), CASES)
def test_equals_pytorch(size, new):
  torch = pytest.importorskip("torch", reason="compares with PyTorch: pip install 'jaxsal[torch]'")
  x = array((2, *size, 3))
  y, pull = jax.vjp(lambda x: nn.resize(x, new), jnp.asarray(x))
  dy = array((2, *new, 3), seed=1)
  tx = torch.from_numpy(x).movedim(-1, 1).requires_grad_()
  mode = "bilinear" if len(size) == 2 else "trilinear"
  ty = torch.nn.functional.interpolate(tx, new, mode=mode, align_corners=False).movedim(1, -1)
  # Interpolation weights are rounded to float32 on both sides.
  np.testing.assert_allclose(y, ty.detach(), rtol=0, atol=3e-6)
  (tdx,) = torch.autograd.grad(ty, tx, torch.from_numpy(dy))
  scale = float(tdx.abs().max())
  np.testing.assert_allclose(pull(jnp.asarray(dy))[0], tdx.movedim(1, -1), atol=3e-6 * scale)


@pytest.mark.parametrize(("size", "new"), CASES)
def test_constants_stay(size, new):
  y = nn.resize(jnp.full((1, *size, 2), 0.7), new)
  assert y.shape == (1, *new, 2)
  np.testing.assert_allclose(y, 0.7, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_same_size_is_the_identity(dtype):
  x = jnp.asarray(array((2, 4, 6, 5, 3)), dtype)
  y = nn.resize(x, (4, 6, 5))
  assert y.dtype == dtype
  np.testing.assert_array_equal(np.asarray(y, np.float32), np.asarray(x, np.float32))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_upsample_scales_each_axis(dtype):
  x = jnp.asarray(array((2, 4, 6, 5, 3)), dtype)
  y = nn.upsample(x, (1, 2, 3))
  assert y.shape == (2, 4, 12, 15, 3) and y.dtype == dtype
  np.testing.assert_array_equal(
    np.asarray(y, np.float32), np.asarray(nn.resize(x, (4, 12, 15)), np.float32)
  )


def test_as_many_sizes_as_axes():
  with pytest.raises(ValueError, match=r"2 entries.*needs 3"):
    nn.resize(jnp.zeros((1, 2, 3, 4, 5)), (6, 8))
