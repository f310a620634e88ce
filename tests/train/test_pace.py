"""Tests the measured wait for batches, on a clock that the tests set."""

import contextlib
import itertools
import threading
import types

import pytest

from jaxsal.train import pace


class Step:
  """The result of a step, which is computed once `end` is called."""

  def __init__(self):
    self.ended = threading.Event()

  def block_until_ready(self):
    assert self.ended.wait(60)

  def end(self, watch):
    self.ended.set()
    watch._step.result()  # the thread notes the clock's time


@pytest.fixture
def clock(monkeypatch):
  clock = types.SimpleNamespace(now=100.0)
  clock.perf_counter = lambda: clock.now
  monkeypatch.setattr(pace, "time", clock)
  return clock


@pytest.fixture
def watch(clock):
  with contextlib.closing(pace.Pace()) as watch:
    yield watch


def test_a_loader_slower_than_the_step(clock, watch):
  step = Step()
  watch.started(step)

  def batches():
    clock.now += 1.0
    step.end(watch)
    clock.now += 0.5
    yield "batch"

  assert watch.draw(batches()) == "batch"
  assert watch.rates(8) == {
    "steps_per_second": 1 / 1.5,
    "clips_per_second": pytest.approx(8 / 1.5),
    "data_wait": pytest.approx(0.5 / 1.5),
    "step_clips_per_second": pytest.approx(8),
  }


def test_a_loader_quicker_than_the_step(clock, watch):
  """The loop waits for the loader most of the time, but the devices never wait."""
  steps = [Step() for _ in range(3)]

  def batches():
    while True:
      clock.now += 0.9
      yield "batch"

  loader = batches()
  watch.started(steps[0])
  for previous, step in itertools.pairwise(steps):
    watch.draw(loader)
    clock.now += 0.1
    previous.end(watch)
    watch.started(step)
  assert watch.rates(1)["data_wait"] == 0
  steps[-1].end(watch)


def test_devices_that_have_not_begun_wait(clock, watch):
  def batches():
    clock.now += 3
    yield "batch"

  watch.draw(batches())
  clock.now += 1
  assert watch.rates(1)["data_wait"] == 0.75
  watch.restart()
  clock.now += 1
  assert watch.rates(1)["data_wait"] == 0


def test_the_loop_is_one_step_ahead_and_no_more(watch):
  first, second = Step(), Step()
  watch.started(first)  # does not wait
  threading.Timer(0.05, first.ended.set).start()
  watch.started(second)  # waits for the first
  assert first.ended.is_set() and not second.ended.is_set()
  second.ended.set()


def test_a_step_that_fails_ends_the_loop(watch):
  def fail():
    raise RuntimeError("out of memory")

  watch.started(types.SimpleNamespace(block_until_ready=fail))
  with pytest.raises(RuntimeError, match="out of memory"):
    watch.started("the step that follows")
