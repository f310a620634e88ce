"""Three-dimensional convolutions on channels-last clips, computed as two-dimensional ones.

XLA's 3-D convolutions are slow on CPU and on GPU; its 2-D ones are not. The networks here are built
from factored kernels, which need no third dimension: (1, k, k) runs over [b*t, h, w, c], (k, 1, 1)
over [b, t, h*w, c], 1x1x1 is a matrix product. A kernel that extends over time and space stacks its
time taps on the channels of a 2-D convolution over [b*t, h, w, kt*c].
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

_LAYOUT_2D = ("NHWC", "HWIO", "NHWC")


def kernel_init(key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype) -> jax.Array:
  """He initialisation: normal, with variance 2 / fan-in, for a kernel [..., in, out].

  Drawn on the host: JAX would compile a sampler for every shape, half a minute for S3D on CPU.
  """
  deviation = math.sqrt(2 / math.prod(shape[:-1]))

  def draw(seed: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(np.asarray(seed))
    return (rng.standard_normal(shape, np.float32) * deviation).astype(dtype)

  seed = jax.random.key_data(key)
  if isinstance(seed, jax.core.Tracer):
    return jax.pure_callback(draw, jax.ShapeDtypeStruct(shape, dtype), seed)
  return jnp.asarray(draw(seed))  # without the callback there is nothing to compile


class Conv(nnx.Module):
  """A 3-D convolution (cross-correlation) with zero padding.

  Attributes:
    kernel: [kt, kh, kw, in, out].
    bias: [out], or None.
  """

  def __init__(
    self,
    in_channels: int,
    out_channels: int,
    kernel: tuple[int, int, int],
    stride: tuple[int, int, int] = (1, 1, 1),
    padding: tuple[int, int, int] = (0, 0, 0),
    *,
    use_bias: bool = True,
    dtype: str = "float32",
    rngs: nnx.Rngs,
  ) -> None:
    """Args are in the order t, h, w; `dtype` is what is computed in, parameters are float32."""
    self.stride, self.padding, self.dtype = stride, padding, dtype
    shape = (*kernel, in_channels, out_channels)
    self.kernel = nnx.Param(kernel_init(rngs.params(), shape, jnp.float32))
    self.bias = nnx.Param(jnp.zeros((out_channels,), jnp.float32)) if use_bias else None

  def __call__(self, x: jax.Array, padding: tuple[int, ...] | None = None) -> jax.Array:
    """[b, t, h, w, in] -> [b, t', h', w', out], with other padding than its own where given."""
    padding = self.padding if padding is None else padding
    y = self._convolve(x.astype(self.dtype), self.kernel[...].astype(self.dtype), padding)
    if self.bias is None:
      return y
    # Added in float32, because the bias's gradient is summed in the precision of the addition.
    return (y.astype(jnp.float32) + self.bias[...]).astype(self.dtype)

  def _convolve(self, x: jax.Array, kernel: jax.Array, padding: tuple[int, ...]) -> jax.Array:
    return conv3d(x, kernel, self.stride, padding)


class Conv2d(Conv):
  """A 2-D convolution with a square kernel, padded with zeros so that stride 1 keeps the size.

  [b, h, w, in] -> [b, h', w', out], n' = n / stride, rounded up.

  Attributes:
    kernel: [k, k, in, out], k odd.
    bias: [out], or None.
  """

  def __init__(
    self,
    in_channels: int,
    out_channels: int,
    k: int,
    stride: int = 1,
    *,
    use_bias: bool = True,
    dtype: str = "float32",
    rngs: nnx.Rngs,
  ) -> None:
    """`dtype` is what is computed in, parameters are float32."""
    options = {"use_bias": use_bias, "dtype": dtype, "rngs": rngs}
    super().__init__(
      in_channels, out_channels, (k, k), (stride, stride), (k // 2, k // 2), **options
    )

  def _convolve(self, x: jax.Array, kernel: jax.Array, padding: tuple[int, ...]) -> jax.Array:
    if kernel.shape[:2] == (1, 1):
      step, _ = self.stride
      return x[:, ::step, ::step] @ kernel[0, 0]
    return _conv2d(x, kernel, self.stride, padding)


def conv3d(
  x: jax.Array,
  kernel: jax.Array,
  stride: tuple[int, int, int] = (1, 1, 1),
  padding: tuple[int, int, int] = (0, 0, 0),
) -> jax.Array:
  """Cross-correlation of x [b, t, h, w, c] with kernel [kt, kh, kw, c, d], zero padded."""
  b, t, h, w, c = x.shape
  kt, kh, kw, _, d = kernel.shape
  (st, sh, sw), (pt, ph, pw) = stride, padding
  if (kt, kh, kw) == (1, 1, 1) and stride == (1, 1, 1) and padding == (0, 0, 0):
    return x @ kernel[0, 0, 0]
  if (kh, kw, sh, sw, ph, pw) == (1, 1, 1, 1, 0, 0):
    y = _conv2d(x.reshape(b, t, h * w, c), kernel[:, 0], (st, 1), (pt, 0))
    return y.reshape(b, -1, h, w, d)
  if kt > 1 or st > 1 or pt > 0:  # every output step sees its kt input steps as channels
    x = jnp.pad(x, [(0, 0), (pt, pt), (0, 0), (0, 0), (0, 0)])
    t = (t + 2 * pt - kt) // st + 1
    taps = [lax.slice_in_dim(x, i, i + (t - 1) * st + 1, st, axis=1) for i in range(kt)]
    x = jnp.concatenate(taps, axis=-1)
  kernel = jnp.moveaxis(kernel, 0, 2).reshape(kh, kw, kt * c, d)
  y = _conv2d(x.reshape(b * t, h, w, kt * c), kernel, (sh, sw), (ph, pw))
  return y.reshape(b, t, *y.shape[1:])


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _conv2d(
  x: jax.Array, kernel: jax.Array, stride: tuple[int, int], padding: tuple[int, int]
) -> jax.Array:
  """x [n, h, w, c], kernel [kh, kw, c, d] -> [n, h', w', d]; see `_kernel_gradient`."""
  return _xla_conv2d(x, kernel, stride, padding)


def _xla_conv2d(x, kernel, stride, padding):
  padding = [(p, p) for p in padding]
  return lax.conv_general_dilated(x, kernel, stride, padding, dimension_numbers=_LAYOUT_2D)


def _conv2d_forward(x, kernel, stride, padding):
  return _xla_conv2d(x, kernel, stride, padding), (x, kernel)


def _conv2d_backward(stride, padding, residuals, dy):
  x, kernel = residuals
  conv = functools.partial(_xla_conv2d, stride=stride, padding=padding)
  (dx,) = jax.vjp(lambda x: conv(x, kernel), x)[1](dy)

  def by_xla(x, dy):
    return jax.vjp(lambda kernel: conv(x, kernel), kernel)[1](dy)[0]

  by_taps = functools.partial(_gradient_by_taps, kernel.shape, stride, padding)
  if _taps_win(x.shape, kernel.shape):
    return dx, lax.platform_dependent(x, dy, cpu=by_taps, default=by_xla)
  return dx, by_xla(x, dy)


_conv2d.defvjp(_conv2d_forward, _conv2d_backward)


def _taps_win(x_shape: tuple[int, ...], kernel_shape: tuple[int, ...]) -> bool:
  """Whether, on CPU, one matrix product per kernel tap beats XLA's gradient of the kernel.

  Measured on 2 cores (benchmarks/conv.py, numbers in benchmarks/RESULTS.md): with wide channels it
  does, for spatial kernels only where the frames are large too.
  """
  n, h, w, c = x_shape
  temporal = kernel_shape[1] == 1
  return c >= 48 and (temporal or n * h * w >= 50_000)


def _gradient_by_taps(kernel_shape, stride, padding, x, dy):
  """Gradient [kh, kw, c, d] of the kernel: tap (i, j) is (shifted, strided x)^T dy."""
  kh, kw, c, d = kernel_shape
  (sh, sw), (ph, pw) = stride, padding
  _, h, w, _ = dy.shape
  x = jnp.pad(x, [(0, 0), (ph, ph), (pw, pw), (0, 0)])
  taps = []
  for i in range(kh):
    rows = lax.slice_in_dim(x, i, i + (h - 1) * sh + 1, sh, axis=1)
    for j in range(kw):
      shifted = lax.slice_in_dim(rows, j, j + (w - 1) * sw + 1, sw, axis=2)
      taps.append(jnp.einsum("nhwc,nhwd->cd", shifted, dy))
  return jnp.stack(taps).reshape(kh, kw, c, d)
