"""Measures maps per second of a video with and without shared work, and counts their arithmetic.

  python -m benchmarks.sharing
  python -m benchmarks.sharing --small --networks tased,vinet

Networks with random weights predict a video of random frames, whose windows fill two chunks, with
`jaxsal.prediction.Predictor`, which does everything except decoding and writing. Windows computed
alone and windows that share work take turns, after a first turn that does not count. The table
shows medians, and half the range as a share of the median. GFLOP is XLA's count for one map. The
ideal is an endless chunk, where everything except the ends of windows is computed once per frame;
`reached` is the share of the ideal's saving that is achieved, in GFLOP and in time.
"""

import argparse
import os
import platform
import statistics
import time

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxsal import models
from jaxsal.console import progress, say
from jaxsal.models import SaliencyModel, operations
from jaxsal.prediction import Predictor, shared_windows

NETWORKS = ("tased", "vinet", "stsanet", "tsfp")
SMALL = {"variant": "small", "size": (96, 128)}


def gigaflops(model: SaliencyModel) -> tuple[float, float, float]:
  """Returns GFLOP for the map of a window alone, in a chunk, and in an endless chunk."""
  model.eval()
  graph, state = nnx.split(model)
  length = model.length

  def count(function, *shapes):
    def merged(state, *arguments):
      return function(nnx.merge(graph, state), *arguments)

    flops, result = operations(merged, state, *shapes)
    return flops / 1e9, result

  def frames(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct((*shape, *model.size, 3), jnp.float32)

  def share(model, frames):
    return shared_windows.share(model.encoder, frames)

  def forward(model, shared, windows):
    return model.from_stages(shared_windows.stages(model.encoder, shared, windows, length))

  alone, _ = count(lambda model, frames: model(frames), frames(1, length))
  chunk, shared = count(share, frames(2 * length - 1))
  twice, _ = count(share, frames(3 * length - 1))
  each, _ = count(forward, shared, jax.ShapeDtypeStruct((1,), jnp.int32))
  return alone, chunk / length + each, (twice - chunk) / length + each


def maps_per_second(
  model: SaliencyModel, batch_size: int | None, repeats: int
) -> tuple[list[float], list[float]]:
  """Returns the rates of all turns, without shared work and with it."""
  predictors = [Predictor(model, batch_size=batch_size, sharing=on) for on in (False, True)]
  # With the target `last`, the first T - 1 windows are reversed and form a chunk of their own.
  count = 2 * model.length - (model.target == "last")
  video = np.random.default_rng(0).integers(0, 256, (count, *model.size, 3), np.uint8)
  rates = [], []
  with progress("predicting", 2 * (1 + repeats) * count, unit="maps") as bar:
    for _ in range(1 + repeats):
      for predictor, rate in zip(predictors, rates):
        began = time.perf_counter()
        for _ in predictor.maps(video):
          bar.advance()
        rate.append(count / (time.perf_counter() - began))
  return rates[0][1:], rates[1][1:]


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--networks", default=",".join(NETWORKS), help="names separated by commas")
  parser.add_argument("--repeats", type=int, default=3, help="number of turns")
  parser.add_argument(
    "--batch-size", type=int, help="number of windows at a time (default: Predictor's)"
  )
  parser.add_argument("--dtype", default="float32", help="float32 or bfloat16")
  parser.add_argument("--small", action="store_true", help="a quarter of the channels, 96 x 128")
  parser.add_argument("--count", action="store_true", help="count GFLOP only")
  args = parser.parse_args()
  device = jax.devices()[0]
  say(
    f"{device.device_kind} ({device.platform}), {os.cpu_count()} cores ({platform.machine()}), "
    f"JAX {jax.__version__}, Python {platform.python_version()}, {args.dtype}"
  )
  header = f"{'':8}{'GFLOP: alone':>14}{'shared':>8}{'reached':>8}"
  if not args.count:
    header += f"{'maps/s: alone':>18}{'shared':>14}{'faster':>8}{'reached':>8}"
  say(header)
  for name in args.networks.split(","):
    model = models.create(name, **(SMALL if args.small else {}), dtype=args.dtype)
    alone, shared, endless = gigaflops(model)
    line = f"{name:8}{alone:14.1f}{shared:8.1f}{(alone - shared) / (alone - endless):8.0%}"
    if not args.count:
      rates = maps_per_second(model, args.batch_size, args.repeats)
      plain, sharing = map(statistics.median, rates)
      for rate, width in zip(rates, (18, 14)):
        median = statistics.median(rate)
        text = f"{median:.2f} ±{(max(rate) - min(rate)) / median / 2:.0%}"
        line += f"{text:>{width}}"
      saved = (1 - plain / sharing) / (1 - endless / alone)
      line += f"{sharing / plain:8.2f}{saved:8.0%}"
    say(line)


if __name__ == "__main__":
  main()
