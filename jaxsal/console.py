"""What the terminal shows: progress with an ETA, and tables."""

import contextlib
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

import rich.console
import rich.progress
import rich.table

T = TypeVar("T")

console = rich.console.Console()
# Seconds between lines where there is no terminal to redraw (a log file, CI, a notebook's `!`).
_PLAIN_INTERVAL = 10.0


def say(text: str) -> None:
  """Prints text as it is: brackets are no markup, numbers get no colour, long lines stay whole."""
  console.print(text, markup=False, highlight=False, soft_wrap=True)


def show(table: rich.table.Table) -> None:
  """Prints a table, as wide as the terminal allows."""
  console.print(table)


@contextlib.contextmanager
def progress(
  description: str, total: int, unit: str = "it", start: int = 0
) -> Iterator["Progress"]:
  """A bar with rate and ETA on a terminal, a line every ten seconds elsewhere.

  Args:
    description: what is being done, in a few words.
    total: number of units that make up the whole.
    unit: name of one unit, for the rate.
    start: units already done, for work that is resumed; they do not count for the rate.
  """
  bar = Progress(description, total, unit, start)
  try:
    yield bar
  finally:
    bar.close()


class Progress:
  """See `progress`; `advance` adds units and may replace the text behind the bar."""

  def __init__(self, description: str, total: int, unit: str, start: int = 0) -> None:
    self._description, self._total, self._unit = description, total, unit
    self._start = self._done = start
    self._began: float | None = None
    self._printed = time.monotonic()
    self._text = ""
    self._bar = None
    if console.is_terminal:
      self._bar = rich.progress.Progress(
        rich.progress.TextColumn("{task.description}"),
        rich.progress.BarColumn(bar_width=30),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TextColumn("{task.fields[rate]}"),
        rich.progress.TextColumn("eta {task.fields[eta]}"),
        rich.progress.TextColumn("{task.fields[text]}"),
        console=console,
      )
      self._task = self._bar.add_task(
        description, total=total, completed=start, rate="", eta="-", text=""
      )
      self._bar.start()

  def advance(self, units: int = 1, text: str | None = None) -> None:
    """Counts `units` as done; `text`, when given, replaces what stands behind the bar."""
    if self._began is None:  # what came before the first units, compiling say, is not their rate
      self._began, self._start = time.monotonic(), self._start + units
    self._done += units
    self._text = self._text if text is None else text
    if self._bar is not None:
      self._bar.update(
        self._task,
        completed=self._done,
        rate=self._rate_text(),
        eta=self._eta_text(),
        text=self._text,
      )
    elif time.monotonic() - self._printed >= _PLAIN_INTERVAL or self._done == self._total:
      self._printed = time.monotonic()
      self.print(
        f"{self._description} {self._done}/{self._total}  {self._rate_text()}"
        f"  eta {self._eta_text()}  {self._text}".rstrip()
      )

  def print(self, line: str) -> None:
    """Prints a line above the bar."""
    say(line)

  def close(self) -> None:
    if self._bar is not None:
      self._bar.stop()

  def _rate(self) -> float:
    """Units per second since the first ones were done; 0 while that is not known."""
    seconds = time.monotonic() - self._began if self._began is not None else 0.0
    return (self._done - self._start) / seconds if seconds > 0 else 0.0

  def _rate_text(self) -> str:
    return f"{self._rate():.3g} {self._unit}/s"

  def _eta_text(self) -> str:
    if not self._rate():
      return "-"
    seconds = round((self._total - self._done) / self._rate())
    hours, minutes = seconds // 3600, seconds // 60 % 60
    return f"{hours}:{minutes:02}:{seconds % 60:02}" if hours else f"{minutes}:{seconds % 60:02}"


def track(items: Iterable[T], description: str, total: int, unit: str = "it") -> Iterator[T]:
  """Yields `items` under a progress bar."""
  with progress(description, total, unit) as bar:
    for item in items:
      yield item
      bar.advance()
