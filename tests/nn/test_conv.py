"""Tests of convolutions and their gradients: by hand, against lax's 3-D ones, against PyTorch."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxsal import nn
from jaxsal.nn import conv, conv_cpu
from jaxsal.nn.init import kernel_init

# (kernel, stride, padding), all with sizes that the stride does not divide.
CASES = {
  "pointwise": ((1, 1, 1), (1, 1, 1), (0, 0, 0)),
  "pointwise, strided": ((1, 1, 1), (2, 2, 2), (0, 0, 0)),
  "pointwise, padded": ((1, 1, 1), (1, 1, 1), (1, 0, 2)),
  "spatial": ((1, 3, 3), (1, 1, 1), (0, 1, 1)),
  "spatial, not square": ((1, 1, 3), (1, 1, 1), (0, 0, 1)),
  "spatial, not padded": ((1, 3, 3), (1, 1, 1), (0, 0, 0)),
  "spatial, even": ((1, 2, 4), (1, 1, 1), (0, 0, 3)),
  "S3D's stem in space": ((1, 7, 7), (1, 2, 2), (0, 3, 3)),
  "temporal": ((3, 1, 1), (1, 1, 1), (1, 0, 0)),
  "S3D's stem in time": ((7, 1, 1), (2, 1, 1), (3, 0, 0)),
  "TSFP-Net's lateral": ((4, 1, 1), (4, 1, 1), (0, 0, 0)),
  "temporal, strided in space": ((3, 1, 1), (1, 2, 1), (1, 0, 0)),
  "general": ((3, 3, 3), (1, 1, 1), (1, 1, 1)),
  "ViNet's convtsp2": ((3, 3, 3), (3, 1, 1), (0, 1, 1)),
  "ViNet's convtsp3": ((5, 3, 3), (5, 1, 1), (0, 1, 1)),
  "ViNet's convtsp4": ((2, 3, 3), (2, 1, 1), (0, 1, 1)),
  "all different": ((2, 3, 4), (3, 2, 1), (1, 0, 2)),
}
SHAPE = (2, 11, 10, 9, 6)  # b, t, h, w, c
# Both sides add up float32 products in orders of their own: 6 * 5 * 9 products forward, and
# 2 * 11 * 10 * 9 in the kernel's gradient. They differ by a few 1e-7 of the largest value; the
# tolerance leaves room.
TOLERANCE = 5e-6


def arrays(kernel, outputs=7, shape=SHAPE):
  rng = np.random.default_rng(0)
  x = rng.standard_normal(shape).astype(np.float32)
  return x, rng.standard_normal((*kernel, shape[-1], outputs)).astype(np.float32)


def plain(x, kernel, stride, padding):
  """Computes `nn.conv3d` by XLA's own 3-D convolution."""
  return plain_padded(x, kernel, stride, [(p, p) for p in padding])


def plain_padded(x, kernel, stride, padding):
  layout = ("NDHWC", "DHWIO", "NDHWC")
  return jax.lax.conv_general_dilated(x, kernel, stride, padding, dimension_numbers=layout)


def with_gradients(f, x, kernel):
  """Returns f(x, kernel) and the gradients of its product with a random array."""

  @jax.jit
  def run(x, kernel):
    y, pull = jax.vjp(f, x, kernel)
    dy = np.random.default_rng(1).standard_normal(y.shape).astype(np.float32)
    return y, *pull(jnp.asarray(dy, y.dtype))

  return run(jnp.asarray(x), jnp.asarray(kernel))


def assert_close(actual, expected, tolerance=TOLERANCE):
  for name, a, e in zip(("output", "input gradient", "kernel gradient"), actual, expected):
    a, e = np.asarray(a, np.float64), np.asarray(e, np.float64)
    np.testing.assert_allclose(a, e, rtol=0, atol=tolerance * np.abs(e).max(), err_msg=name)


def test_by_hand():
  x = jnp.array([1.0, 2.0, 4.0, 8.0]).reshape(1, 4, 1, 1, 1)
  kernel = jnp.array([1.0, 10.0, 100.0])
  y = nn.conv3d(x, kernel.reshape(3, 1, 1, 1, 1), (1, 1, 1), (1, 0, 0))
  np.testing.assert_array_equal(y.ravel(), [210, 421, 842, 84])  # a flipped kernel: 12, 124, ...
  y = nn.conv3d(x, kernel.reshape(3, 1, 1, 1, 1), (2, 1, 1), (1, 0, 0))
  np.testing.assert_array_equal(y.ravel(), [210, 842])

  x = jnp.array([[1.0, 2.0], [4.0, 8.0]]).reshape(1, 2, 1, 2, 1)  # t, w
  kernel = jnp.array([[1.0, 10.0], [100.0, 1000.0]]).reshape(2, 1, 2, 1, 1)
  np.testing.assert_array_equal(nn.conv3d(x, kernel).ravel(), [8421])
  y = nn.conv3d(x, kernel, padding=(0, 0, 1))
  np.testing.assert_array_equal(y.ravel(), [4010, 8421, 802])


