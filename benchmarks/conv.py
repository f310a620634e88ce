"""Milliseconds of S3D's convolutions, and whether the faster gradients are chosen.

  python -m benchmarks.conv

Every 2-D convolution that S3D is computed with, once per shape, at 32 x 224 x 384 and at the size
of the demonstration: forward by XLA and as it is computed here (frames side by side), gradient of
the input by XLA and here (likewise, of strided convolutions in phases), gradient of the kernel by
XLA and by parts. They take turns, three times; printed are medians. Times of a whole pass count a
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
  """Milliseconds: forward and input gradient by XLA and here, kernel gradient by XLA, by parts."""
  rng = np.random.default_rng(0)
  x, kernel = (jnp.asarray(rng.standard_normal(s, np.float32)) for s in (x_shape, kernel_shape))
  forward = functools.partial(conv._xla_conv2d, stride=stride, padding=padding)
  dy = jnp.ones(jax.eval_shape(forward, x, kernel).shape)

  def input_by_xla(kernel, dy):
    return jax.vjp(lambda x: forward(x, kernel), x)[1](dy)[0]

  def kernel_by_xla(x, dy):
    return jax.vjp(lambda kernel: forward(x, kernel), kernel)[1](dy)[0]

  phases = functools.partial(conv._input_gradient_2d, x_shape, stride, padding)
  calls = [
    (forward, x, kernel),
    (functools.partial(conv._conv2d, stride=stride, padding=padding), x, kernel),
    (input_by_xla, kernel, dy),
    (phases, kernel, dy),
    (kernel_by_xla, x, dy),
    (functools.partial(conv._kernel_gradient_by_parts, kernel_shape, stride, padding), x, dy),
  ]
  calls = [functools.partial(jax.jit(f), *args) for f, *args in calls]
  jax.block_until_ready([call() for call in calls])
  times = [[] for _ in calls]
  for _ in range(REPEATS):
    for call, seconds in zip(calls, times):
      began = time.perf_counter()
      jax.block_until_ready(call())
      seconds.append(time.perf_counter() - began)
  return [1e3 * statistics.median(seconds) for seconds in times]


def main() -> None:
  say = functools.partial(console.print, soft_wrap=True, highlight=False)
  device = jax.devices()[0]
  say(
    f"{device.device_kind} ({device.platform}), {os.cpu_count()} cores ({platform.machine()}), "
    f"JAX {jax.__version__}, Python {platform.python_version()}, float32"
  )
  for name, batch, t, h, w, width in SIZES:
    say(f"\n{name}: batch {batch} of {t} x {h} x {w}, channels x {width:g}; milliseconds")
    columns = "forward:xla   here  input:xla   here  kernel:xla  parts"
    say(f"{'x':>20}  {'kernel':>16}  {'stride':>6} {columns}")
    totals = collections.Counter()
    for layer, count in layers((batch, t, h, w, 3), width).items():
      x_shape, kernel_shape, stride, padding = layer
      forward_xla, forward, input_xla, input_here, kernel_xla, parts = measure(*layer)
      y = jax.eval_shape(
        functools.partial(conv._xla_conv2d, stride=stride, padding=padding),
        *(jax.ShapeDtypeStruct(shape, jnp.float32) for shape in (x_shape, kernel_shape)),
      )
      chosen = conv._parts_win(y.shape, kernel_shape)
      slower = chosen != (parts < kernel_xla)
      loss = max(kernel_xla, parts) / min(kernel_xla, parts)
      verdict = f"{'parts' if chosen else 'xla'}" + (f", slower by {loss:.2f}" if slower else "")
      say(
        f"{' '.join(map(str, x_shape)):>20}  {' '.join(map(str, kernel_shape)):>16}"
        f"  {' '.join(map(str, stride)):>6} {forward_xla:11.1f} {forward:6.1f}"
        f" {input_xla:10.1f} {input_here:6.1f}"
        f" {kernel_xla:11.1f} {parts:6.1f}  {verdict}"
      )
      milliseconds = {
        "forward by XLA": forward_xla,
        "forward": forward,
        "input gradients": input_here,
        "input gradients by xla": input_xla,
        "kernel gradients": parts if chosen else kernel_xla,
        "kernel gradients by xla": kernel_xla,
      }
      for key, value in milliseconds.items():
        totals[key] += count * value
    say("whole pass: " + ", ".join(f"{key} {value:.0f}" for key, value in totals.items()))


if __name__ == "__main__":
  main()
