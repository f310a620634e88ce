"""Formulations of 2-D convolutions and of their gradients for CPUs.

`jaxsal.nn.conv` chooses between these functions and XLA's own convolution. The conditions and
limits below were measured with JAX 0.10.2 on two cores, in float32: `python -m benchmarks.conv`
repeats the measurement, benchmarks/RESULTS.md has its numbers, and benchmarks/EXPERIMENTS.md has
what else was tried.

XLA on CPU computes convolutions with YNNPACK and matrix products with Eigen or YNNPACK. Four of
their properties decide what is done here:

- A convolution is handed to the cores in blocks of a row's positions and of output channels. A
  narrow frame has too few blocks for all cores (`side_by_side`).
- A convolution copies its kernel first. For few positions this takes longer than the products
  (`as_product`).
- XLA's gradient of a kernel is a convolution whose channels are the frames, which is slow if there
  are few frames (`kernel_gradient` and the parts that it adds up).
- Operations that need no gradient are computed in the forward pass, and their results are kept
  until the backward pass uses them (`late_zero`).
"""

import functools
import math
from collections.abc import Callable
from typing import Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import DTypeLike

from jaxsal.nn import conv_xla
from jaxsal.nn.geometry import Padding2d, Padding3d, Pair, Triple, is_temporal

Shape = tuple[int, ...]


class Conv2d(Protocol):
  """A 2-D convolution of x [n, h, w, c] with a kernel [kh, kw, c, d]."""

  def __call__(
    self, x: jax.Array, kernel: jax.Array, stride: Pair, padding: Padding2d
  ) -> jax.Array: ...


# Positions of the result per output channel up to which a convolution is one product.
_FEW = 1
# Bytes of patches that stay in a CPU's caches: of a block of rows, and of some positions over time.
_FRAME_BYTES, _COLUMN_BYTES = 12_000_000, 2_500_000


# Forward pass.


def formulation(
  x_shape: Shape, kernel_shape: Shape, stride: Pair, padding: Padding2d, *, training: bool
) -> Conv2d | None:
  """Returns the function that computes a 2-D convolution best, or None if XLA's own does.

  Args:
    x_shape: [n, h, w, c].
    kernel_shape: [kh, kw, c, d].
    stride, padding: in the order h, w.
    training: whether a backward pass follows. Frames do not go side by side then, because the
      backward pass would keep its arrays in both arrangements.
  """
  if few_positions(x_shape, kernel_shape, stride, padding):
    return as_product
  if training or x_shape[0] == 1 or kernel_shape[1] == 1:
    return None
  return side_by_side


def few_positions(x_shape: Shape, kernel_shape: Shape, stride: Pair, padding: Padding2d) -> bool:
  """Returns whether a result has at most as many positions [n, h', w'] as channels.

  Then XLA spends most of its time on the kernel: a convolution copies it, and the gradient of the
  input copies it once more, mirrored, which takes longest if the numbers of channels are powers of
  two. A matrix product (`as_product`) reads the kernel where it is.
  """
  h, w = output_size(x_shape, kernel_shape, stride, padding)
  return x_shape[0] * h * w <= _FEW * kernel_shape[-1]