@pytest.mark.parametrize("outputs", (4, 7))  # fewer and more than inputs
@pytest.mark.parametrize("case", CASES)
def test_equals_the_plain_convolution(case, outputs, monkeypatch):
  """Every formulation is forced on every case: the product, XLA's gradient, and that by parts."""
  kernel, stride, padding = CASES[case]
  f, g = (functools.partial(f, stride=stride, padding=padding) for f in (nn.conv3d, plain))
  x, kernel = arrays(kernel, outputs)
  expected = with_gradients(g, x, kernel)
  ways = ((0, False, 0), (0, True, 1_000_000), (0, True, 10_000), (10_000, False, 0))
  for few, parts, limit in ways:  # the second way has one part, the third several
    monkeypatch.setattr(conv_cpu, "_FEW", few)
    monkeypatch.setattr(conv_cpu, "parts_win", lambda *_, parts=parts: parts)
    monkeypatch.setattr(conv_cpu, "_FRAME_BYTES", limit)
    monkeypatch.setattr(conv_cpu, "_COLUMN_BYTES", limit)
    assert_close(with_gradients(f, x, kernel), expected)


@pytest.mark.parametrize("case", CASES)
def test_equals_the_plain_convolution_on_other_platforms(case, monkeypatch):
  monkeypatch.setattr(jax.lax, "platform_dependent", lambda *a, cpu, default: default(*a))
  kernel, stride, padding = CASES[case]
  f, g = (functools.partial(f, stride=stride, padding=padding) for f in (nn.conv3d, plain))
  x, kernel = arrays(kernel)
  assert_close(with_gradients(f, x, kernel), with_gradients(g, x, kernel))


@pytest.mark.parametrize("few", (0, 10_000))
@pytest.mark.parametrize("width", (1, 2, 9, 12))
@pytest.mark.parametrize("case", CASES)
def test_equals_the_plain_convolution_without_gradients(case, width, few, monkeypatch):
  """Inference on CPU is one product, or frames side by side, whose gap depends on the width."""
  monkeypatch.setattr(conv_cpu, "_FEW", few)
  kernel, stride, padding = CASES[case]
  width = max(width, kernel[2] - 2 * padding[2])  # at least one position
  f, g = (jax.jit(functools.partial(f, stride=stride, padding=padding)) for f in (nn.conv3d, plain))
  x, kernel = arrays(kernel, shape=(*SHAPE[:3], width, SHAPE[-1]))
  assert_close([f(x, kernel)], [g(x, kernel)])


@pytest.mark.parametrize(
  "padding",
  [((0, 2), (1, 0), (2, 0)), ((2, 0), (0, 1), (0, 2)), ((-1, 0), (0, -2), (-1, -1))],
  ids=["before and after", "after and before", "cut off"],
)
@pytest.mark.parametrize("few", (0, 10_000))
@pytest.mark.parametrize("kernel", [(3, 1, 1), (1, 3, 3), (3, 3, 3)])
def test_other_padding_before_than_after(kernel, padding, few, monkeypatch):
  """The phases of a stride are padded like this, without gradients and with them."""
  monkeypatch.setattr(conv_cpu, "_FEW", few)
  padding = tuple(p if k > 1 or min(p) < 0 else (0, 0) for k, p in zip(kernel, padding))
  options = {"stride": (1, 1, 1), "padding": padding}
  f, g = (functools.partial(f, **options) for f in (conv._conv3d_padded, plain_padded))
  x, kernel = arrays(kernel)
  assert_close([jax.jit(f)(x, kernel)], [g(x, kernel)])
  assert_close(with_gradients(f, x, kernel), with_gradients(g, x, kernel))


