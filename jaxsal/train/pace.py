"""How fast training goes, and whether the devices wait for batches."""

import math
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import jax

T = TypeVar("T")


class Pace:
  """The clocks of a training loop that is a step ahead of the devices.

  JAX computes a step while the loop draws the next batch. Waiting for that costs time only from
  when the devices have nothing left to compute, so a thread notes when each step ends.
  """

  def __init__(self) -> None:
    self._thread = ThreadPoolExecutor(1, "pace")
    self._step: Future[float] | None = None  # the latest one: when it ended
    self.restart()

  def restart(self) -> None:
    """What came before is not counted any more."""
    self._since, self._waited, self._steps = time.perf_counter(), 0.0, 0

  def draw(self, batches: Iterator[T]) -> T:
    """The next batch."""
    began = time.perf_counter()
    batch = next(batches)
    drawn = time.perf_counter()
    idle = -math.inf  # since when the devices have nothing to compute
    if self._step is not None:
      idle = self._step.result() if self._step.done() else math.inf
    self._waited += max(0.0, drawn - max(began, idle))
    return batch

  def started(self, result: Any) -> None:
    """Takes what a step returned, arrays that are still being computed.

    Waits for the step before: a loop further ahead would fill the devices' memory with batches.
    """
    before, self._step = self._step, self._thread.submit(_end, result)
    self._steps += 1
    if before is not None:
      before.result()

  def rates(self, batch_size: int) -> dict[str, float]:
    """Of the steps since the last restart, once the latest is computed.

    Returns:
      `steps_per_second`, `clips_per_second`; `data_wait`, the share of the time in which the
      devices waited for batches; `step_clips_per_second`, the rate if they never had to.
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
    self._thread.shutdown()


def _end(result: Any) -> float:
  jax.block_until_ready(result)
  return time.perf_counter()
