"""Milliseconds of S3D's convolutions, and whether the faster gradient of the kernel is chosen.

  python -m benchmarks.conv

Every 2-D convolution that S3D is computed with, once per shape, at 32 x 224 x 384 and at the size
of the demonstration: forward, gradient of the input, gradient of the kernel by XLA and by one
matrix product per tap. The four take turns, five times; printed are medians. Times of a whole pass
count a layer as often as the network has it.
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

REPEATS = 5
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
  """Milliseconds: forward, input gradient, kernel gradient by XLA, by taps."""
  rng = np.random.default_rng(0)
  x, kernel = (jnp.asarray(rng.standard_normal(s, np.float32)) for s in (x_shape, kernel_shape))
  forward = functools.partial(conv._xla_conv2d, stride=stride, padding=padding)
  dy = jnp.ones(jax.eval_shape(forward, x, kernel).shape)
  calls = [
    (forward, x, kernel),
    (lambda kernel, dy: jax.vjp(lambda x: forward(x, kernel), x)[1](dy)[0], kernel, dy),
    (lambda x, dy: jax.vjp(lambda kernel: forward(x, kernel), kernel)[1](dy)[0], x, dy),
    (functools.partial(conv._gradient_by_taps, kernel_shape, stride, padding), x, dy),
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
    say(f"{'x':>20}  {'kernel':>16}  {'stride':>6} forward  input    xla   taps")
    totals = collections.Counter()
    for layer, count in layers((batch, t, h, w, 3), width).items():
      x_shape, kernel_shape, stride, _ = layer
      forward, dx, xla, taps = measure(*layer)
      chosen = conv._taps_win(x_shape, kernel_shape)
      slower = chosen != (taps < xla)
      loss = max(xla, taps) / min(xla, taps)
      verdict = f"{'taps' if chosen else 'xla'}" + (f", slower by {loss:.2f}" if slower else "")
      say(
        f"{' '.join(map(str, x_shape)):>20}  {' '.join(map(str, kernel_shape)):>16}"
        f"  {' '.join(map(str, stride)):>6} {forward:7.1f}{dx:7.1f}{xla:7.1f}{taps:7.1f}  {verdict}"
      )
      best = {"forward": forward, "input": dx, "xla": xla, "taps": taps}
      best |= {"chosen": taps if chosen else xla, "best": min(xla, taps)}
      for key, milliseconds in best.items():
        totals[key] += count * milliseconds
    say(
      f"whole pass: forward {totals['forward']:.0f}, input gradients {totals['input']:.0f}; "
      f"kernel gradients by xla {totals['xla']:.0f}, by taps {totals['taps']:.0f}, "
      f"as chosen {totals['chosen']:.0f}, at best {totals['best']:.0f}"
    )


if __name__ == "__main__":
  main()