@pytest.mark.parametrize("parts", (False, True))
@pytest.mark.parametrize("steps", (1, 2))
def test_time_taps_that_see_padding_alone(steps, parts, monkeypatch):
  monkeypatch.setattr(conv_cpu, "_FEW", 0)
  monkeypatch.setattr(conv_cpu, "parts_win", lambda *_: parts)
  options = {"stride": (1, 1, 1), "padding": (2, 1, 1)}
  f, g = (functools.partial(f, **options) for f in (nn.conv3d, plain))
  x, kernel = arrays((5, 3, 3), shape=(2, steps, 5, 4, 6))
  assert_close(with_gradients(f, x, kernel), with_gradients(g, x, kernel))


@pytest.mark.parametrize("case", CASES)
def test_equals_pytorch(case):
  torch = pytest.importorskip("torch", reason="compares with PyTorch: pip install 'jaxsal[torch]'")
  kernel, stride, padding = CASES[case]
  x, kernel = arrays(kernel)
  actual = with_gradients(lambda x, k: nn.conv3d(x, k, stride, padding), x, kernel)
  tx = torch.from_numpy(x).movedim(-1, 1).requires_grad_()
  tk = torch.from_numpy(kernel).permute(4, 3, 0, 1, 2).requires_grad_()
  ty = torch.nn.functional.conv3d(tx, tk, None, stride, padding).movedim(1, -1)
  dy = np.random.default_rng(1).standard_normal(ty.shape).astype(np.float32)
  dx, dk = torch.autograd.grad(ty, (tx, tk), torch.from_numpy(dy))
  assert_close(actual, (ty.detach(), dx.movedim(1, -1), dk.permute(2, 3, 4, 1, 0)))


