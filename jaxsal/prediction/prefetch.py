"""Reading ahead in a thread, so that decoding, computing and writing overlap."""

import contextlib
import dataclasses
import queue
import threading
from collections.abc import Generator, Iterable
from typing import TypeVar

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class _End:
  """The end of the items, and the error that ended them, if any."""

  error: BaseException | None = None


def prefetch(items: Iterable[T], depth: int) -> Generator[T, None, None]:
  """Yields items that a thread takes, up to `depth` ahead of the consumer.

  An error in `items` is raised here, after the items that precede it. When the consumer closes this
  generator, the thread stops and closes `items` if that is a generator.
  """
  ready: queue.Queue[T | _End] = queue.Queue(depth)
  stop = threading.Event()

  def put(item: T | _End) -> None:
    while not stop.is_set():
      with contextlib.suppress(queue.Full):
        return ready.put(item, timeout=0.1)

  def work() -> None:
    try:
      for item in items:
        put(item)
        if stop.is_set():
          break
      put(_End())
    except BaseException as error:  # raised again in the consumer's thread
      put(_End(error))
    finally:
      if isinstance(items, Generator):
        items.close()

  thread = threading.Thread(target=work, daemon=True)
  thread.start()
  try:
    while True:
      item = ready.get()
      if isinstance(item, _End):
        if item.error is not None:
          raise item.error
        return
      yield item
  finally:
    stop.set()
    thread.join()
