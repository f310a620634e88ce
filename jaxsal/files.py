"""Output that is complete or not there, and output that is completed piece by piece."""

import contextlib
import json
import os
import pathlib
import shutil
import tempfile
from collections.abc import Collection, Iterator
from typing import Any

from jaxsal.errors import UserError


@contextlib.contextmanager
def replacing_folder(folder: str | pathlib.Path) -> Iterator[pathlib.Path]:
  """Gives a temporary folder that takes the place of `folder` when the block ends without error.

  After an error, and after an interruption, `folder` is as it was. A link is followed.
  """
  folder = pathlib.Path(folder).resolve()
  folder.parent.mkdir(parents=True, exist_ok=True)
  temporary = pathlib.Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
  try:
    yield temporary
    temporary.chmod(0o755)
    if folder.exists():
      old = temporary.with_name(temporary.name + "-old")
      try:
        os.rename(folder, old)
        os.rename(temporary, folder)
      except BaseException:
        if old.exists() and not folder.exists():
          os.rename(old, folder)
        raise
      shutil.rmtree(old)
    else:
      os.rename(temporary, folder)
  finally:
    shutil.rmtree(temporary, ignore_errors=True)


def write_text(path: str | pathlib.Path, text: str) -> None:
  """Writes a file in one step: readers see the old text or the new one."""
  with replacing_file(path) as temporary:
    temporary.write_text(text, "utf-8")


@contextlib.contextmanager
def replacing_file(path: str | pathlib.Path) -> Iterator[pathlib.Path]:
  """Gives the name of a temporary file that takes the place of `path` when the block ends well.

  What an error leaves of it is hidden, and the next try writes over it.
  """
  path = pathlib.Path(path)
  temporary = path.with_name(f".{path.name}.tmp")
  yield temporary
  os.replace(temporary, path)


def claim(
  folder: pathlib.Path,
  record: pathlib.Path,
  signature: dict[str, Any],
  outputs: Collection[str],
  *,
  overwrite: bool,
) -> None:
  """Makes a folder for output that comes piece by piece, or finds the one to continue in.

  Args:
    folder: of the output.
    record: the JSON file, in `folder` or elsewhere, that keeps the signature.
    signature: JSON values that say what the output is; pieces of another one do not mix with it.
    outputs: names of what such output may consist of, and so of what `overwrite` may delete.
    overwrite: whether to delete what is there and begin anew.

  Raises:
    UserError: something else is in the way.
  """
  signature = json.loads(json.dumps(signature))
  if folder.exists() and not folder.is_dir():
    raise UserError(f"{folder}: a file is in the way of the output folder. Name another folder.")
  names = {path.name for path in folder.iterdir()} if folder.exists() else set()
  there = {name for name in names if not name.startswith(".")}  # hidden: what was never finished
  if there - {record.name}:
    if not record.exists() or there - set(outputs) - {record.name}:
      foreign = sorted(there - set(outputs)) or sorted(there)
      raise UserError(
        f"{folder}: holds {foreign[0]!r}, which this command has not written. Name another --out."
      )
    old = _read_signature(record)
    different = [
      f"{name}: {old.get(name)!r} there, {signature.get(name)!r} now"
      for name in sorted(old.keys() | signature.keys())
      if old.get(name) != signature.get(name)
    ]
    if different and not overwrite:
      raise UserError(
        f"{folder} belongs to another run:\n  "
        + "\n  ".join(different)
        + "\nName another --out, or pass --overwrite to delete what is there."
      )
    if overwrite:
      shutil.rmtree(folder)
  folder.mkdir(parents=True, exist_ok=True)
  write_text(record, json.dumps(signature, indent=2) + "\n")


def _read_signature(record: pathlib.Path) -> dict[str, Any]:
  try:
    return dict(json.loads(record.read_text()))
  except (ValueError, TypeError):
    return {}  # damaged: differs from every signature
