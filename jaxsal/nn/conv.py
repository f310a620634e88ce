"""Convolutions of channels-last clips: the layers, and the choice of how they are computed.

XLA's 3-D convolutions are slow on CPU and on GPU; its 2-D convolutions are not. Most kernels here
are factored, so that a 2-D convolution suffices: (1, k, k) runs over [b * t, h, w, c], (k, 1, 1)
over [b, t, h * w, c], and 1x1x1 is a matrix product. A kernel over time and space is the sum of its
time taps' 2-D convolutions: on CPU, ViNet's decoding layers take 0.6 to 0.8 of the time of one
convolution with the taps stacked on the channels, and less memory. Transposed convolutions and the
gradients of inputs are convolutions of the same kind.

The module has four sections:

- Layers: `Conv`, `Conv2d` and `ConvTranspose`.
- 3-D convolutions as 2-D ones, the same on all platforms: `conv3d` and `conv_transpose3d`.
- The choice by platform: `_forward`, `_gradients` and `_kernel_gradient_of_taps`. Only these three
  call `lax.platform_dependent`. They choose between XLA's own convolution (`jaxsal.nn.conv_xla`)
  and the formulations of a platform (`jaxsal.nn.conv_cpu`).
- Rules of differentiation, which tell JAX when to call the chosen functions.
"""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from jaxsal.nn import conv_cpu, conv_xla
from jaxsal.nn.geometry import Padding2d, Padding3d, Pair, Triple, interleave, is_temporal
from jaxsal.nn.init import filled, kernel_init

_NONE = (0, 0)  # padding of an axis


# Layers.


class _Layer(nnx.Module):
  """Kernel and bias of a convolution, and the dtype that it computes in.

  Attributes:
    kernel: [..., in, out], float32.
    bias: [out], float32, or None.
    dtype: dtype of the computation and of the result.
  """

  def __init__(
    self, kernel_shape: tuple[int, ...], *, use_bias: bool, dtype: str, rngs: nnx.Rngs
  ) -> None:
    self.dtype = dtype
    self.kernel = nnx.Param(kernel_init(rngs.params(), kernel_shape, jnp.float32))
    self.bias = nnx.Param(filled(0, kernel_shape[-1])) if use_bias else None

  def _apply(
    self, x: jax.Array, convolve: Callable[[jax.Array, jax.Array], jax.Array]
  ) -> jax.Array:
    """Returns convolve(x, kernel) plus the bias, computed in the layer's dtype."""
    y = convolve(x.astype(self.dtype), self.kernel[...].astype(self.dtype))
    if self.bias is None:
      return y
    # Added in float32, because the bias's gradient is summed in the precision of the addition.
    return (y.astype(jnp.float32) + self.bias[...]).astype(self.dtype)


