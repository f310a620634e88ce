"""Writes output that appears only when it is complete, or that grows piece by piece."""

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
  """Yields a temporary folder that replaces `folder` when the block ends without an error.

  An error or an interruption leaves `folder` as it was. A link is followed.
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
  """Writes a file in one step, so that readers see either the old text or the new one."""
  with replacing_file(path) as temporary:
    temporary.write_text(text, "utf-8")


@contextlib.contextmanager
def replacing_file(path: str | pathlib.Path) -> Iterator[pathlib.Path]:
  """Yields the name of a temporary file that replaces `path` when the block ends without an error.

  An error leaves the temporary file, whose name begins with a dot; the next try overwrites it.
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
  """Makes a folder for output that grows piece by piece, or lets a run continue in it.

  Args:
    folder: folder of the output.
    record: JSON file, in `folder` or elsewhere, that keeps the signature.
    signature: JSON values that describe the output; a run with another signature is refused.
    outputs: names of all files and folders that such output may hold, which `overwrite` may delete.
    overwrite: whether such output is deleted first, if the folder holds any.

  Raises:
    UserError: the folder holds something else.
  """
  signature = json.loads(json.dumps(signature))
  if folder.exists() and not folder.is_dir():
    raise UserError(f"{folder}: a file is in the way of the output folder. Name another folder.")
  names = {path.name for path in folder.iterdir()} if folder.exists() else set()
  there = {name for name in names if not name.startswith(".")}  # hidden: temporary files
  if there - {record.name}:
    if not record.exists() or there - set(outputs) - {record.name}:
      foreign = sorted(there - set(outputs)) or sorted(there)
      raise UserError(
        f"{folder} holds {foreign[0]!r}, which this command has not written. Name another --out."
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
  """Returns the signature in a record; an empty one if the record is damaged."""
  try:
    return dict(json.loads(record.read_text()))
  except (ValueError, TypeError):
    return {}