@pytest.mark.parametrize(("k", "stride"), [(1, 1), (1, 2), (3, 2), (7, 2)])
def test_2d_layer_equals_the_plain_convolution(k, stride):
  x, kernel = arrays((1, k, k), shape=(2, 1, 9, 8, 6))
  graph, state = nnx.split(nn.Conv2d(6, 7, k, stride, use_bias=False, rngs=nnx.Rngs(0)))

  def f(x, kernel):
    state["kernel"] = nnx.Param(kernel[0])
    return nnx.merge(graph, state)(x[:, 0])[:, None]

  stride, padding = (1, stride, stride), (0, k // 2, k // 2)
  g = functools.partial(plain, stride=stride, padding=padding)
  assert_close(with_gradients(f, x, kernel), with_gradients(g, x, kernel))


@pytest.mark.parametrize(
  ("kernel", "shape", "folded"),
  [
    ((3, 1, 1), (1, 8, 64, 64, 64), [(3, 1, 64, 4)]),
    ((1, 3, 3), (1, 8, 96, 96, 64), [(3, 3, 64, 4)]),
    ((3, 3, 3), (2, 4, 48, 48, 64), [(3, 3, 64, 4)] * 3),
  ],
)
def test_large_layers_take_the_gradient_by_parts(kernel, shape, folded, monkeypatch):
  """The formulation is the one that the layer chooses; its gradient equals the plain one."""
  used = []
  by_parts = conv_cpu._kernel_gradient_by_parts
  monkeypatch.setattr(
    conv_cpu, "_kernel_gradient_by_parts", lambda *a: used.append(a[0]) or by_parts(*a)
  )
  padding = tuple(k // 2 for k in kernel)
  f, g = (functools.partial(f, stride=(1, 1, 1), padding=padding) for f in (nn.conv3d, plain))
  x, kernel = arrays(kernel, outputs=4, shape=shape)
  actual = with_gradients(f, x, kernel)
  assert used == folded
  # The sums have 32768 and 73728 products.
  assert_close(actual, with_gradients(g, x, kernel), tolerance=2e-5)


@pytest.mark.parametrize("stride", (1, 2))
def test_few_positions_go_as_one_product(stride, monkeypatch):
  """2 x 5 x 6 positions and 64 channels are few enough, forward and backward."""
  used = []
  as_product = conv_cpu.as_product
  monkeypatch.setattr(
    conv_cpu, "as_product", lambda *a, **k: used.append(a[1].shape) or as_product(*a, **k)
  )
  options = {"stride": (1, stride, stride), "padding": (0, 1, 1)}
  f, g = (functools.partial(f, **options) for f in (nn.conv3d, plain))
  x, kernel = arrays((1, 3, 3), outputs=64, shape=(1, 2, 5 * stride, 6 * stride, 48))
  assert_close(with_gradients(f, x, kernel), with_gradients(g, x, kernel))
  assert used == [(3, 3, 48, 64)] * 2
  jax.jit(f)(x, kernel)
  assert len(used) == 3
  jax.jit(f)(x.repeat(2, axis=0), kernel)  # too many
  assert len(used) == 3


@pytest.mark.parametrize(
  ("case", "parts", "few"),
  [
    ("pointwise", False, 0),
    ("spatial", False, 0),
    ("temporal", True, 0),
    ("general", True, 0),
    ("spatial", False, 10_000),
  ],
)
def test_bfloat16_in_and_out(case, parts, few, monkeypatch):
  monkeypatch.setattr(conv_cpu, "parts_win", lambda *_: parts)
  monkeypatch.setattr(conv_cpu, "_FEW", few)
  kernel, stride, padding = CASES[case]
  x, kernel = (a.astype(jnp.bfloat16) for a in arrays(kernel))
  f = functools.partial(nn.conv3d, stride=stride, padding=padding)
  actual = with_gradients(f, x, kernel)
  assert {a.dtype for a in actual} == {jnp.dtype(jnp.bfloat16)}
  expected = with_gradients(f, x.astype(np.float32), kernel.astype(np.float32))
  # bfloat16 has 8 bits of mantissa: the result and partial sums are rounded to 2^-9 of themselves.
  assert_close(actual, expected, tolerance=2e-2)


def test_module_computes_in_its_dtype_and_keeps_float32_parameters():
  module = nn.Conv(6, 7, (1, 3, 3), padding=(0, 1, 1), dtype="bfloat16", rngs=nnx.Rngs(0))
  x = jnp.asarray(arrays((1, 1, 1))[0])
  assert module(x).dtype == jnp.bfloat16
  gradients = nnx.grad(lambda m: m(x).astype(jnp.float32).sum())(module)
  for part in (nnx.state(module), gradients):
    assert part["kernel"][...].dtype == part["bias"][...].dtype == jnp.float32
  # A sum of ones in bfloat16 would stop at 256, because bfloat16 has no 257.
  np.testing.assert_array_equal(gradients["bias"][...], 2 * 11 * 10 * 9)


def test_module_adds_its_bias_after_stride_and_padding():
  module = nn.Conv(6, 7, (3, 3, 3), (3, 1, 1), (0, 1, 1), rngs=nnx.Rngs(0))
  x = jnp.asarray(arrays((1, 1, 1))[0])
  without = module(x)
  module.bias[...] = jnp.arange(7.0)
  np.testing.assert_allclose(module(x) - without, jnp.arange(7.0) + 0 * without, atol=1e-5)
  expected = nn.conv3d(x, module.kernel[...], (3, 1, 1), (0, 1, 1))
  np.testing.assert_array_equal(without, expected)
  assert nn.Conv(6, 7, (1, 1, 1), use_bias=False, rngs=nnx.Rngs(0)).bias is None


def test_initial_kernels_are_hes():
  first, second = jax.random.split(jax.random.key(0))
  shape = (3, 3, 3, 32, 64)
  kernel = kernel_init(first, shape, jnp.float32)
  assert kernel.shape == shape and kernel.dtype == jnp.float32
  # With 55296 draws, the deviation is known to 0.3 %, and the mean to 0.4 % of a deviation.
  wanted = np.sqrt(2 / (27 * 32))
  np.testing.assert_allclose(kernel.std(), wanted, rtol=0.015)
  assert abs(kernel.mean()) < 0.02 * wanted
  np.testing.assert_array_equal(kernel, kernel_init(first, shape, jnp.float32))
  other = kernel_init(second, shape, jnp.float32)
  assert abs(np.corrcoef(kernel.ravel(), other.ravel())[0, 1]) < 0.02
  jitted = jax.jit(lambda key: kernel_init(key, shape, jnp.float32))(first)
  np.testing.assert_array_equal(kernel, jitted)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="tests XLA's order of operations on CPU")
def test_what_needs_no_gradient_is_not_made_before_it():
  """A backward pass holds the transposed kernel of one layer, not those of all eight."""

  def loss(kernels, x):
    for kernel in kernels:
      x = jax.nn.relu(conv.conv3d(x, kernel, padding=(0, 1, 1)))
    return x.sum()

  kernel = jax.ShapeDtypeStruct((1, 3, 3, 192, 192), jnp.float32)
  x = jax.ShapeDtypeStruct((1, 1, 8, 8, 192), jnp.float32)
  compiled = jax.jit(jax.grad(loss)).lower([kernel] * 8, x).compile()
  assert compiled.memory_analysis().temp_size_in_bytes < 2 * 4 * kernel.size