class Conv(_Layer):
  """A 3-D convolution (cross-correlation) with zero padding.

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
    """Makes a layer with random weights and a bias of zeros.

    Args:
      in_channels: number of channels of the input.
      out_channels: number of channels of the result.
      kernel: size of the kernel in the order t, h, w.
      stride: stride in the order t, h, w.
      padding: number of zeros at both ends of each axis, in the order t, h, w.
      use_bias: whether the layer has a bias.
      dtype: dtype of the computation; parameters are float32.
      rngs: source of the random weights.
    """
    shape = (*kernel, in_channels, out_channels)
    super().__init__(shape, use_bias=use_bias, dtype=dtype, rngs=rngs)
    self.stride, self.padding = stride, padding

  def __call__(self, x: jax.Array, padding: Triple | None = None) -> jax.Array:
    """Convolves x [b, t, h, w, in]; returns [b, t', h', w', out].

    Args:
      x: the input.
      padding: padding for this call, in place of the layer's own.
    """
    padding = self.padding if padding is None else padding
    return self._apply(x, lambda x, kernel: self._convolve(x, kernel, padding))

  def _convolve(self, x: jax.Array, kernel: jax.Array, padding: Triple) -> jax.Array:
    return conv3d(x, kernel, self.stride, padding)


class ConvTranspose(Conv):
  """A 3-D transposed convolution: PyTorch's `ConvTranspose3d` without `output_padding`.

  It maps [b, t, h, w, in] to [b, t', h', w', out], n' = (n - 1) * stride - 2 * padding + kernel.
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
    """Makes a layer with random weights and a bias of zeros, from the arguments of `Conv`."""
    super().__init__(
      in_channels,
      out_channels,
      kernel,
      stride,
      padding,
      use_bias=use_bias,
      dtype=dtype,
      rngs=rngs,
    )
    # An element of the result sees only every stride-th tap of the kernel, so it has fewer inputs.
    self.kernel[...] *= math.sqrt(math.prod(self.stride))

  def _convolve(self, x: jax.Array, kernel: jax.Array, padding: Triple) -> jax.Array:
    return conv_transpose3d(x, kernel, self.stride, padding)


class Conv2d(_Layer):
  """A 2-D convolution with a square kernel, padded with zeros so that stride 1 keeps the size.

  It maps [b, h, w, in] to [b, h', w', out], n' = n / stride, rounded up.

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
    """Makes a layer with random weights and a bias of zeros.

    Args:
      in_channels: number of channels of the input.
      out_channels: number of channels of the result.
      k: height and width of the kernel, odd.
      stride: stride in height and width.
      use_bias: whether the layer has a bias.
      dtype: dtype of the computation; parameters are float32.
      rngs: source of the random weights.
    """
    super().__init__((k, k, in_channels, out_channels), use_bias=use_bias, dtype=dtype, rngs=rngs)
    self.k, self.stride = k, stride

  def __call__(self, x: jax.Array) -> jax.Array:
    """Convolves x [b, h, w, in]; returns [b, h', w', out]."""
    return self._apply(x, self._convolve)

  def _convolve(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
    s, p = self.stride, self.k // 2
    if self.k == 1:
      return _pointwise(x[:, ::s, ::s], kernel[0, 0])
    return _conv2d(x, kernel, (s, s), ((p, p), (p, p)))


# 3-D convolutions as 2-D ones, the same on all platforms.


def conv3d(
  x: jax.Array,
  kernel: jax.Array,
  stride: Triple = (1, 1, 1),
  padding: Triple = (0, 0, 0),
) -> jax.Array:
  """Cross-correlates a clip with a kernel.

  Args:
    x: [b, t, h, w, c].
    kernel: [kt, kh, kw, c, d].
    stride: stride in the order t, h, w.
    padding: number of zeros at both ends of each axis, in the order t, h, w.

  Returns:
    [b, t', h', w', d], n' = (n + 2 * padding - kernel) // stride + 1.
  """
  pt, ph, pw = padding
  return _conv3d_padded(x, kernel, stride, ((pt, pt), (ph, ph), (pw, pw)))


def _conv3d_padded(
  x: jax.Array, kernel: jax.Array, stride: Triple, padding: Padding3d
) -> jax.Array:
  """Computes `conv3d` with different padding before and after; negative padding is cut off."""
  if any(min(p) < 0 or max(p) >= k for p, k in zip(padding, kernel.shape)):
    # With padding as large as the kernel, outputs see zeros alone, and their gradients would be
    # padded negatively. Such padding is done here.
    x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *((*p, 0) for p in padding), (0, 0, 0)])
    padding = (_NONE, _NONE, _NONE)
  b, t, h, w, c = x.shape
  kt, kh, kw, _, d = kernel.shape
  (st, sh, sw), (pt, ph, pw) = stride, padding
  if (kt, kh, kw) == (1, 1, 1) and stride == (1, 1, 1) and padding == (_NONE, _NONE, _NONE):
    return _pointwise(x, kernel[0, 0, 0])
  if (kh, kw, sh, sw, ph, pw) == (1, 1, 1, 1, _NONE, _NONE):
    y = _conv2d(x.reshape(b, t, h * w, c), kernel[:, 0], (st, 1), (pt, _NONE))
    return y.reshape(b, -1, h, w, d)
  if (kt, pt) == (1, _NONE):
    y = _conv2d(x[:, ::st].reshape(-1, h, w, c), kernel[0], (sh, sw), (ph, pw))
    return y.reshape(b, -1, *y.shape[1:])
  return _conv3d(x, kernel, stride, padding)


def _pointwise(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """Multiplies x [..., c] with a kernel [c, d], as one product of two matrices.

  For a product over several axes XLA on CPU would copy an operand to compute the kernel's gradient.
  """
  return (x.reshape(-1, x.shape[-1]) @ kernel).reshape(*x.shape[:-1], kernel.shape[-1])


def _sum_of_taps(
  conv2d: conv_cpu.Conv2d, x: jax.Array, kernel: jax.Array, stride: Triple, padding: Padding3d
) -> jax.Array:
  """Computes a 3-D convolution as the sum of its time taps' 2-D convolutions.

  Args:
    conv2d: function that computes the 2-D convolutions.
    x: [b, t, h, w, c].
    kernel: [kt, kh, kw, c, d].
    stride, padding: in the order t, h, w.

  Returns:
    [b, t', h', w', d].
  """
  (b, t, h, w, c), kt = x.shape, kernel.shape[0]
  (st, sh, sw), ((before, after), ph, pw) = stride, padding
  steps = (t + before + after - kt) // st + 1

  def tap(i: int) -> jax.Array | int:
    # The tap sees a frame in the steps first .. end - 1. In the other steps it sees padding in
    # time, and its products would be zeros.
    first = max(0, -((i - before) // st))
    end = min(steps, (t - 1 + before - i) // st + 1)
    if first >= end:
      return 0
    frame, last_frame = (step * st + i - before for step in (first, end - 1))
    seen = lax.slice_in_dim(x, frame, last_frame + 1, st, axis=1)
    y = conv2d(seen.reshape(-1, h, w, c), kernel[i], (sh, sw), (ph, pw))
    y = y.reshape(b, -1, *y.shape[1:])
    return jnp.pad(y, [(0, 0), (first, steps - end), *[(0, 0)] * 3])

  return jnp.asarray(sum(map(tap, range(kt))))


def conv_transpose3d(
  x: jax.Array,
  kernel: jax.Array,
  stride: Triple = (1, 1, 1),
  padding: Triple = (0, 0, 0),
) -> jax.Array:
  """Computes a transposed convolution: x[i] * kernel[k] is added to y[stride * i - padding + k].

  It is the adjoint of `conv3d` with respect to its input.

  Args:
    x: [b, t, h, w, c].
    kernel: [kt, kh, kw, c, d].
    stride: stride in the order t, h, w.
    padding: number of elements that are cut off at both ends of each axis, in the order t, h, w;
      smaller than the kernel.

  Returns:
    [b, t', h', w', d], n' = (n - 1) * stride - 2 * padding + kernel.
  """
  axes = zip(x.shape[1:4], kernel.shape, stride, padding)
  t, h, w = ((n - 1) * s - 2 * p + k for n, k, s, p in axes)
  return _transposed(x, kernel, stride, padding, (t, h, w))


def _transposed(
  x: jax.Array, kernel: jax.Array, stride: Triple, padding: Triple, size: Triple
) -> jax.Array:
  """Computes a transposed convolution at x's own size, without zeros between its elements.

  Element o of the result sees taps s * j + r of the kernel, j = 0, 1, ..., where r = (o + p) % s is
  its phase. The elements of one phase are a convolution of x with every s-th tap of the kernel.

  In space, the phases are channels of one convolution, and are moved to their positions afterwards
  (a sub-pixel convolution). In time, each phase has its own convolution, for two reasons. It has no
  more taps and positions than the phase needs, which is seven eighths of S3D's stem. And its kernel
  has fewer channels, 14 instead of 43 MB in ViNet's decoder: XLA on CPU copies a kernel, and is
  slow to compute a result that is larger than its input.

  Args:
    x: [b, t, h, w, c].
    kernel: [kt, kh, kw, c, d].
    stride: in the order t, h, w.
    padding: number of elements that are cut off at the beginning of each axis.
    size: t', h', w' of the result.

  Returns:
    [b, t', h', w', d].
  """
  (b, n, *space), d = x.shape[:4], kernel.shape[-1]
  (st, sh, sw), (pt, ph, pw), (t, h, w) = stride, padding, size
  kernel = _phases_as_channels(kernel, stride)
  jh, jw = kernel.shape[1:3]
  # Positions of a phase that the padding cuts off are not computed.
  edges_h, edges_w = (
    _edges(taps, p // s, (m - 1 + p) // s - p // s + 1, n)
    for taps, p, s, m, n in zip((jh, jw), (ph, pw), (sh, sw), (h, w), space)
  )
  steps = -(-t // st)  # of each phase

  def phase_from(o: int) -> jax.Array:
    """Returns elements o, o + st, ... over time: [b, steps, h'', w'', sh * sw * d]."""
    first, r = divmod(o + pt, st)
    taps = kernel[r::st][::-1]
    edges_t = _edges(len(taps), first, steps, n)
    return _conv3d_padded(x, taps, (1, 1, 1), (edges_t, edges_h, edges_w))

  y = jnp.stack([phase_from(o) for o in range(st)], axis=2)  # [b, steps, st, h'', w'', sh * sw * d]
  y = y.reshape(b, steps * st, *y.shape[3:5], sh * sw, d)
  rows, columns = slice(ph % sh, ph % sh + h), slice(pw % sw, pw % sw + w)
  return interleave(y, (1, sh, sw))[:, :t, rows, columns]


def _phases_as_channels(kernel: jax.Array, stride: Triple) -> jax.Array:
  """Splits a transposed convolution's kernel into the kernels of its phases in space.

  Taps over height and width are flipped, because the phases are cross-correlations.

  Args:
    kernel: [kt, kh, kw, c, d].
    stride: in the order t, h, w.

  Returns:
    [max(kt, st), ceil(kh / sh), ceil(kw / sw), c, sh * sw * d], filled up with zeros.
  """
  (kt, kh, kw, c, d), (st, sh, sw) = kernel.shape, stride
  jh, jw = -(-kh // sh), -(-kw // sw)  # taps of a phase
  missing = max(0, st - kt), jh * sh - kh, jw * sw - kw
  kernel = jnp.pad(kernel, [*((0, n) for n in missing), (0, 0), (0, 0)])
  kernel = kernel.reshape(-1, jh, sh, jw, sw, c, d)[:, ::-1, :, ::-1]
  return kernel.transpose(0, 1, 3, 5, 2, 4, 6).reshape(-1, jh, jw, c, sh * sw * d)


def _edges(taps: int, first: int, count: int, n: int) -> Pair:
  """Returns the padding with which a correlation has certain positions of the full one.

  Args:
    taps: number of taps of the kernel.
    first: first position; the full correlation has n + taps - 1.
    count: number of positions.
    n: number of elements of the input.
  """
  return taps - 1 - first, first + count - n


def _input_gradient(
  x_shape: tuple[int, ...], stride: Triple, padding: Padding3d, kernel: jax.Array, dy: jax.Array
) -> jax.Array:
  """Returns the gradient of a 3-D convolution's input, which is a transposed convolution.

  Args:
    x_shape: [b, t, h, w, c], shape of the input and of its gradient.
    stride, padding: in the order t, h, w.
    kernel: [kt, kh, kw, c, d].
    dy: gradient of the result, [b, t', h', w', d].
  """
  (pt, _), (ph, _), (pw, _) = padding
  _, t, h, w, _ = x_shape
  return _transposed(dy, kernel.swapaxes(-2, -1), stride, (pt, ph, pw), (t, h, w))


def _input_gradient_2d(
  x_shape: tuple[int, ...], stride: Pair, padding: Padding2d, kernel: jax.Array, dy: jax.Array
) -> jax.Array:
  """Returns the gradient of a 2-D convolution's input, as that of a 3-D convolution.

  Args:
    x_shape: [n, h, w, c], shape of the input and of its gradient.
    stride, padding: in the order h, w.
    kernel: [kh, kw, c, d].
    dy: gradient of the result, [n, h', w', d].
  """
  (n, h, w, c), (sh, sw), (ph, pw) = x_shape, stride, padding
  if is_temporal(kernel.shape, stride, padding):  # the rows are steps in time
    shape, strides, paddings = (n, h, w, 1, c), (sh, 1, 1), (ph, _NONE, _NONE)
    dx = _input_gradient(shape, strides, paddings, kernel[:, None], dy[:, :, :, None])
  else:
    shape, strides, paddings = (n, 1, h, w, c), (1, sh, sw), (_NONE, ph, pw)
    dx = _input_gradient(shape, strides, paddings, kernel[None], dy[:, None])
  return dx.reshape(x_shape)


# The choice by platform. `lax.platform_dependent` takes a function for each platform that has a
# formulation of its own, and a default for all others, which is XLA's convolution. The functions of
# a platform, and the conditions under which they are faster, are in a module of that platform.


def _forward(
  x: jax.Array, kernel: jax.Array, stride: Pair, padding: Padding2d, *, training: bool
) -> jax.Array:
  """Computes a 2-D convolution by the formulation that is best on the platform at hand.

  Args:
    x: [n, h, w, c].
    kernel: [kh, kw, c, d].
    stride, padding: in the order h, w.
    training: whether a backward pass follows.

  Returns:
    [n, h', w', d].
  """
  cpu = conv_cpu.formulation(x.shape, kernel.shape, stride, padding, training=training)
  if cpu is None:
    return conv_xla.conv2d(x, kernel, stride, padding)
  return lax.platform_dependent(
    x,
    kernel,
    cpu=functools.partial(cpu, stride=stride, padding=padding),
    default=functools.partial(conv_xla.conv2d, stride=stride, padding=padding),
  )


def _gradients(
  x: jax.Array, kernel: jax.Array, dy: jax.Array, stride: Pair, padding: Padding2d
) -> tuple[jax.Array, jax.Array]:
  """Returns the gradients of a 2-D convolution's input and kernel.

  XLA's own gradients, except on CPU. There the gradient of the input is a transposed convolution,
  without zeros between the elements of dy, and `conv_cpu.kernel_gradient` has the kernel's. If the
  forward pass was a product of patches, so are both gradients.

  Args:
    x: [n, h, w, c].
    kernel: [kh, kw, c, d].
    dy: gradient of the result, [n, h', w', d].
    stride, padding: in the order h, w.
  """

  def on_cpu(x: jax.Array, kernel: jax.Array, dy: jax.Array) -> tuple[jax.Array, jax.Array]:
    zero = conv_cpu.late_zero(dy)
    if conv_cpu.few_positions(x.shape, kernel.shape, stride, padding):
      return conv_cpu.gradients_of_product(x + zero, kernel, dy, stride, padding)
    dx = _input_gradient_2d(x.shape, stride, padding, kernel + zero, dy)
    return dx, conv_cpu.kernel_gradient(x, kernel, dy, stride, padding, zero)

  by_xla = functools.partial(conv_xla.gradients, stride=stride, padding=padding)
  return lax.platform_dependent(x, kernel, dy, cpu=on_cpu, default=by_xla)


def _kernel_gradient_of_taps(
  x: jax.Array, kernel: jax.Array, dy: jax.Array, stride: Triple, padding: Padding3d
) -> jax.Array:
  """Returns the gradient of a kernel over time and space, tap by tap.

  Args:
    x: [b, t, h, w, c].
    kernel: [kt, kh, kw, c, d].
    dy: gradient of the result, [b, t', h', w', d].
    stride, padding: in the order t, h, w.

  Returns:
    [kt, kh, kw, c, d].
  """

  def by_autodiff(
    conv2d: conv_cpu.Conv2d, x: jax.Array, kernel: jax.Array, dy: jax.Array
  ) -> jax.Array:
    _, pull = jax.vjp(lambda kernel: _sum_of_taps(conv2d, x, kernel, stride, padding), kernel)
    return pull(dy)[0]

  def on_cpu(x: jax.Array, kernel: jax.Array, dy: jax.Array) -> jax.Array:
    if conv_cpu.parts_win(dy.shape, kernel.shape[1:]):
      return conv_cpu.kernel_gradient_of_taps(kernel.shape, stride, padding, x, dy)
    return by_autodiff(_conv2d, x, kernel, dy)

  by_xla = functools.partial(by_autodiff, conv_xla.conv2d)
  return lax.platform_dependent(x, kernel, dy, cpu=on_cpu, default=by_xla)


# Rules of differentiation. JAX calls the first function of each three if it does not differentiate,
# and the other two if it does.


def _conv2d_inference(
  x: jax.Array, kernel: jax.Array, stride: Pair, padding: Padding2d
) -> jax.Array:
  """Computes a 2-D convolution that no backward pass follows."""
  return _forward(x, kernel, stride, padding, training=False)


def _conv2d_forward(
  x: jax.Array, kernel: jax.Array, stride: Pair, padding: Padding2d
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
  return _forward(x, kernel, stride, padding, training=True), (x, kernel)


def _conv2d_backward(
  stride: Pair, padding: Padding2d, residuals: tuple[jax.Array, jax.Array], dy: jax.Array
) -> tuple[jax.Array, jax.Array]:
  return _gradients(*residuals, dy, stride, padding)


_conv2d = jax.custom_vjp(_conv2d_inference, nondiff_argnums=(2, 3))
_conv2d.defvjp(_conv2d_forward, _conv2d_backward)


def _conv3d_of_taps(
  x: jax.Array, kernel: jax.Array, stride: Triple, padding: Padding3d
) -> jax.Array:
  """Computes a 3-D convolution over time and space.

  The gradient of its input is one transposed convolution. Autodiff would add up an array of x's
  size for each time tap.
  """
  return _sum_of_taps(_conv2d, x, kernel, stride, padding)


def _conv3d_forward(
  x: jax.Array, kernel: jax.Array, stride: Triple, padding: Padding3d
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
  return _sum_of_taps(_conv2d, x, kernel, stride, padding), (x, kernel)


def _conv3d_backward(
  stride: Triple, padding: Padding3d, residuals: tuple[jax.Array, jax.Array], dy: jax.Array
) -> tuple[jax.Array, jax.Array]:
  x, kernel = residuals
  dkernel = _kernel_gradient_of_taps(x, kernel, dy, stride, padding)
  return _input_gradient(x.shape, stride, padding, kernel, dy), dkernel


_conv3d = jax.custom_vjp(_conv3d_of_taps, nondiff_argnums=(2, 3))
_conv3d.defvjp(_conv3d_forward, _conv3d_backward)
