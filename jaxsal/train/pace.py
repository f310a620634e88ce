"""Measures how fast training goes, and how long the devices wait for batches."""

import math
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import jax

T = TypeVar("T")


class Pace:
  """Measures a training loop that is one step ahead of the devices.

  JAX computes a step while the loop draws the next batch. Waiting for the batch costs time only
  once the devices have finished that step, so a thread notes when each step ends.
  """

  def __init__(self) -> None:
    self._thread = ThreadPoolExecutor(1, "pace")
    self._step: Future[float] | None = None  # when the latest step ended
    self.restart()

  def restart(self) -> None:
    """Starts a new measurement."""
    self._since, self._waited, self._steps = time.perf_counter(), 0.0, 0

  def draw(self, batches: Iterator[T]) -> T:
    """Returns the next batch, and measures how long the devices wait for it."""
    began = time.perf_counter()
    batch = next(batches)
    drawn = time.perf_counter()
    idle = -math.inf  # the time since which the devices have nothing to compute
    if self._step is not None:
      idle = self._step.result() if self._step.done() else math.inf
    self._waited += max(0.0, drawn - max(began, idle))
    return batch

  def started(self, result: Any) -> None:
    """Registers a step that has started, and waits for the end of the step before it.

    A loop that did not wait would fill the devices' memory with batches.

    Args:
      result: arrays that the step returned, which are still being computed.
    """
    before, self._step = self._step, self._thread.submit(_end, result)
    self._steps += 1
    if before is not None:
      before.result()

  def rates(self, batch_size: int) -> dict[str, float]:
    """Returns the rates since the last restart; call it when the latest step is computed.

    Args:
      batch_size: number of clips in a step.

    Returns:
      `steps_per_second` and `clips_per_second`; `data_wait`, the share of the time in which the
      devices waited for batches; `step_clips_per_second`, the rate if they never had to wait.
    """
    seconds = time.perf_counter() - self._since
    wait, steps = self._waited / seconds, self._steps / seconds
    clips = steps * batch_size
    return {
      "steps_per_second": steps,
      "clips_per_second": clips,
      "data_wait": wait,
      "step_clips_per_second": clips / (1 - wait),
    }

  def close(self) -> None:
    """Ends the thread."""
    self._thread.shutdown()


def _end(result: Any) -> float:
  """Waits until a result is computed; returns the time."""
  jax.block_until_ready(result)
  return time.perf_counter()
