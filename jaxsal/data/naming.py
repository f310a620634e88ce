"""Orders and pairs files by the numbers in their names.

Frames are numbered as in 1.png to 10.png, or 998.png to 1000.png where zeros ran out, from 0 or
from 1. Every reader of numbered files gets them in the one order that is defined here.
"""

import pathlib
import re
from collections.abc import Iterable, Mapping, Sequence

Key = tuple[str | int, ...]


def natural_key(name: str) -> Key:
  """Returns a key that sorts names by their numbers, so that 2.png precedes 10.png.

  Zeros before a number do not count: frame_2 and frame_002 have the same key.
  """
  # Text and numbers alternate, so that two keys never compare a number with text.
  return tuple(
    int(part) if place % 2 else part for place, part in enumerate(re.split("([0-9]+)", name))
  )


def files(folder: pathlib.Path, *suffixes: str) -> list[pathlib.Path]:
  """Returns the files of a folder with one of these suffixes, in natural order.

  The list is empty if there is no folder. Hidden files, which other systems leave in folders, are
  left out.
  """
  if not folder.is_dir():
    return []
  visible = (path for path in folder.iterdir() if not path.name.startswith("."))
  return in_order(path for path in visible if path.suffix.lower() in suffixes)


def in_order(paths: Iterable[pathlib.Path]) -> list[pathlib.Path]:
  """Sorts paths of one folder in natural order; capitals do not count."""
  return sorted(paths, key=lambda path: (natural_key(path.name.lower()), path.name))


def by_number(paths: Iterable[pathlib.Path], prefix: str = "") -> dict[int, pathlib.Path]:
  """Returns the paths whose stems are a number after a prefix, by that number."""
  found = {}
  for path in paths:
    number = path.stem.removeprefix(prefix)
    if path.stem.startswith(prefix) and re.fullmatch("[0-9]+", number):
      found[int(number)] = path
  return found


def doubled(paths: Iterable[pathlib.Path]) -> str:
  """Names two paths whose stems differ in zeros at most, which makes their order a guess.

  Returns:
    A clause for an error; empty if there are no such paths.
  """
  seen: dict[Key, pathlib.Path] = {}
  for path in paths:
    other = seen.setdefault(natural_key(path.stem), path)
    if other is not path:
      return f"{other} and {path.name} have the same number"
  return ""


def unpaired(folders: Mapping[pathlib.Path, Sequence[pathlib.Path]]) -> str:
  """Names a file that has no partner of its name in another folder; zeros do not count.

  Args:
    folders: the files of each folder.

  Returns:
    A clause for an error; empty if every file has its partner in every folder.
  """
  keys = {folder: {natural_key(path.stem) for path in paths} for folder, paths in folders.items()}
  for paths in folders.values():
    if twice := doubled(paths):
      return twice
    for path in paths:
      for folder, there in keys.items():
        if natural_key(path.stem) not in there:
          return f"{path} has no partner in {folder}, where its name must be the same but for zeros"
  return ""
