"""Milliseconds of S3D's convolutions by XLA and as they are computed here.

  python -m benchmarks.conv

Every 2-D convolution that S3D is computed with, once per shape, at 32 x 224 x 384 and at the size
of the demonstration: forward, gradient of the input and gradient of the kernel. They take turns,
three times; printed are medians, and the way that is taken here on a CPU for the kernel: a product
of all patches (then for the rest, too), parts of the clip, or XLA's. Times of a whole pass count a
layer as often as the network has it.
"""

import collections
import functools
import os
import platform
import statistics
import time
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxsal.console import console
from jaxsal.models import s3d
from jaxsal.nn import conv

REPEATS = 3
# Name, batch, frames, height, width, factor on the channels.
SIZES = [("full size", 1, 32, 224, 384, 1.0), ("demonstration", 8, 16, 96, 128, 0.25)]


def layers(frames: tuple[int, ...], width: float) -> collections.Counter:
  """(x shape, kernel shape, stride, padding) -> how often the encoder runs such a convolution."""
  seen = collections.Counter()

  def record(x, kernel, stride, padding):
    seen[x.shape, kernel.shape, stride, padding] += 1
    return conv._xla_conv2d(x, kernel, stride, padding)

  def run(x):
    s3d.Encoder(s3d.S3DConfig(width=width), nnx.Rngs(0))(x)

  with mock.patch.object(conv, "_conv2d", record):
    jax.eval_shape(run, jax.ShapeDtypeStruct(frames, jnp.float32))
  return seen


def measure(x_shape, kernel_shape, stride, padding) -> list[float]:
  """Milliseconds by XLA and here: forward, gradient of the input, gradient of the kernel."""
  rng = np.random.default_rng(0)
  x, kernel = (jnp.asarray(rng.standard_normal(s, np.float32)) for s in (x_shape, kernel_shape))
  calls = []
  for function in (conv._xla_conv2d, conv._conv2d):
    # Without keywords, which a function with its own gradient does not take.
    forward = functools.partial(lambda f, x, kernel: f(x, kernel, stride, padding), function)
    dy = jnp.ones(jax.eval_shape(forward, x, kernel).shape)
    calls += [
      (forward, x, kernel),
      (lambda kernel, dy, f=forward: jax.vjp(lambda x: f(x, kernel), x)[1](dy)[0], kernel, dy),
      (lambda x, dy, f=forward: jax.vjp(lambda kernel: f(x, kernel), kernel)[1](dy)[0], x, dy),
    ]
  calls = [functools.partial(jax.jit(f), *args) for f, *args in calls]
  jax.block_until_ready([call() for call in calls])
  times = [[] for _ in calls]
  for _ in range(REPEATS):
    for call, seconds in zip(calls, times):
      began = time.perf_counter()
      jax.block_until_ready(call())
      seconds.append(time.perf_counter() - began)
  by_xla, here = np.reshape([1e3 * statistics.median(seconds) for seconds in times], (2, 3))
  return np.stack([by_xla, here], axis=1).ravel().tolist()


def way(x_shape, kernel_shape, stride, padding) -> str:
  """How the gradient of the kernel is taken on a CPU."""
  if conv._few_positions(x_shape, kernel_shape, stride, padding):
    return "product"
  size = conv._size(x_shape, kernel_shape, stride, padding)
  return "parts" if conv._parts_win((x_shape[0], *size, kernel_shape[-1]), kernel_shape) else "xla"


def main() -> None:
  say = functools.partial(console.print, soft_wrap=True, highlight=False)
  device = jax.devices()[0]
  say(
    f"{device.device_kind} ({device.platform}), {os.cpu_count()} cores ({platform.machine()}), "
    f"JAX {jax.__version__}, Python {platform.python_version()}, float32"
  )
  for name, batch, t, h, w, width in SIZES:
    say(f"\n{name}: batch {batch} of {t} x {h} x {w}, channels x {width:g}; milliseconds")
    columns = "forward:xla   here  input:xla   here  kernel:xla   here"
    say(f"{'x':>20}  {'kernel':>16}  {'stride':>6} {columns}")
    totals = collections.Counter()
    for layer, count in layers((batch, t, h, w, 3), width).items():
      x_shape, kernel_shape, stride, _ = layer
      milliseconds = measure(*layer)
      cells = (f"{value:{n}.1f}" for value, n in zip(milliseconds, (11, 6, 10, 6, 11, 6)))
      say(
        f"{' '.join(map(str, x_shape)):>20}  {' '.join(map(str, kernel_shape)):>16}"
        f"  {' '.join(map(str, stride)):>6} {' '.join(cells)}  {way(*layer)}"
      )
      names = [f"{what} {by}" for what in ("forward", "input", "kernel") for by in ("xla", "here")]
      for key, value in zip(names, milliseconds):
        totals[key] += count * value
    say("whole pass: " + ", ".join(f"{key} {value:.0f}" for key, value in totals.items()))


if __name__ == "__main__":
  main()
