"""Opens text files in the encodings in which spreadsheets and Windows save them."""

import codecs
import contextlib
import pathlib
from collections.abc import Iterator
from typing import TextIO

from jaxsal.errors import UserError

_MARKS = {
  codecs.BOM_UTF8: "utf-8-sig",
  codecs.BOM_UTF16_LE: "utf-16",
  codecs.BOM_UTF16_BE: "utf-16",
}


@contextlib.contextmanager
def opened(path: pathlib.Path) -> Iterator[TextIO]:
  """Opens a text file in UTF-8 or UTF-16, with or without a byte order mark, as `csv` needs it.

  Raises:
    UserError: the file is in another encoding; also if that shows while the file is read.
  """
  try:
    with path.open(newline="", encoding=_encoding(path)) as file:
      yield file
  except UnicodeError as error:
    raise UserError(
      f"{path} is neither UTF-8 nor UTF-16 text ({error}). Save it as text in UTF-8."
    ) from error


def lines(path: pathlib.Path) -> list[str]:
  """Returns the lines of a text file, without their ends; raises UserError as `opened` does."""
  with opened(path) as file:
    return file.read().splitlines()


def _encoding(path: pathlib.Path) -> str:
  with path.open("rb") as file:
    start = file.read(64)
  for mark, encoding in _MARKS.items():
    if start.startswith(mark):
      return encoding
  # Without a mark, the zero bytes of Latin letters tell the order of the bytes.
  if len(start) > 1 and start[1] == 0 != start[0]:
    return "utf-16-le"
  return "utf-16-be" if len(start) > 1 and start[0] == 0 != start[1] else "utf-8"