def output_size(x_shape: Shape, kernel_shape: Shape, stride: Pair, padding: Padding2d) -> Pair:
  """Returns height and width of a 2-D convolution's result."""
  axes = zip(x_shape[1:3], kernel_shape, stride, padding)
  h, w = ((n + sum(p) - k) // s + 1 for n, k, s, p in axes)
  return h, w


def as_product(x: jax.Array, kernel: jax.Array, stride: Pair, padding: Padding2d) -> jax.Array:
  """Computes a 2-D convolution as one product of all patches and the kernel.

  The patches are a matrix [n * h' * w', kh * kw * c].
  """
  h, w = output_size(x.shape, kernel.shape, stride, padding)
  x = jnp.pad(x, [(0, 0), *padding, (0, 0)])
  y = _patches(kernel.shape, stride, x, (h, w)) @ kernel.reshape(-1, kernel.shape[-1])
  return y.reshape(len(x), h, w, -1)


def side_by_side(x: jax.Array, kernel: jax.Array, stride: Pair, padding: Padding2d) -> jax.Array:
  """Computes a 2-D convolution of n frames as one of a single wide frame.

  The wide frame is [1, h, n * (w + gap), c], with `gap` columns of zeros between the frames.
  YNNPACK hands a convolution to the cores in blocks of a row's positions and of output channels. A
  narrow frame is one to three such blocks, which leaves cores without work. The stem, with its few
  channels, is one block however wide its frames are.
  """
  (n, h, w, c), k, s = x.shape, kernel.shape[1], stride[1]
  rows, (before, after) = padding
  # The gap is the right padding of one frame and the left padding of the next, rounded up so that
  # each frame begins at a multiple of the stride.
  gap = max(before, after)
  gap += -(w + gap) % s
  wide = jnp.pad(x, [(0, 0), (0, 0), (0, gap), (0, 0)]).swapaxes(0, 1)
  wide = wide.reshape(1, h, n * (w + gap), c)
  pitch = (w + gap) // s  # positions in the result from one frame to the next
  edges = before, max(0, k - before - s)  # just enough to have n * pitch positions
  y = conv_xla.conv2d(wide, kernel, stride, (rows, edges))[0, :, : n * pitch]
  y = y.reshape(len(y), n, pitch, kernel.shape[-1])
  width = (w + before + after - k) // s + 1
  return y[:, :, :width].swapaxes(0, 1)


# Backward pass.


def late_zero(dy: jax.Array) -> jax.Array:
  """Returns a scalar zero of dy's type that exists only once the gradient dy does.

  A backward pass adds it to arrays that depend on no gradient, such as transposed kernels and
  patches of a layer's input. Otherwise XLA on CPU computes these during the forward pass and keeps
  them until they are used: a fifth of STSANet's memory.
  """
  # If dy's first element is NaN, so is this zero, and so is every sum over dy.
  return jnp.minimum(jnp.abs(dy[(0,) * dy.ndim]), 0)


def gradients_of_product(
  x: jax.Array, kernel: jax.Array, dy: jax.Array, stride: Pair, padding: Padding2d
) -> tuple[jax.Array, jax.Array]:
  """Returns the gradients of x and kernel for a convolution that is computed `as_product`."""
  convolve = functools.partial(as_product, stride=stride, padding=padding)
  _, pull = jax.vjp(convolve, x, kernel)
  return pull(dy)


def kernel_gradient(
  x: jax.Array,
  kernel: jax.Array,
  dy: jax.Array,
  stride: Pair,
  padding: Padding2d,
  zero: jax.Array,
) -> jax.Array:
  """Returns the gradient [kh, kw, c, d] of a 2-D convolution's kernel.

  Args:
    x: [n, h, w, c].
    kernel: [kh, kw, c, d].
    dy: gradient of the result, [n, h', w', d].
    stride, padding: in the order h, w.
    zero: the `late_zero` of dy.
  """
  if parts_win(dy.shape, kernel.shape):
    return _kernel_gradient_by_parts(kernel.shape, stride, padding, x, dy, zero)
  return conv_xla.gradients(x, kernel, dy, stride, padding)[1]


def kernel_gradient_of_taps(
  kernel_shape: Shape, stride: Triple, padding: Padding3d, x: jax.Array, dy: jax.Array
) -> jax.Array:
  """Returns the gradient [kt, kh, kw, c, d] of a kernel over time and space, a time tap at a time.

  Every tap reads its frames of x where they are: slices of x would be made in the forward pass, and
  kept. Frames that are padding are left out.

  Args:
    kernel_shape: [kt, kh, kw, c, d].
    stride, padding: in the order t, h, w.
    x: [b, t, h, w, c].
    dy: gradient of the result, [b, t', h', w', d].
  """
  (b, t), steps = x.shape[:2], dy.shape[1]
  dy_frames = dy.reshape(-1, *dy.shape[2:])
  x_frames = x.reshape(-1, *x.shape[2:])
  zero = late_zero(dy_frames)
  (st, sh, sw), ((before, _), ph, pw) = stride, padding
  by_parts = functools.partial(
    _kernel_gradient_by_parts, kernel_shape[1:], (sh, sw), (ph, pw), x_frames, dy_frames
  )
  clip, step = np.mgrid[:b, :steps]
  gradients = []
  for tap in range(kernel_shape[0]):
    frame = step * st + tap - before  # the frame of the clip that the tap sees
    pairs = np.stack([clip * t + frame, clip * steps + step], axis=-1)
    gradients.append(by_parts(zero, pairs[(frame >= 0) & (frame < t)]))
  return jnp.stack(gradients)


def parts_win(y_shape: Shape, kernel_shape: Shape) -> bool:
  """Returns whether products over parts of the clip beat XLA's gradient of the kernel.

  They do if a frame has enough positions for a matrix product, and the layer has enough
  multiplications to matter. They also do for layers of few frames, because XLA's gradient is a
  convolution with the frames as its channels.

  Args:
    y_shape: shape of the result, [..., h', w', d]; the leading axes are frames.
    kernel_shape: [kh, kw, c, d].
  """
  *frames, h, w, _ = y_shape
  n = math.prod(frames)
  multiplications = n * h * w * math.prod(kernel_shape)
  return h * w >= 64 and (multiplications >= 10_000_000 or h * w >= 128 * n)


def _kernel_gradient_by_parts(
  kernel_shape: Shape,
  stride: Pair,
  padding: Padding2d,
  x: jax.Array,
  dy: jax.Array,
  zero: jax.Array,
  frames: np.ndarray | None = None,
) -> jax.Array:
  """Returns the gradient [kh, kw, c, d] of a kernel, added up over parts of the clip.

  The patches of one part stay in the processor's caches, and those of the next part overwrite them.
  Patches of the whole clip would be new pages of memory, written and read again.

  Args:
    kernel_shape: [kh, kw, c, d].
    stride, padding: in the order h, w.
    x: [n, h, w, c].
    dy: gradient of the result, [n', h', w', d].
    zero: the `late_zero` of dy.
    frames: [m, 2], pairs of a frame of x and the frame of dy that was computed from it. Without
      this argument each frame of x belongs to the frame of dy with the same number.
  """
  dtype = x.dtype if x.dtype == jnp.float64 else jnp.float32  # of the sums
  zero = zero.astype(dtype)
  if frames is None and is_temporal(kernel_shape, stride, padding):
    total = _over_time(kernel_shape, stride, padding, x, dy, zero)
  else:
    if frames is None:
      frames = np.arange(len(x))[:, None].repeat(2, axis=1)
    total = _over_space(kernel_shape, stride, padding, x, dy, zero, frames)
  return total.astype(x.dtype)


def _over_space(
  kernel_shape: Shape,
  stride: Pair,
  padding: Padding2d,
  x: jax.Array,
  dy: jax.Array,
  zero: jax.Array,
  frames: np.ndarray,
) -> jax.Array:
  """Adds up a kernel's gradient over frames, or over blocks of rows if the frames are large.

  Patches are made of x or of dy, whichever has fewer channels.

  Args:
    kernel_shape: [kh, kw, c, d].
    stride, padding: in the order h, w.
    x: [n, h, w, c].
    dy: gradient of the result, [n', h', w', d].
    zero: a `late_zero` in the dtype of the sum.
    frames: [m, 2], pairs of a frame of x and a frame of dy.

  Returns:
    [kh, kw, c, d].
  """
  kh, kw, c, d = kernel_shape
  if d < c and stride == (1, 1):
    # x and dy change places: this gives the gradient of the mirrored kernel [kh, kw, d, c].
    (top, bottom), (left, right) = padding
    mirrored = (kh - 1 - top, kh - 1 - bottom), (kw - 1 - left, kw - 1 - right)
    total = _over_space((kh, kw, d, c), stride, mirrored, dy, x, zero, frames[:, ::-1])
    return total[::-1, ::-1].swapaxes(2, 3)
  _, h, w, _ = dy.shape
  rows = _largest_part(h, w * kh * kw * c * x.dtype.itemsize, _FRAME_BYTES)
  first_rows = np.tile(np.arange(0, h, rows), len(frames))
  parts = np.column_stack([frames.repeat(h // rows, axis=0), first_rows])

  def product(x: jax.Array, part: jax.Array) -> jax.Array:
    x_frame, dy_frame, row = part
    seen = lax.dynamic_index_in_dim(x, x_frame, keepdims=False)
    seen = jnp.pad(seen, [*padding, (0, 0)])
    seen = lax.dynamic_slice_in_dim(seen, row * stride[0], (rows - 1) * stride[0] + kh)
    here = lax.dynamic_index_in_dim(dy, dy_frame, keepdims=False)
    here = lax.dynamic_slice_in_dim(here, row, rows)
    return _times_patches(kernel_shape, stride, seen, here, zero.dtype)

  total = _sum_over_parts(product, parts, x, zero, (d, kh * kw * c), rows * w)
  return total.reshape(d, kh, kw, c).transpose(1, 2, 3, 0)


def _over_time(
  kernel_shape: Shape,
  stride: Pair,
  padding: Padding2d,
  x: jax.Array,
  dy: jax.Array,
  zero: jax.Array,
) -> jax.Array:
  """Adds up a temporal kernel's gradient over parts with some positions and all steps of a clip.

  Args:
    kernel_shape: [k, 1, c, d].
    stride, padding: over time and over positions; over positions they are 1 and 0.
    x: [b, t, n, c], where n counts the positions of a frame.
    dy: gradient of the result, [b, t', n, d].
    zero: a `late_zero` in the dtype of the sum.

  Returns:
    [k, 1, c, d].
  """
  (k, _, c, d), (b, steps, n, _) = kernel_shape, dy.shape
  columns = _largest_part(n, steps * k * c * x.dtype.itemsize, _COLUMN_BYTES)
  corners = np.mgrid[:b, :1, :n:columns, :1].reshape(4, -1).T

  def product(x: jax.Array, corner: jax.Array) -> jax.Array:
    def cut(a: jax.Array) -> jax.Array:
      return lax.dynamic_slice(a, (*corner,), (1, a.shape[1], columns, a.shape[3]))[0]

    seen = jnp.pad(cut(x), [padding[0], (0, 0), (0, 0)])
    return _times_patches(kernel_shape, stride, seen, cut(dy), zero.dtype)

  total = _sum_over_parts(product, corners, x, zero, (d, k * c), steps * columns)
  return total.reshape(d, k, 1, c).transpose(1, 2, 3, 0)


def _sum_over_parts(
  product: Callable[[jax.Array, jax.Array], jax.Array],
  parts: np.ndarray,
  x: jax.Array,
  zero: jax.Array,
  shape: Pair,
  positions: int,
) -> jax.Array:
  """Returns the sum of product(x, part) over all parts.

  A turn of the loop takes two or three parts, so that the patches of one are made while those of
  another are multiplied. It takes one part if the products are larger than the patches.

  Args:
    product: function of x and a row of `parts` that returns an array of `shape`.
    parts: [m, k], integers that say where a part begins.
    x: the array that patches are cut from.
    zero: a `late_zero` in the dtype of the sum.
    shape: shape of the sum.
    positions: number of positions in a part.
  """
  turn = next((n for n in (2, 3) if len(parts) % n == 0 and positions >= shape[0]), 1)
  if len(parts) <= turn:
    # XLA unrolls the loop, so that the patches no longer wait for dy. The zero makes them wait.
    x += zero.astype(x.dtype)

  def add(total: jax.Array, part: jax.Array) -> tuple[jax.Array, None]:
    return total + product(x, part), None

  # The stubs of `scan` do not know that it takes NumPy arrays.
  parts = parts.astype(np.uint32)
  return lax.scan(add, jnp.full(shape, zero), parts, unroll=turn)[0]  # pyright: ignore[reportArgumentType]


def _times_patches(
  kernel_shape: Shape, stride: Pair, x: jax.Array, dy: jax.Array, dtype: DTypeLike
) -> jax.Array:
  """Multiplies dy, transposed, with the patches of x; dy is transposed because it is smaller.

  Args:
    kernel_shape: [kh, kw, c, d].
    stride: in the order h, w.
    x: [h, w, c], padded already.
    dy: [h', w', d].
    dtype: dtype of the sums.

  Returns:
    [d, kh * kw * c].
  """
  h, w, d = dy.shape
  patches = _patches(kernel_shape, stride, x, (h, w))
  return jnp.matmul(dy.reshape(h * w, d).T, patches, preferred_element_type=dtype)


def _patches(kernel_shape: Shape, stride: Pair, x: jax.Array, size: Pair) -> jax.Array:
  """Cuts x into the patches that a kernel sees, one for each position ("im2col").

  Columns come first, then rows, each as a stack on an axis that is not the last: XLA fuses such
  stacks.

  Args:
    kernel_shape: [kh, kw, c, d].
    stride: in the order h, w.
    x: [..., h, w, c], padded already.
    size: h', w', the numbers of positions.

  Returns:
    [... * h' * w', kh * kw * c].
  """
  (kh, kw, *_), (sh, sw), (h, w) = kernel_shape, stride, size
  row_axis, column_axis = x.ndim - 3, x.ndim - 2
  taps = [lax.slice_in_dim(x, j, j + (w - 1) * sw + 1, sw, column_axis) for j in range(kw)]
  x = jnp.stack(taps, axis=-2)
  taps = [lax.slice_in_dim(x, i, i + (h - 1) * sh + 1, sh, row_axis) for i in range(kh)]
  return jnp.stack(taps, axis=-3).reshape(-1, kh * kw * x.shape[-1])


def _largest_part(count: int, size: int, limit: int) -> int:
  """Returns the largest divisor of `count` whose items, of `size` each, fit the limit; or 1."""
  return max(n for n in range(1, count + 1) if count % n == 0 and (n == 1 or n * size <= limit))
