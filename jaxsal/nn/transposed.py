"""Three-dimensional transposed convolutions on channels-last clips."""

import math

import jax
import jax.numpy as jnp
from flax import nnx

from jaxsal.nn.conv import conv_transpose3d, kernel_init

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
