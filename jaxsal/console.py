"""The terminal: lines of text, tables, and progress with an ETA.

Every module prints with these functions. None of them interprets markup, since paths and errors may
hold brackets.
"""

import contextlib
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

import rich.console
import rich.progress
import rich.table

T = TypeVar("T")

# Tables in a log get the width that they need; without a terminal, rich assumes 80 columns.
console = rich.console.Console(
  width=None if sys.stdout.isatty() else 200, markup=False, emoji=False, highlight=False
)
# Seconds between two lines of progress, and before the first, if there is no terminal to redraw,
# as in a log file, in CI, or after a notebook's `!`.
_PLAIN_INTERVAL = 10.0
_FIRST_LINE = 2.0


def say(text: str) -> None:
  """Prints text unchanged: brackets are not markup, and long lines are not wrapped."""
  console.print(text, soft_wrap=True)


def complain(text: str) -> None:
  """Prints a line of the command on stderr."""
  print(f"jaxsal: {text}", file=sys.stderr)


def show(table: rich.table.Table) -> None:
  """Prints a table, at most as wide as the terminal."""
  console.print(table)


@contextlib.contextmanager
def progress(
  description: str, total: int, unit: str = "it", start: int = 0
) -> Iterator["Progress"]:
  """Shows a bar with rate and ETA on a terminal, and a line every ten seconds elsewhere.

  Args:
    description: the work in a few words.
    total: number of units in the whole work.
    unit: name of one unit, for the rate.
    start: number of units that an earlier run has done; the rate leaves them out.
  """
  bar = Progress(description, total, unit, start)
  try:
    yield bar
  finally:
    bar.close()


class Progress:
  """The bar, or the lines, that `progress` shows."""

  def __init__(self, description: str, total: int, unit: str, start: int = 0) -> None:
    """Shows the bar on a terminal; the arguments are those of `progress`."""
    self._description, self._total, self._unit = description, total, unit
    self._start = self._done = start
    self._began: float | None = None
    # As if the last line were some seconds old, so that the first one comes early.
    self._printed = time.monotonic() - _PLAIN_INTERVAL + _FIRST_LINE
    self._text = ""
    self._bar = None
    if console.is_terminal:
      columns = ("{task.description}", "{task.fields[rate]}", "eta {task.fields[eta]}")
      name, rate, eta = (rich.progress.TextColumn(text, markup=False) for text in columns)
      self._bar = rich.progress.Progress(
        name,
        rich.progress.BarColumn(bar_width=30),
        rich.progress.MofNCompleteColumn(),
        rate,
        eta,
        rich.progress.TextColumn("{task.fields[text]}", markup=False),
        console=console,
      )
      self._task = self._bar.add_task(
        description, total=total, completed=start, rate="", eta="-", text=""
      )
      self._bar.start()

  def advance(self, units: int = 1, text: str | None = None) -> None:
    """Counts `units` as done; `text`, if given, replaces the text after the bar."""
    if self._began is None:
      # The time before the first units, often for compiling, does not belong to the rate.
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
    """Leaves the bar on the screen as it is."""
    if self._bar is not None:
      self._bar.stop()

  def _rate(self) -> float:
    """Returns the units per second since the first ones were done; 0 until that is known."""
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
  """Yields `items` while a progress bar counts them."""
  with progress(description, total, unit) as bar:
    for item in items:
      yield item
      bar.advance()
