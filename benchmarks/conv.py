"""Measures S3D's convolutions by XLA and as jaxsal computes them, in milliseconds.

  python -m benchmarks.conv

S3D is computed as 2-D convolutions. Each of their shapes is measured at 32 x 224 x 384 and
at the size of the demo run: forward, gradient of the input, gradient of the kernel. All of them
take three turns, and the table has medians. The last column says how the kernel's gradient is
computed on a CPU: as a product of all patches (then everything else is, too), over parts of the
clip, or by XLA. Times of a whole pass count a layer as often as the network has it.
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

from jaxsal.console import say
from jaxsal.models import s3d
from jaxsal.nn import conv, conv_cpu, conv_xla

REPEATS = 3
# Name, batch size, frames, height, width, factor on the numbers of channels.
SIZES = [("full size", 1, 32, 224, 384, 1.0), ("demonstration", 8, 16, 96, 128, 0.25)]


def layers(frames: tuple[int, ...], width: float) -> collections.Counter:
  """Counts the encoder's 2-D convolutions by (x shape, kernel shape, stride, padding)."""
  seen = collections.Counter()

  def record(x, kernel, stride, padding):
    seen[x.shape, kernel.shape, stride, padding] += 1
    return conv_xla.conv2d(x, kernel, stride, padding)

  def run(x):
    s3d.Encoder(s3d.S3DConfig(width=width), nnx.Rngs(0))(x)

  with mock.patch.object(conv, "_conv2d", record):
    jax.eval_shape(run, jax.ShapeDtypeStruct(frames, jnp.float32))
  return seen


def measure(x_shape, kernel_shape, stride, padding) -> list[float]:
  """Returns milliseconds by XLA and here: forward, gradient of the input, of the kernel."""
  rng = np.random.default_rng(0)
  x, kernel = (jnp.asarray(rng.standard_normal(s, np.float32)) for s in (x_shape, kernel_shape))
  calls = []
  for function in (conv_xla.conv2d, conv._conv2d):
    # The lambda passes no keywords, because a function with its own gradient takes none.
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
  """Names the formulation of the kernel's gradient on a CPU."""
  if conv_cpu.few_positions(x_shape, kernel_shape, stride, padding):
    return "product"
  size = conv_cpu.output_size(x_shape, kernel_shape, stride, padding)
  y_shape = (x_shape[0], *size, kernel_shape[-1])
  return "parts" if conv_cpu.parts_win(y_shape, kernel_shape) else "xla"


def main() -> None:
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
