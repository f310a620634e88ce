"""Lets signals end a training without losing work."""

import contextlib
import signal
import threading
from collections.abc import Iterator


class Interruption:
  """Remembers a signal until the loop has finished its step.

  Attributes:
    signal: number of the signal; None until one arrives.
  """

  def __init__(self) -> None:
    self.signal: int | None = None


@contextlib.contextmanager
def catch_signals() -> Iterator[Interruption]:
  """Makes SIGTERM and SIGINT set a flag instead of ending the program.

  Clusters send SIGTERM before they take a machine away; Ctrl-C sends SIGINT. A second signal acts
  at once. Python delivers signals to the main thread only; in other threads the flag is never set.
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
