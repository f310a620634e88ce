"""Text reaches the terminal unchanged, and progress is shown there and in a log."""

import io

import pytest
import rich.console
import rich.table

from jaxsal import console

ODD = "[/data/x] [bold]:cat: 12.5 'text'"


@pytest.fixture
def screen(monkeypatch):
  """A terminal of 60 columns in place of the real one; its file collects what is printed."""
  options = {"markup": False, "emoji": False, "highlight": False}
  terminal = rich.console.Console(
    file=io.StringIO(), force_terminal=True, width=60, color_system=None, **options
  )
  monkeypatch.setattr(console, "console", terminal)
  return terminal.file


def test_the_console_interprets_nothing():
  with console.console.capture() as captured:
    console.say(ODD)
  assert captured.get() == f"{ODD}\n"


def test_say_leaves_long_lines_whole(screen):
  console.say("a path / " * 20)
  assert screen.getvalue() == "a path / " * 20 + "\n"


def test_a_table_shows_brackets(screen):
  table = rich.table.Table("name", title=ODD)
  table.add_row(ODD)
  console.show(table)
  assert screen.getvalue().count(ODD) == 2


def test_a_bar_shows_brackets(screen):
  with console.progress(ODD[:9], 3, unit="frames") as bar:
    bar.advance(3, "[/b]")
    bar.print("[/line]")
  assert "[/data/x]" in screen.getvalue() and "[/line]\n" in screen.getvalue()
  assert "3/3" in screen.getvalue()


def test_a_log_gets_lines(capsys):
  assert not console.console.is_terminal
  assert list(console.track("abc", "[/data/x]", 3, "letter")) == ["a", "b", "c"]
  assert capsys.readouterr().out.startswith("[/data/x] 3/3  ")


def test_work_done_earlier_does_not_count_for_the_rate(monkeypatch):
  now = [0.0]
  monkeypatch.setattr(console.time, "monotonic", lambda: now[0])
  bar = console.Progress("resumed", 100, "step", start=90)
  now[0] = 50.0  # compiling
  bar.advance()
  now[0] = 52.0
  bar.advance(4)
  assert bar._rate_text() == "2 step/s" and bar._eta_text() == "0:02"
