"""Measures milliseconds per frame of the metrics on this machine's device.

  python -m benchmarks.metrics

Maps are 360 x 640, float32. All metrics except Borji's AUC are measured together, for batches of
several sizes and frames with few and many fixations, in one jitted call and in NumPy; then each
metric alone. The shuffled AUC is the mean over all splits, not over 100. The calls take turns, nine
times, and medians are printed.
"""

import functools
import os
import platform
import statistics
import time
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

import cv2
import jax
import numpy as np

from jaxsal import metrics
from jaxsal.console import say

Key = TypeVar("Key", bound=Hashable)

REPEATS = 9
SIZE = (360, 640)
BATCHES, FIXATIONS = (1, 2, 4, 16), (20, 200)
BATCH, FEW = 2, 20  # batch size and fixations where each metric is measured alone
PARTS = ("prediction", "density", "fixations", "other", "baseline")


def frames(batch: int, fixations: int) -> dict[str, np.ndarray]:
  """Makes random maps [b, h, w].

  Args:
    batch: number of frames b.
    fixations: approximate number of fixations a frame; the other map has ten times as many.
  """
  rng = np.random.default_rng(0)

  def looked_at(count: int) -> np.ndarray:
    return rng.random((batch, *SIZE)) < count / np.prod(SIZE)

  def blurred(maps: np.ndarray, sigma: float) -> np.ndarray:
    return np.stack([cv2.GaussianBlur(x.astype(np.float32), (0, 0), sigma) for x in maps])

  truth = looked_at(fixations)
  prediction, baseline = (blurred(rng.random((batch, *SIZE)), sigma) for sigma in (8, 40))
  maps = (prediction, blurred(truth, 12), truth, looked_at(10 * fixations), baseline)
  return dict(zip(PARTS, maps))


def scores(**maps: np.ndarray) -> dict[str, np.ndarray]:
  return {k: v for k, v in metrics.frame_scores(**maps).items() if k != "auc_borji"}


def alone(metric: str, **maps: np.ndarray) -> np.ndarray:
  return metrics.frame_scores(**maps)[metric]  # under `jit` the others are not computed


def measure(calls: dict[Key, Callable[[], Any]]) -> dict[Key, float]:
  """Returns the median milliseconds of each call; the first one, which compiles, does not count."""
  times: dict[Key, list[float]] = {name: [] for name in calls}
  for _ in range(1 + REPEATS):
    for name, call in calls.items():
      began = time.perf_counter()
      jax.block_until_ready(call())
      times[name].append(1e3 * (time.perf_counter() - began))
  return {name: statistics.median(each[1:]) for name, each in times.items()}


def main() -> None:
  device = jax.devices()[0]
  say(
    f"{device.device_kind} ({device.platform}), {os.cpu_count()} cores ({platform.machine()}), "
    f"JAX {jax.__version__}, NumPy {np.__version__}, Python {platform.python_version()}, float32"
  )
  calls = {}
  for batch in BATCHES:
    for fixations in FIXATIONS:
      maps = frames(batch, fixations)
      on_device = jax.device_put(maps)
      calls[batch, fixations, "jax"] = functools.partial(jax.jit(scores), **on_device)
      calls[batch, fixations, "numpy"] = functools.partial(scores, **maps)
  times = measure(calls)
  say(f"\nall but Borji's AUC, milliseconds per frame of {SIZE[0]} x {SIZE[1]}")
  say("batch  fixations     jit   numpy")
  for batch in BATCHES:
    for fixations in FIXATIONS:
      both = (times[batch, fixations, kind] / batch for kind in ("jax", "numpy"))
      say(f"{batch:5}  {fixations:9}" + "".join(f"{x:8.2f}" for x in both))

  on_device = jax.device_put(frames(BATCH, FEW))
  names = list(metrics.frame_scores(**on_device))
  jitted = jax.jit(alone, static_argnums=0)
  times = measure({name: functools.partial(jitted, name, **on_device) for name in names})
  say(f"\neach alone, jit, batches of {BATCH}, {FEW} fixations")
  for name, milliseconds in times.items():
    say(f"{name:<16}  {milliseconds / BATCH:6.2f}")


if __name__ == "__main__":
  main()
