"""Three-dimensional convolutions on channels-last clips, computed as two-dimensional ones.

XLA's 3-D convolutions are slow on CPU and on GPU; its 2-D ones are not. The networks here are built
from factored kernels, which need no third dimension: (1, k, k) runs over [b*t, h, w, c], (k, 1, 1)
over [b, t, h*w, c], 1x1x1 is a matrix product. A kernel that extends over time and space is the sum
of its time taps' 2-D convolutions: on CPU, ViNet's decoding layers take 0.6 to 0.8 of the time of
one convolution with the taps stacked on the channels, and less memory.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

from jaxsal.nn.init import filled, kernel_init
from jaxsal.nn.windows import interleave

# How many zeros come before and after each axis.
_Padding = tuple[tuple[int, int], ...]

_LAYOUT_2D = ("NHWC", "HWIO", "NHWC")
# Patches of a block of rows, and of positions over time, that stay in a CPU's caches.
_FRAME_BYTES, _COLUMN_BYTES = 12_000_000, 2_500_000
# Positions for each of a kernel's output channels up to which a CPU multiplies patches and kernel.
_FEW = 1


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
    self.bias = nnx.Param(filled(0, out_channels)) if use_bias else None

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
      return _pointwise(x[:, ::step, ::step], kernel[0, 0])
    return _conv2d(x, kernel, self.stride, _both_sides(padding))


class ConvTranspose(Conv):
  """A 3-D transposed convolution, PyTorch's `ConvTranspose3d` without `output_padding`.

  [b, t, h, w, in] -> [b, t', h', w', out], n' = (n - 1) * stride - 2 * padding + kernel.
  """

  def __init__(self, *arguments: Any, **options: Any) -> None:
    """As `Conv`."""
    super().__init__(*arguments, **options)
    # One output element sees only every stride-th element of the kernel: fewer inputs.
    self.kernel[...] *= math.sqrt(math.prod(self.stride))

  def _convolve(self, x: jax.Array, kernel: jax.Array, padding: tuple[int, ...]) -> jax.Array:
    return conv_transpose3d(x, kernel, self.stride, padding)


def conv3d(
  x: jax.Array,
  kernel: jax.Array,
  stride: tuple[int, int, int] = (1, 1, 1),
  padding: tuple[int, int, int] = (0, 0, 0),
) -> jax.Array:
  """Cross-correlation of x [b, t, h, w, c] with kernel [kt, kh, kw, c, d], zero padded."""
  return _conv3d_padded(x, kernel, stride, _both_sides(padding))


def _both_sides(padding: tuple[int, ...]) -> _Padding:
  return tuple((p, p) for p in padding)


def _conv3d_padded(
  x: jax.Array, kernel: jax.Array, stride: tuple[int, int, int], padding: _Padding
) -> jax.Array:
  """`conv3d` with a padding for both ends of an axis; negative padding is cut off."""
  if any(min(p) < 0 or max(p) >= k for p, k in zip(padding, kernel.shape)):
    # Beyond the kernel's size outputs see zeros alone; their gradients would be padded negatively.
    x = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *((*p, 0) for p in padding), (0, 0, 0)])
    padding = _both_sides((0, 0, 0))
  b, t, h, w, c = x.shape
  kt, kh, kw, _, d = kernel.shape
  (st, sh, sw), (pt, ph, pw), none = stride, padding, (0, 0)
  if (kt, kh, kw) == (1, 1, 1) and stride == (1, 1, 1) and padding == (none, none, none):
    return _pointwise(x, kernel[0, 0, 0])
  if (kh, kw, sh, sw, ph, pw) == (1, 1, 1, 1, none, none):
    y = _conv2d(x.reshape(b, t, h * w, c), kernel[:, 0], (st, 1), (pt, none))
    return y.reshape(b, -1, h, w, d)
  if (kt, pt) == (1, none):
    y = _conv2d(x[:, ::st].reshape(-1, h, w, c), kernel[0], (sh, sw), (ph, pw))
    return y.reshape(b, -1, *y.shape[1:])
  return _conv3d(x, kernel, stride, padding)


def _pointwise(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """x [..., c] times kernel [c, d], as one product of two matrices.

  Of a product over several axes XLA on CPU copies an operand to compute the kernel's gradient.
  """
  return (x.reshape(-1, x.shape[-1]) @ kernel).reshape(*x.shape[:-1], kernel.shape[-1])


def conv_transpose3d(
  x: jax.Array,
  kernel: jax.Array,
  stride: tuple[int, int, int] = (1, 1, 1),
  padding: tuple[int, int, int] = (0, 0, 0),
) -> jax.Array:
  """The adjoint of `conv3d` with respect to its input: x[i] kernel[k] adds to y[s * i - p + k].

  Args:
    x: [b, t, h, w, c].
    kernel: [kt, kh, kw, c, d].
    stride, padding: in the order t, h, w; padding is smaller than the kernel and is cut off.

  Returns:
    [b, t', h', w', d], n' = (n - 1) * s - 2 * p + k.
  """
  sizes = zip(x.shape[1:4], kernel.shape, stride, padding)
  size = tuple((n - 1) * s - 2 * p + k for n, k, s, p in sizes)
  return _adjoint(x, kernel, stride, padding, size)


def _adjoint(
  x: jax.Array,
  kernel: jax.Array,
  stride: tuple[int, int, int],
  padding: tuple[int, int, int],
  size: tuple[int, int, int],
) -> jax.Array:
  """`conv_transpose3d` with a result of `size`, of which `padding` is cut off at the beginning.

  Computed without inserting zeros, at x's own size. Output o sees elements s * j + r of the kernel,
  r = (o + p) % s. Such phases of the stride in space are channels of one convolution, interleaved
  afterwards. Those over time have a convolution each, with no more taps and positions than theirs
  (of S3D's stem seven eighths), and kernels of fewer channels (of ViNet's decoder 14 instead of
  43 MB): XLA on CPU copies a kernel, and computes what is larger than its input slowly.
  """
  (b, n, *_), (kt, *_, c, d) = x.shape, kernel.shape
  (first, *space), (st, sh, sw) = padding, stride
  # Number s * j + r of the kernel is tap j of phase r; taps are flipped to cross-correlate.
  jh, jw = taps = [-(-k // s) for k, s in zip(kernel.shape[1:3], (sh, sw))]
  missing = [(0, j * s - k) for j, s, k in zip(taps, (sh, sw), kernel.shape[1:3])]
  missing = [(0, max(0, st - kt)), *missing]  # one tap at least for each phase over time
  kernel = jnp.pad(kernel, [*missing, (0, 0), (0, 0)])
  kernel = kernel.reshape(-1, jh, sh, jw, sw, c, d)[:, ::-1, :, ::-1]
  kernel = kernel.transpose(0, 1, 3, 5, 2, 4, 6).reshape(-1, jh, jw, c, sh * sw * d)
  # Whole strides of what the padding cuts off are not computed.
  edges = [
    (j - 1 - p // s, (m - 1 + p) // s + 1 - n)
    for j, p, s, m, n in zip(taps, space, (sh, sw), size[1:], x.shape[2:4])
  ]
  count = -(-size[0] // st)

  def steps(o: int) -> jax.Array:
    """Outputs o, o + st, ... over time."""
    start, r = divmod(o + first, st)
    phase = kernel[r::st][::-1]
    ends = (len(phase) - 1 - start, start + count - n)
    return _conv3d_padded(x, phase, (1, 1, 1), (ends, *edges))

  y = jnp.stack([steps(o) for o in range(st)], axis=2)
  y = y.reshape(b, count * st, *y.shape[3:5], sh * sw, d)
  h, w = (slice(p % s, p % s + m) for p, s, m in zip(space, (sh, sw), size[1:]))
  return interleave(y, (1, sh, sw))[:, : size[0], h, w]


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _conv3d(
  x: jax.Array,
  kernel: jax.Array,
  stride: tuple[int, int, int],
  padding: _Padding,
) -> jax.Array:
  """The sum of the time taps' convolutions.

  The gradient of x is a transposed convolution: autodiff adds up an array of x's size for each tap.
  """
  return _sum_of_taps(_conv2d, x, kernel, stride, padding)


def _sum_of_taps(conv2d, x, kernel, stride, padding):
  (b, t, h, w, c), kt = x.shape, kernel.shape[0]
  (st, *stride), ((before, after), *padding) = stride, padding
  steps = (t + before + after - kt) // st + 1

  def tap(i):
    # Of the outputs that it sees a frame for; padding in time would be multiplied as well.
    first, end = max(0, -((i - before) // st)), min(steps, (t - 1 + before - i) // st + 1)
    if first >= end:
      return 0
    start, limit = (o * st + i - before for o in (first, end - 1))
    seen = lax.slice_in_dim(x, start, limit + 1, st, axis=1)
    y = conv2d(seen.reshape(-1, h, w, c), kernel[i], tuple(stride), tuple(padding))
    return jnp.pad(y.reshape(b, -1, *y.shape[1:]), [(0, 0), (first, steps - end), *[(0, 0)] * 3])

  return sum(map(tap, range(kt)))


def _conv3d_forward(x, kernel, stride, padding):
  return _sum_of_taps(_conv2d, x, kernel, stride, padding), (x, kernel)


def _conv3d_backward(stride, padding, residuals, dy):
  x, kernel = residuals

  def of_taps(conv2d, x, kernel, dy):
    _, pull = jax.vjp(lambda kernel: _sum_of_taps(conv2d, x, kernel, stride, padding), kernel)
    return pull(dy)[0]

  def on_cpu(x, kernel, dy):
    dy_frames = dy.reshape(-1, *dy.shape[2:])
    if not _parts_win(dy_frames.shape, kernel.shape[1:]):
      return of_taps(_conv2d, x, kernel, dy)
    x_frames, zero = x.reshape(-1, *x.shape[2:]), _late_zero(dy_frames)
    by_parts = functools.partial(
      _kernel_gradient_by_parts, kernel.shape[1:], stride[1:], padding[1:], x_frames, dy_frames
    )
    # The time taps see the frames where they lie: slices would be made in the forward pass, and
    # kept. What is padding in time is left out.
    b, t, steps = x.shape[0], x.shape[1], dy.shape[1]
    clip, step = np.mgrid[:b, :steps]
    gradients = []
    for i in range(len(kernel)):
      seen = step * stride[0] + i - padding[0][0]
      frames = np.stack([clip * t + seen, clip * steps + step], axis=-1)
      gradients.append(by_parts(zero, frames[(seen >= 0) & (seen < t)]))
    return jnp.stack(gradients)

  by_xla = functools.partial(of_taps, _xla_conv2d)
  dkernel = lax.platform_dependent(x, kernel, dy, cpu=on_cpu, default=by_xla)
  return _input_gradient(x.shape, stride, padding, kernel, dy), dkernel


_conv3d.defvjp(_conv3d_forward, _conv3d_backward)


def _input_gradient(x_shape, stride, padding, kernel, dy):
  """Gradient [b, t, h, w, c] of a convolution's input, without zeros between dy's elements."""
  before = tuple(p for p, _ in padding)
  return _adjoint(dy, kernel.swapaxes(-2, -1), stride, before, x_shape[1:4])


def _input_gradient_2d(x_shape, stride, padding, kernel, dy):
  """The same, [n, h, w, c], of a 2-D convolution's input."""
  (n, h, w, c), (sh, sw), (ph, pw), none = x_shape, stride, padding, (0, 0)
  if _over_rows(kernel.shape, stride, padding):
    shape, stride, padding = (n, h, w, 1, c), (sh, 1, 1), (ph, none, none)
    dx = _input_gradient(shape, stride, padding, kernel[:, None], dy[:, :, :, None])
  else:
    shape, stride, padding = (n, 1, h, w, c), (1, sh, sw), (none, ph, pw)
    dx = _input_gradient(shape, stride, padding, kernel[None], dy[:, None])
  return dx.reshape(x_shape)


def _over_rows(kernel_shape, stride, padding) -> bool:
  """Whether a 2-D convolution is one over rows alone, which are then steps in time."""
  return (kernel_shape[1], stride[1], padding[1]) == (1, 1, (0, 0))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _conv2d(
  x: jax.Array, kernel: jax.Array, stride: tuple[int, int], padding: _Padding
) -> jax.Array:
  """x [n, h, w, c], kernel [kh, kw, c, d] -> [n, h', w', d].

  As XLA has it, except on CPU: few positions go `_as_product`, and so do their gradients. Else,
  without gradients frames go `_side_by_side`; the gradient of the input is such a convolution too,
  without zeros between dy's elements; the gradient of the kernel goes by parts where `_parts_win`.
  """
  if _few_positions(x.shape, kernel.shape, stride, padding):
    return _on_cpu(_as_product, x, kernel, stride, padding)
  if len(x) == 1 or kernel.shape[1] == 1:
    return _xla_conv2d(x, kernel, stride, padding)
  return _on_cpu(_side_by_side, x, kernel, stride, padding)


def _on_cpu(function, x, kernel, stride, padding):
  """The convolution by this function on CPU, by XLA elsewhere."""
  here = functools.partial(function, stride=stride, padding=padding)
  xla = functools.partial(_xla_conv2d, stride=stride, padding=padding)
  return lax.platform_dependent(x, kernel, cpu=here, default=xla)


def _xla_conv2d(x, kernel, stride, padding):
  return lax.conv_general_dilated(x, kernel, stride, padding, dimension_numbers=_LAYOUT_2D)


def _side_by_side(x, kernel, stride, padding):
  """The same, computed as one wide frame, [1, h, n * w, c], with zeros between the frames.

  XLA on CPU (YNNPACK) hands out a convolution to the cores in blocks of a row's positions and of
  output channels. A narrow frame is one to three such blocks, which leaves cores without work; the
  stem, with its few channels, is one however wide its frames are.
  """
  (n, h, w, c), k, s, (rows, (p, q)) = x.shape, kernel.shape[1], stride[1], padding
  gap = max(p, q)
  gap += -(w + gap) % s  # the right padding of one frame and the left one of the next
  each = (w + gap) // s  # positions of a frame in the result, those of the gap among them
  wide = jnp.pad(x, [(0, 0), (0, 0), (0, gap), (0, 0)]).swapaxes(0, 1)
  wide = wide.reshape(1, h, n * (w + gap), c)
  padding = rows, (p, max(0, k - p - s))  # for all of these positions
  y = _xla_conv2d(wide, kernel, stride, padding)[0, :, : n * each]
  y = y.reshape(len(y), n, each, kernel.shape[-1])
  return y[:, :, : (w + p + q - k) // s + 1].swapaxes(0, 1)


def _few_positions(x_shape, kernel_shape, stride, padding) -> bool:
  """Whether there are few positions for the kernel's size, so that to arrange it takes the time.

  XLA copies a kernel to convolve with it, once more mirrored for the gradient of the input, which
  takes longest where its channels are a power of two; the product reads it as it lies.
  """
  h, w = _size(x_shape, kernel_shape, stride, padding)
  return x_shape[0] * h * w <= _FEW * kernel_shape[-1]


def _size(x_shape, kernel_shape, stride, padding):
  """Height and width of the result."""
  sizes = zip(x_shape[1:3], kernel_shape, stride, padding)
  return tuple((n + sum(p) - k) // s + 1 for n, k, s, p in sizes)


def _as_product(x, kernel, stride, padding):
  """The same as the product of all patches [n * h' * w', kh * kw * c] and the kernel."""
  h, w = _size(x.shape, kernel.shape, stride, padding)
  x = jnp.pad(x, [(0, 0), *padding, (0, 0)])
  y = _patches(kernel.shape, stride, x, (h, w)) @ kernel.reshape(-1, kernel.shape[-1])
  return y.reshape(len(x), h, w, -1)


def _conv2d_forward(x, kernel, stride, padding):
  if _few_positions(x.shape, kernel.shape, stride, padding):
    return _on_cpu(_as_product, x, kernel, stride, padding), (x, kernel)
  # Not side by side: what the backward pass needs would be kept in both arrangements.
  return _xla_conv2d(x, kernel, stride, padding), (x, kernel)


def _conv2d_backward(stride, padding, residuals, dy):
  x, kernel = residuals

  def gradients(x, kernel, dy, conv=_xla_conv2d):
    _, pull = jax.vjp(functools.partial(conv, stride=stride, padding=padding), x, kernel)
    return pull(dy)

  def on_cpu(x, kernel, dy):
    zero = _late_zero(dy)
    if _few_positions(x.shape, kernel.shape, stride, padding):
      return gradients(x + zero, kernel, dy, _as_product)
    dx = _input_gradient_2d(x.shape, stride, padding, kernel + zero, dy)
    if _parts_win(dy.shape, kernel.shape):
      return dx, _kernel_gradient_by_parts(kernel.shape, stride, padding, x, dy, zero)
    return dx, gradients(x, kernel, dy)[1]

  return lax.platform_dependent(x, kernel, dy, cpu=on_cpu, default=gradients)


_conv2d.defvjp(_conv2d_forward, _conv2d_backward)


def _late_zero(dy: jax.Array) -> jax.Array:
  """Zero, of dy's type, that is there once the gradient dy is.

  Added to what a backward pass starts from. XLA on CPU computes what depends on no gradient, such
  as transposed kernels and patches of a layer's input, during the forward pass, and keeps it until
  it is needed: a fifth of STSANet's memory.
  """
  return jnp.minimum(jnp.abs(dy[(0,) * dy.ndim]), 0)  # NaN of NaN, as are all sums over dy


def _parts_win(y_shape: tuple[int, ...], kernel_shape: tuple[int, ...]) -> bool:
  """Whether, on CPU, matrix products of parts of the clip beat XLA's gradient of the kernel.

  Measured on 2 cores (benchmarks/conv.py, numbers in benchmarks/RESULTS.md): where a frame has
  positions enough for a product, and the layer multiplications enough to matter. XLA's gradient is
  a convolution with the frames as channels, and slow where those are few.
  """
  n, h, w, _ = y_shape
  multiplications = n * h * w * math.prod(kernel_shape)
  return h * w >= 64 and (multiplications >= 10_000_000 or h * w >= 128 * n)


def _kernel_gradient_by_parts(kernel_shape, stride, padding, x, dy, zero, frames=None):
  """Gradient [kh, kw, c, d] of the kernel, added up over parts of the clip.

  What is made for one part stays in the processor's caches and is overwritten by the next; the
  whole clip at once would be new pages of memory, written and read again. `frames` [m, 2] are
  numbers of x's frames and of the frames of dy that they belong to, if these are not all, one by
  one.
  """
  dtype = x.dtype if x.dtype == jnp.float64 else jnp.float32  # of the sums
  zero = zero.astype(dtype)
  if frames is None and _over_rows(kernel_shape, stride, padding):
    total = _over_time(kernel_shape, stride, padding, x, dy, zero)
  else:
    frames = np.arange(len(x))[:, None].repeat(2, axis=1) if frames is None else frames
    total = _over_space(kernel_shape, stride, padding, x, dy, zero, frames)
  return total.astype(x.dtype)


def _over_space(kernel_shape, stride, padding, x, dy, zero, frames):
  """x [n, h, w, c], dy [n', h', w', d], frame by frame; of large ones a block of rows at a time.

  Patches are made of the side with fewer channels.
  """
  (kh, kw, c, d), (ph, pw) = kernel_shape, padding
  if d < c and stride == (1, 1):  # x and dy change places: the mirrored kernel's gradient
    shape, frames = (kh, kw, d, c), frames[:, ::-1]
    padding = tuple(tuple(k - 1 - p for p in ends) for k, ends in zip((kh, kw), padding))
    return _over_space(shape, stride, padding, dy, x, zero, frames)[::-1, ::-1].swapaxes(2, 3)
  _, h, w, _ = dy.shape
  rows = _largest_part(h, w * kh * kw * c * x.dtype.itemsize, _FRAME_BYTES)
  blocks = np.tile(np.arange(0, h, rows), len(frames))
  parts = np.column_stack([frames.repeat(h // rows, axis=0), blocks])
  frame_of = functools.partial(lax.dynamic_index_in_dim, keepdims=False)

  def product(x, part):
    x_frame, dy_frame, row = part
    seen = jnp.pad(frame_of(x, x_frame), [ph, pw, (0, 0)])
    seen = lax.dynamic_slice_in_dim(seen, row * stride[0], (rows - 1) * stride[0] + kh)
    here = lax.dynamic_slice_in_dim(frame_of(dy, dy_frame), row, rows)
    return _of_patches(kernel_shape, stride, seen, here, zero.dtype)

  total = _sum_over_parts(product, parts, x, zero, (d, kh * kw * c), rows * w)
  return total.reshape(d, kh, kw, c).transpose(1, 2, 3, 0)


def _over_time(kernel_shape, stride, padding, x, dy, zero):
  """x [b, t, n, c], dy [b, t', n, d]: some of each clip's n positions at a time, with all steps."""
  (k, _, c, d), (b, steps, n, _) = kernel_shape, dy.shape
  columns = _largest_part(n, steps * k * c * x.dtype.itemsize, _COLUMN_BYTES)
  corners = np.mgrid[:b, :1, :n:columns, :1].reshape(4, -1).T

  def product(x, corner):
    def cut(a):
      return lax.dynamic_slice(a, (*corner,), (1, a.shape[1], columns, a.shape[3]))[0]

    seen = jnp.pad(cut(x), [padding[0], (0, 0), (0, 0)])
    return _of_patches(kernel_shape, stride, seen, cut(dy), zero.dtype)

  total = _sum_over_parts(product, corners, x, zero, (d, k * c), steps * columns)
  return total.reshape(d, k, 1, c).transpose(1, 2, 3, 0)


def _sum_over_parts(product, parts, x, zero, shape, positions):
  """The sum of product(x, part) [shape] for parts of so many positions each.

  Two or three at a time, so that one's patches are made while another's are multiplied, but where
  the products are larger than the patches.
  """
  turn = next((n for n in (2, 3) if len(parts) % n == 0 and positions >= shape[0]), 1)
  if len(parts) <= turn:
    x += zero.astype(x.dtype)  # no loop stays in which its patches are made

  def add(total, part):
    return total + product(x, part), None

  return lax.scan(add, jnp.full(shape, zero), parts.astype(np.uint32), unroll=turn)[0]


def _of_patches(kernel_shape, stride, x, dy, dtype):
  """dy [h', w', d].T times the patches of x [h, w, c], padded already.

  dy is transposed, as it is smaller than the patches.
  """
  h, w, d = dy.shape
  patches = _patches(kernel_shape, stride, x, (h, w))
  return jnp.matmul(dy.reshape(h * w, d).T, patches, preferred_element_type=dtype)


def _patches(kernel_shape, stride, x, size):
  """What a kernel sees of x [.., h, w, c] at `size` positions each: [.. * h' * w', kh * kw * c]."""
  (kh, kw, *_), (sh, sw), (h, w) = kernel_shape, stride, size
  rows, columns = x.ndim - 3, x.ndim - 2
  taps = [lax.slice_in_dim(x, j, j + (w - 1) * sw + 1, sw, columns) for j in range(kw)]
  x = jnp.stack(taps, axis=-2)
  taps = [lax.slice_in_dim(x, i, i + (h - 1) * sh + 1, sh, rows) for i in range(kh)]
  return jnp.stack(taps, axis=-3).reshape(-1, kh * kw * x.shape[-1])


def _largest_part(count: int, size: int, limit: int) -> int:
  """The largest divisor of a count of things whose sizes add up to no more than the limit, or 1."""
  return max(n for n in range(1, count + 1) if count % n == 0 and (n == 1 or n * size <= limit))
