"""Ending a training from outside without losing work."""

import contextlib
import signal
import threading
from collections.abc import Iterator


class Interruption:
  """Remembers a signal until the loop has finished its step.

  Attributes:
    signal: the signal's number, or None.
  """

  def __init__(self) -> None:
    self.signal: int | None = None

  def __bool__(self) -> bool:
    return self.signal is not None


@contextlib.contextmanager
def catch_signals() -> Iterator[Interruption]:
  """SIGTERM (from clusters that take the machine away) and SIGINT (Ctrl-C) only set a flag.

  A second one acts at once. Outside the main thread Python delivers none and the flag stays off.
  """
  interruption = Interruption()
  if threading.current_thread() is not threading.main_thread():
    yield interruption
    return
  signals = (signal.SIGTERM, signal.SIGINT)
  before = {s: signal.getsignal(s) for s in signals}

  def remember(number: int, _: object) -> None:
    interruption.signal = number
    for s, handler in before.items():
      signal.signal(s, handler)

  for s in signals:
    signal.signal(s, remember)
  try:
    yield interruption
  finally:
    for s, handler in before.items():
      signal.signal(s, handler)
