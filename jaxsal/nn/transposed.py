"""Three-dimensional transposed convolutions on channels-last clips."""

import math

import jax
import jax.numpy as jnp
from flax import nnx

from jaxsal.nn.conv import conv3d, kernel_init
from jaxsal.nn.unpool import interleave

Triple = tuple[int, int, int]


class ConvTranspose(nnx.Module):
  """A 3-D transposed convolution, PyTorch's `ConvTranspose3d` without `output_padding`.

  Attributes:
    kernel: [kt, kh, kw, in, out].
    bias: [out], or None.
  """

  def __init__(
    self,
    in_channels: int,
    out_channels: int,
    kernel: Triple,
    stride: Triple = (1, 1, 1),
    padding: Triple = (0, 0, 0),
    *,
    use_bias: bool = True,
    dtype: str = "float32",
    rngs: nnx.Rngs,
  ) -> None:
    """Args are in the order t, h, w; `dtype` is what is computed in, parameters are float32."""
    self.stride, self.padding, self.dtype = stride, padding, dtype
    shape = (*kernel, in_channels, out_channels)
    # One output element sees only every stride-th element of the kernel: fewer inputs.
    gain = math.sqrt(math.prod(stride))
    self.kernel = nnx.Param(gain * kernel_init(rngs.params(), shape, jnp.float32))
    self.bias = nnx.Param(jnp.zeros((out_channels,), jnp.float32)) if use_bias else None

  def __call__(self, x: jax.Array) -> jax.Array:
    """[b, t, h, w, in] -> [b, t', h', w', out], n' = (n - 1) * stride - 2 * padding + kernel."""
    x = x.astype(self.dtype)
    y = conv_transpose3d(x, self.kernel[...].astype(self.dtype), self.stride, self.padding)
    if self.bias is None:
      return y
    return (y.astype(jnp.float32) + self.bias[...]).astype(self.dtype)  # see Conv


def conv_transpose3d(
  x: jax.Array,
  kernel: jax.Array,
  stride: Triple = (1, 1, 1),
  padding: Triple = (0, 0, 0),
) -> jax.Array:
  """The adjoint of `conv3d` with respect to its input: x[i] kernel[k] adds to y[s * i - p + k].

  Computed without inserting zeros: one convolution at x's own size gives all phases of the stride
  as channels, which are then interleaved.

  Args:
    x: [b, t, h, w, c].
    kernel: [kt, kh, kw, c, d].
    stride, padding: in the order t, h, w; padding is smaller than the kernel and is cut off.

  Returns:
    [b, t', h', w', d], n' = (n - 1) * s - 2 * p + k.
  """
  k, (c, d) = kernel.shape[:3], kernel.shape[3:]
  size = [(n - 1) * s - 2 * p + k for n, s, p, k in zip(x.shape[1:4], stride, padding, k)]
  taps = tuple(-(-k // s) for k, s in zip(k, stride))  # of each phase
  # Number s * j + r of the kernel is tap j of phase r; taps are flipped to cross-correlate.
  missing = [(0, j * s - k) for j, s, k in zip(taps, stride, k)]
  kernel = jnp.pad(kernel, [*missing, (0, 0), (0, 0)])
  (jt, jh, jw), (st, sh, sw) = taps, stride
  kernel = kernel.reshape(jt, st, jh, sh, jw, sw, c, d)[::-1, :, ::-1, :, ::-1]
  kernel = kernel.transpose(0, 2, 4, 6, 1, 3, 5, 7).reshape(*taps, c, st * sh * sw * d)
  # Whole strides of what the padding cuts off are not computed.
  edges = tuple(j - 1 - p // s for j, p, s in zip(taps, padding, stride))
  y = conv3d(x, kernel, padding=edges)
  y = interleave(y.reshape(*y.shape[:-1], -1, d), stride)
  t, h, w = (slice(p % s, p % s + n) for p, s, n in zip(padding, stride, size))
  return y[:, t, h, w]
